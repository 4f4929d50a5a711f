import Foundation

/// An input with the vector that the model in float32 gives it: part of a bundle.
public struct TowerSample: Equatable, Sendable {
    /// What the tower is given.
    public var input: TowerInput
    /// What the tower must give, of length 1.
    public var vector: [Float]

    /// An input with its vector.
    public init(input: TowerInput, vector: [Float]) {
        self.input = input
        self.vector = vector
    }
}

/// The samples of a tower: part of `samples.json`, which every export has.
public struct TowerSamples: Equatable, Sendable {
    /// The cosine that a device's vectors must reach.
    public var leastCosine: Float
    /// Inputs with their vectors.
    public var samples: [TowerSample]

    /// Without samples, nothing is compared.
    public static let none = TowerSamples(leastCosine: 0, samples: [])

    /// Samples and what they must reach.
    public init(leastCosine: Float, samples: [TowerSample]) {
        self.leastCosine = leastCosine
        self.samples = samples
    }
}

extension ModelBundle {
    private struct Document: Decodable {
        struct Image: Decodable {
            var rgb_base64: Data
            var vector: [Float]
        }

        struct Text: Decodable {
            var ids: [Int32]
            var vector: [Float]
        }

        var least_cosine: Float
        var image_height: Int?
        var image_width: Int?
        var images: [Image]
        var texts: [Text]
    }

    /// The samples of a tower; none if the bundle is of a version without them.
    ///
    /// - Parameter part: `image` or `text`.
    public func samples(of part: BundlePart) throws(ManifestError) -> TowerSamples {
        guard let url = url(of: .samples) else { return .none }
        guard let data = try? Data(contentsOf: url), let document = try? JSONDecoder().decode(Document.self, from: data) else {
            throw .unreadable(name: url.lastPathComponent)
        }
        var samples: [TowerSample] = []
        if part == .image {
            for image in document.images {
                var bytes: [UInt8] = []
                for (place, sample) in image.rgb_base64.enumerated() {
                    bytes.append(sample)
                    if place % 3 == 2 { bytes.append(255) }
                }
                guard let pixels = PixelImage(width: document.image_width ?? 0, height: document.image_height ?? 0, bytes: bytes)
                else { throw .unreadable(name: url.lastPathComponent) }
                samples.append(TowerSample(input: .image(pixels), vector: image.vector))
            }
        } else {
            samples = document.texts.map { TowerSample(input: .tokens($0.ids), vector: $0.vector) }
        }
        return TowerSamples(leastCosine: document.least_cosine, samples: samples)
    }
}

/// The result of comparing a tower's vectors with those of the samples.
public struct ParityRow: Codable, Equatable, Sendable, Identifiable {
    /// `image` or `text`.
    public var tower: BundlePart
    /// Where the tower ran.
    public var place: TowerPlace
    /// nil if the tower did not run; 1 if the bundle has no samples.
    public var cosine: Float?
    /// What the cosine must reach.
    public var leastCosine: Float
    /// Why the tower did not run.
    public var reason: String?

    /// Tower and place.
    public var id: String { "\(tower.rawValue) \(place.runtime.rawValue) \(place.units.rawValue)" }

    /// Whether the tower gave the right vectors.
    public var passes: Bool { cosine.map { $0 >= leastCosine } ?? false }

    enum CodingKeys: String, CodingKey {
        case tower, place, reason
        case cosine = "cosine_min"
        case leastCosine = "threshold"
    }
}

/// Results of comparisons, stored so that each place is compared once.
///
/// A place in which the tower did not run is tried again after the next start: a full disk, for example, is temporary.
public actor ParityLog {
    private struct Document: Codable {
        /// Bundle and system: with another one, everything is compared again.
        var subject: String
        var rows: [ParityRow]
    }

    /// Bundle and system of the results.
    public nonisolated let subject: String
    private let url: URL
    private var document: Document

    /// - Parameters:
    ///   - url: The file of the log.
    ///   - subject: Bundle and system; results of others are ignored.
    public init(url: URL, subject: String) {
        self.url = url
        self.subject = subject
        let stored = (try? Data(contentsOf: url)).flatMap { try? JSONDecoder().decode(Document.self, from: $0) }
        document = stored.flatMap { $0.subject == subject ? $0 : nil } ?? Document(subject: subject, rows: [])
        document.rows.removeAll { $0.cosine == nil }
    }

    /// All results.
    public var rows: [ParityRow] { document.rows }

    /// The result of a tower in a place; nil before its first comparison.
    public func row(of tower: BundlePart, at place: TowerPlace) -> ParityRow? {
        document.rows.first { $0.tower == tower && $0.place == place }
    }

    /// Forgets the places in which a tower did not run.
    func forgetFailures(of tower: BundlePart) { document.rows.removeAll { $0.tower == tower && $0.cosine == nil } }

    /// Adds a result; a log that cannot be written only costs a comparison.
    public func add(_ row: ParityRow) {
        document.rows.removeAll { $0.id == row.id }
        document.rows.append(row)
        try? FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try? JSONEncoder().encode(document).write(to: url, options: .atomic)
    }
}

/// Errors of choosing where a tower runs.
public enum CheckedTowerError: Error, Equatable, Sendable {
    /// No place gives the vectors of the bundle's samples; the reasons by place.
    case noneWorks([ParityRow])
}

/// A tower in the first place that gives the right vectors.
///
/// A device can compute wrongly without an error, which no other machine can see. Before a place is used for the first
/// time, its vectors of the bundle's samples are therefore compared with those of the model in float32.
public actor CheckedTower {
    private let part: BundlePart
    private let candidates: [any Tower]
    private let samples: TowerSamples
    private let log: ParityLog
    private let describe: @Sendable (any Error) -> String
    private var choosing: Task<any Tower, any Error>?

    /// - Parameters:
    ///   - candidates: In the order of preference.
    ///   - samples: Without any, the first place that loads is used.
    ///   - describe: Converts an error to a message.
    public init(
        _ part: BundlePart, candidates: [any Tower], samples: TowerSamples, log: ParityLog,
        describe: @escaping @Sendable (any Error) -> String = { "\($0)" }
    ) {
        self.part = part
        self.candidates = candidates
        self.samples = samples
        self.log = log
        self.describe = describe
    }

    /// The chosen place; nil before the first prediction, and after `unload`.
    public func place() async -> TowerPlace? { try? await choosing?.value.place }

    /// Unit vectors of inputs, nil for an input without one.
    public func predict(_ inputs: [TowerInput]) async throws -> [[Float]?] {
        try await chosen().predict(inputs)
    }

    /// Releases the model's memory.
    public func unload() async {
        let tower = try? await choosing?.value
        choosing = nil
        await tower?.unload()
    }

    /// Compares all places, and releases their models.
    public func compareAll() async -> [ParityRow] {
        var rows: [ParityRow] = []
        for tower in candidates {
            rows.append(await compare(tower))
            await tower.unload()
        }
        choosing = nil
        return rows
    }

    private func chosen() async throws -> any Tower {
        let task = choosing ?? Task { try await choose() }
        choosing = task
        do {
            return try await task.value
        } catch {
            if choosing == task { choosing = nil }
            throw error
        }
    }

    private func choose() async throws -> any Tower {
        var failed: [ParityRow] = []
        for tower in candidates {
            var row = await log.row(of: part, at: tower.place)
            // A place that was right before can be used at once, if it still loads.
            if row?.passes == true, (try? await tower.load()) == nil { row = nil }
            let result: ParityRow
            if let row { result = row } else { result = await compare(tower) }
            if result.passes { return tower }
            failed.append(result)
            await tower.unload()
        }
        // What did not run may run at the next try.
        await log.forgetFailures(of: part)
        throw CheckedTowerError.noneWorks(failed)
    }

    private func compare(_ tower: any Tower) async -> ParityRow {
        var row = ParityRow(tower: part, place: tower.place, leastCosine: samples.leastCosine)
        do {
            row.cosine = try await tower.leastCosine(samples.samples)
        } catch {
            row.reason = describe(error)
        }
        await log.add(row)
        return row
    }
}
