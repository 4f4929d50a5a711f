import Foundation
import MobileCLIPCore

/// A simulated photo library; its images are single pixels.
private struct SimulatedLibrary: PhotoSource {
    let listed: [LibraryPhoto]
    var changed: [LibraryPhoto] = []

    func photos() -> [LibraryPhoto] { listed }
    func changeToken() -> Data? { Data("now".utf8) }
    func fileNames(of keys: [String]) -> [String: String] { [:] }

    func changes(since token: Data) -> LibraryChanges? {
        changed.isEmpty ? nil : LibraryChanges(token: token, changed: changed, removed: [])
    }

    func image(
        of key: String, for input: ImageSpec, allowsDownload: Bool
    ) async -> Result<FetchedImage<PixelImage>, FailureLog.Reason> {
        let image = PixelImage(width: input.width, height: input.height) { $0.update(repeating: 9); return true }
        return image.map { .success(FetchedImage($0)) } ?? .failure(.undecodable)
    }
}

private struct AxisEncoder: ImageEncoding {
    func vectors(of images: [PixelImage]) -> [[Float]?] {
        images.map { _ in (0..<libraryDim).map { $0 == 0 ? 1 : 0 } }
    }

    func unload() {}
}

private let libraryDim = 512

/// Following a library of 300,000 photos. Times are wall-clock times.
struct LibraryReport: Encodable {
    var photos: Int
    var dim: Int
    /// A pass over the whole library, of which the index lacks `missing` photos.
    var missing: Int
    var resume_ms: Double
    /// Memory that each of several such passes adds, without the mapped file and what the allocator keeps for later; nil if the
    /// system does not report it.
    var growth_bytes: [Int?]
    /// The same for a photo, median of the passes after the first one.
    var growth_bytes_per_indexed_photo: Double?
    /// A pass that is told of three changed photos.
    var update_ms: Double
}

func measureLibrary() async throws -> LibraryReport {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("mckit-bench-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    let (count, missing, passes) = (300_000, 5_000, 5)
    let photos = (0..<count).map { LibraryPhoto(key: "photo-\($0)/L0/001", stamp: 1) }
    let json = #"{"name": "m", "embedding_dim": \#(libraryDim), "logit_scale": 1, "model_hash": "\#(String(repeating: "0", count: 64))"}"#
    let model = try JSONDecoder().decode(ModelSpec.self, from: Data(json.utf8))
    guard let files = LibraryIndex(folder: folder, model: model) else { throw CocoaError(.featureUnsupported) }
    let axis: [Float] = (0..<libraryDim).map { $0 == 0 ? 1 : 0 }
    try fill(files, photos.dropFirst(passes * missing), axis)
    var (growth, times): ([Int?], [Double]) = ([], [])
    for left in (0..<passes).reversed() {
        let before = usedBytes()
        times.append(try await pass(files, SimulatedLibrary(listed: Array(photos.dropFirst(left * missing)))))
        growth.append(before.flatMap { before in usedBytes().map { $0 - before } })
    }
    let changed = (0..<3).map { LibraryPhoto(key: photos[$0].key, stamp: 2) }
    // The first pass brings the process to its size.
    let later = growth.dropFirst().compactMap { $0 }.map(Double.init)
    let update = try await pass(files, SimulatedLibrary(listed: [], changed: changed))
    return LibraryReport(
        photos: count, dim: libraryDim, missing: missing, resume_ms: median(times), growth_bytes: growth,
        growth_bytes_per_indexed_photo: later.isEmpty ? nil : median(later) / Double(missing), update_ms: update)
}

/// Resident memory without mapped files, after the allocator has given back what is not in use; nil if the system does not
/// report it.
private func usedBytes() -> Int? {
    #if canImport(Glibc)
        // Swift's module of the C library does not have it.
        guard let trim = dlsym(nil, "malloc_trim") else { return nil }
        _ = unsafeBitCast(trim, to: (@convention(c) (Int) -> Int32).self)(0)
    #endif
    return ownBytes()
}

private func fill(_ files: LibraryIndex, _ photos: ArraySlice<LibraryPhoto>, _ axis: [Float]) throws {
    var writer = try files.openWriter()
    for start in stride(from: photos.startIndex, to: photos.endIndex, by: 4096) {
        let part = photos[start..<min(start + 4096, photos.endIndex)]
        try writer.append(part.map { FlatIndexItem(key: $0.key, stamp: $0.stamp, vector: axis) })
    }
}

private func pass(_ files: LibraryIndex, _ library: SimulatedLibrary) async throws -> Double {
    let indexer = PhotoIndexer(
        files: files, source: library, encoder: AxisEncoder(), input: ImageSpec(height: 224, width: 224),
        conditions: {
            IndexingConditions(thermalState: .nominal, isLowPower: false, isInForeground: true, allowsDownload: false)
        })
    let started = ContinuousClock.now
    try await indexer.run { _ in }
    return (ContinuousClock.now - started).milliseconds
}
