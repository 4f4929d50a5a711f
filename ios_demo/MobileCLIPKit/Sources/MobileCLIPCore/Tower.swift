import Foundation

/// The compute units on which a framework may run a model.
public enum ComputeUnits: String, CaseIterable, Codable, Sendable, Identifiable {
    case all
    case neuralEngine = "neural_engine"
    case gpu
    case cpu

    /// The name in JSON.
    public var id: String { rawValue }
}

/// A framework and its compute units.
public struct TowerPlace: Hashable, Codable, Sendable, Identifiable {
    /// The frameworks.
    public enum Runtime: String, Codable, Sendable {
        case coreAI = "core_ai"
        case coreML = "core_ml"
    }

    /// The framework.
    public var runtime: Runtime
    /// Its compute units.
    public var units: ComputeUnits

    /// The place itself.
    public var id: Self { self }

    /// A framework on some compute units.
    public init(_ runtime: Runtime, _ units: ComputeUnits) {
        self.runtime = runtime
        self.units = units
    }

    enum CodingKeys: String, CodingKey {
        case runtime
        case units = "compute_units"
    }
}

/// An input of a tower.
public enum TowerInput: Equatable, Sendable {
    /// Of the model's size.
    case image(PixelImage)
    /// Of the model's context length.
    case tokens([Int32])
}

/// Errors of a tower.
public enum TowerError: Error, Equatable, Sendable {
    case compilation(part: BundlePart, reason: String)
    case loading(part: BundlePart, reason: String)
    /// The model does not have the inputs and outputs of mckit's exports.
    case unexpectedInterface(part: BundlePart, reason: String)
    /// An input is of another kind or size than the model's.
    case wrongInput(part: BundlePart)
    case prediction(reason: String)
}

/// One tower of a model in one place. The frameworks, and tests, implement it.
public protocol Tower: Sendable {
    /// Its framework and compute units.
    var place: TowerPlace { get }

    /// Loads the model, unless it is loaded.
    func load() async throws

    /// Unit vectors of inputs, nil for an input without one. Loads the model if necessary.
    func predict(_ inputs: [TowerInput]) async throws -> [[Float]?]

    /// Releases the model's memory.
    func unload() async
}

/// Finds a converted model that is kept, or converts it.
///
/// A system update or a full disk can leave a converted model that does not load. It is then converted again, once.
///
/// - Parameters:
///   - kept: Where the converted model is kept.
///   - convert: Returns the URL of a newly converted model, which is moved to `kept`.
public func loadConverted<Model>(
    at kept: URL, isolation: isolated (any Actor)? = #isolation, convert: () async throws -> URL,
    load: (URL) async throws -> Model
) async throws -> Model {
    if FileManager.default.fileExists(atPath: kept.path) {
        if let model = try? await load(kept) { return model }
        try? FileManager.default.removeItem(at: kept)
    }
    let fresh = try await convert()
    try FileManager.default.createDirectory(at: kept.deletingLastPathComponent(), withIntermediateDirectories: true)
    // Another call may have converted it while this one waited.
    if FileManager.default.fileExists(atPath: kept.path) {
        try FileManager.default.removeItem(at: fresh)
    } else {
        try FileManager.default.moveItem(at: fresh, to: kept)
    }
    return try await load(kept)
}

extension Tower {
    /// How near the tower comes to the vectors of some samples; a vector that is missing has the cosine −1.
    ///
    /// Loads the tower, and leaves it loaded.
    public func leastCosine(_ samples: [TowerSample]) async throws -> Float {
        try await load()
        guard !samples.isEmpty else { return 1 }
        let found = try await predict(samples.map(\.input))
        guard found.count == samples.count else { return -1 }
        return zip(found, samples).map { vector, sample in
            guard let vector, let cosine = cosine(vector, sample.vector) else { return -1 }
            return cosine
        }.min() ?? 1
    }
}

/// nil for vectors of different widths, without a direction or with a number that is not finite.
private func cosine(_ a: [Float], _ b: [Float]) -> Float? {
    guard a.count == b.count, let a = try? QueryVector(a).vector, let b = try? QueryVector(b).vector else { return nil }
    return zip(a, b).reduce(0) { $0 + $1.0 * $1.1 }
}
