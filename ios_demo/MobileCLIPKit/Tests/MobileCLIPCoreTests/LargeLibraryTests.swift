import Foundation
import Testing

@testable import MobileCLIPCore

/// An image that is counted while it is in memory.
private final class Counted: Sendable {
    private let counter: Counter

    init(_ counter: Counter) {
        self.counter = counter
        counter.add(1)
    }

    deinit { counter.add(-1) }
}

private final class Counter: @unchecked Sendable {
    private let lock = NSLock()
    private var now = 0
    private var most = 0

    func add(_ difference: Int) {
        lock.withLock {
            now += difference
            most = max(most, now)
        }
    }

    var mostAtOnce: Int { lock.withLock { most } }
}

/// 300,000 photos, whose images are objects that are counted.
private struct LargeLibrary: PhotoSource {
    let listed: [LibraryPhoto]
    let counter = Counter()

    func photos() -> [LibraryPhoto] { listed }
    func changeToken() -> Data? { Data("now".utf8) }
    func changes(since token: Data) -> LibraryChanges? { nil }
    func fileNames(of keys: [String]) -> [String: String] { [:] }

    func image(
        of key: String, for input: ImageSpec, allowsDownload: Bool
    ) async -> Result<FetchedImage<Counted>, FailureLog.Reason> { .success(FetchedImage(Counted(counter))) }
}

private actor AxisEncoder: ImageEncoding {
    private(set) var count = 0

    func vectors(of images: [Counted]) -> [[Float]?] {
        count += images.count
        return images.map { _ in LargeLibraryTests.axis }
    }

    func unload() {}
}

@Suite struct LargeLibraryTests {
    static let axis: [Float] = [1, 0, 0, 0]
    private static let count = 300_000
    private let scratch: Scratch
    private let files: LibraryIndex

    init() throws {
        scratch = try Scratch()
        let bundle = try ModelBundle(contentsOf: Golden.folder.appendingPathComponent("bundle"))
        var model = bundle.model
        model.embeddingDim = 4
        files = try #require(LibraryIndex(folder: scratch.file("indexes"), model: model))
    }

    /// After a termination, exactly the photos that are missing are fetched, and few images are in memory at a time.
    @Test func anIndexOf300000PhotosIsContinuedExactly() async throws {
        let photos = (0..<Self.count).map { LibraryPhoto(key: "photo-\($0)/L0/001", stamp: 1) }
        let present = photos.dropFirst(2000)
        do {
            var writer = try files.openWriter()
            try writer.append(present.map { FlatIndexItem(key: $0.key, stamp: $0.stamp, vector: Self.axis) })
        }
        let library = LargeLibrary(listed: photos)
        let encoder = AxisEncoder()
        let indexer = PhotoIndexer(
            files: files, source: library, encoder: encoder, input: ImageSpec(height: 32, width: 32),
            conditions: {
                IndexingConditions(thermalState: .nominal, isLowPower: false, isInForeground: true, allowsDownload: false)
            })
        try await indexer.run { _ in }
        #expect(await encoder.count == 2000)
        #expect(try files.open().count == Self.count)
        // A batch at the model, and the one that is fetched.
        #expect(library.counter.mostAtOnce <= 64)
    }
}
