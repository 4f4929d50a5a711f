import Foundation
import Testing

@testable import MobileCLIPCore

/// A photo library whose images are the keys of its photos.
private actor FakeLibrary: PhotoSource {
    var listed: [LibraryPhoto]
    var inCloud: Set<String> = []
    var broken: Set<String> = []
    var names: [String: String] = [:]

    init(_ keys: [String]) { listed = keys.map { LibraryPhoto(key: $0, stamp: 1) } }

    func photos() -> [LibraryPhoto] { listed }
    func fileNames(of keys: [String]) -> [String: String] { names.filter { keys.contains($0.key) } }

    func image(of key: String, side: Int, allowsDownload: Bool) -> Result<String, FailureLog.Reason> {
        if broken.contains(key) { return .failure(.undecodable) }
        if inCloud.contains(key), !allowsDownload { return .failure(.notDownloaded) }
        return .success(key)
    }

    func set(_ keys: [String], stamp: Int64 = 1) { listed = keys.map { LibraryPhoto(key: $0, stamp: stamp) } }
    func put(inCloud keys: Set<String>) { inCloud = keys }
    func spoil(_ keys: Set<String>) { broken = keys }
    func name(_ names: [String: String]) { self.names = names }
}

private struct Refusal: Error {}

/// Gives each image its own direction, and records its calls.
private actor FakeEncoder: ImageEncoding {
    var seen: [String] = []
    var batches: [Int] = []
    var refused: Set<String> = []
    var afterEach: @Sendable () async throws -> Void = {}

    func vectors(of images: [String]) async throws -> [[Float]?] {
        if !refused.isDisjoint(with: images) { throw Refusal() }
        seen += images
        batches.append(images.count)
        try await afterEach()
        return images.map { $0.hasPrefix("odd") ? [0, 0] : direction(of: $0) }
    }

    func refuse(_ keys: Set<String>) { refused = keys }
    func then(_ work: @escaping @Sendable () async throws -> Void) { afterEach = work }
}

private func direction(of key: String) -> [Float] {
    let place = Int(key.utf8.reduce(0) { $0 &* 31 &+ Int($1) } & 15)
    return (0..<16).map { $0 == place ? 1 : 0 }
}

/// Records the indexer's reports and waits.
private actor Log {
    var reports: [IndexingProgress] = []
    var waits: [Duration] = []

    func add(_ progress: IndexingProgress) { reports.append(progress) }
    func add(_ wait: Duration) { waits.append(wait) }
}

private actor Phone {
    var now = IndexingConditions(thermalState: .nominal, isLowPower: false, isInForeground: true, allowsDownload: false)

    func become(_ thermalState: IndexingPace.ThermalState) { now.thermalState = thermalState }
    func allowDownloads() { now.allowsDownload = true }
}

@Suite struct PhotoIndexerTests {
    private let scratch: Scratch
    private let files: LibraryIndex
    private let log = Log()
    private let phone = Phone()

    init() throws {
        scratch = try Scratch()
        let bundle = try ModelBundle(contentsOf: Golden.folder.appendingPathComponent("bundle"))
        files = try #require(LibraryIndex(folder: scratch.file("indexes"), model: bundle.model))
    }

    private func indexer(
        _ library: FakeLibrary, _ encoder: FakeEncoder, ready: URL? = nil,
        waiting: @escaping @Sendable () async -> Void = {}
    ) -> PhotoIndexer<FakeLibrary, FakeEncoder> {
        PhotoIndexer(
            files: files, source: library, encoder: encoder, imageSide: 64, readyIndex: ready,
            conditions: { [phone] in await phone.now },
            sleep: { [log] wait in
                try Task.checkCancellation()
                await log.add(wait)
                await waiting()
            })
    }

    private func run(_ indexer: PhotoIndexer<FakeLibrary, FakeEncoder>) async throws {
        try await indexer.run { [log] progress in await log.add(progress) }
    }

    private func keys() throws -> [String] { try files.open().items().map(\.key) }

    private func names(_ count: Int) -> [String] { (0..<count).map { "photo \($0)" } }

    @Test func aLibraryIsIndexedInItsOrderAndProgressAddsUp() async throws {
        let encoder = FakeEncoder()
        try await run(indexer(FakeLibrary(names(70)), encoder))
        #expect(try keys() == names(70))
        #expect(await encoder.batches == [32, 32, 6])
        let reports = await log.reports
        #expect(reports.map(\.indexed) == [0, 32, 64, 70, 70])
        #expect(reports.map(\.remaining) == [70, 38, 6, 0, 0])
        #expect(reports.last?.state == .done)
        #expect(reports.last?.fraction == 1)
    }

    @Test func anEmptyLibraryIsDoneAtOnce() async throws {
        let encoder = FakeEncoder()
        try await run(indexer(FakeLibrary([]), encoder))
        #expect(try keys().isEmpty)
        #expect(await log.reports.last?.state == .done)
        #expect(await encoder.seen.isEmpty)
    }

    @Test func anIndexingThatWasCutShortGoesOnWhereItWas() async throws {
        let library = FakeLibrary(names(100))
        let first = FakeEncoder()
        // The process is killed during the third batch, which is therefore not on disk.
        await first.then { if await first.seen.count > 64 { throw CancellationError() } }
        let interrupted = indexer(library, first)
        await #expect(throws: CancellationError.self) { try await run(interrupted) }
        #expect(try keys() == Array(names(100).prefix(64)))
        let second = FakeEncoder()
        try await run(indexer(library, second))
        #expect(await second.seen == Array(names(100).dropFirst(64)))
        #expect(try keys() == names(100))
    }

    @Test func aCancelledTaskStopsAfterItsBatch() async throws {
        let encoder = FakeEncoder()
        let work = indexer(FakeLibrary(names(100)), encoder)
        await work.pause()
        let task = Task { [log] in try await work.run { progress in await log.add(progress) } }
        await encoder.then { task.cancel() }
        await work.resume()
        try await task.value
        #expect(try keys().count == 32)
        #expect(await log.reports.last?.state == .paused)
    }

    @Test func pausingWaitsAndResumingGoesOn() async throws {
        let resume = Resumer()
        let work = indexer(FakeLibrary(names(3)), FakeEncoder()) { await resume.work() }
        await resume.set { await work.resume() }
        await work.pause()
        try await run(work)
        #expect(await log.waits == [.milliseconds(300)])
        #expect(await log.reports.map(\.state).contains(.paused))
        #expect(try keys().count == 3)
    }

    @Test func aHotPhoneIsLeftAloneUntilItHasCooled() async throws {
        await phone.become(.critical)
        let encoder = FakeEncoder()
        try await run(indexer(FakeLibrary(names(40)), encoder) { [phone] in await phone.become(.fair) })
        #expect(await log.waits == [.seconds(60), .milliseconds(100), .milliseconds(100), .milliseconds(100)])
        #expect(await log.reports.map(\.state).contains(.waitingForCooling))
        #expect(await encoder.batches == [16, 16, 8])
    }

    @Test func photosInTheCloudAreCountedAndComeWhenDownloadsAreAllowed() async throws {
        let library = FakeLibrary(names(5))
        await library.put(inCloud: ["photo 1", "photo 3"])
        try await run(indexer(library, FakeEncoder()))
        #expect(try keys() == ["photo 0", "photo 2", "photo 4"])
        #expect(await log.reports.last?.failures == [.notDownloaded: 2])
        let again = FakeEncoder()
        try await run(indexer(library, again))
        #expect(await again.seen.isEmpty)
        await phone.allowDownloads()
        try await run(indexer(library, again))
        #expect(await again.seen == ["photo 1", "photo 3"])
        #expect(await log.reports.last?.failures == [:])
    }

    @Test func brokenPhotosAreRememberedUntilTheyChange() async throws {
        let library = FakeLibrary(["a", "broken", "odd one"])
        await library.spoil(["broken"])
        try await run(indexer(library, FakeEncoder()))
        #expect(try keys() == ["a"])
        #expect(await log.reports.last?.failures == [.undecodable: 1, .notEncoded: 1])
        await library.spoil([])
        let unchanged = FakeEncoder()
        try await run(indexer(library, unchanged))
        #expect(await unchanged.seen.isEmpty)
        await library.set(["a", "broken"], stamp: 2)
        try await run(indexer(library, unchanged))
        #expect(await unchanged.seen == ["a", "broken"])
        // The failing photo was removed from the library, so its failure is forgotten.
        #expect(FailureLog(contentsOf: files.failuresURL).entries.isEmpty)
        #expect(await log.reports.last?.indexed == 2)
    }

    @Test func anImageThatFailsItsWholeBatchCostsOnlyItself() async throws {
        let encoder = FakeEncoder()
        await encoder.refuse(["photo 2"])
        try await run(indexer(FakeLibrary(names(4)), encoder))
        #expect(try keys() == ["photo 0", "photo 1", "photo 3"])
        #expect(await log.reports.last?.failures == [.notEncoded: 1])
    }

    @Test func aModelThatTakesNothingStopsTheIndexing() async throws {
        let encoder = FakeEncoder()
        await encoder.refuse(Set(names(4)))
        let work = indexer(FakeLibrary(names(4)), encoder)
        await #expect(throws: Refusal.self) { try await run(work) }
        #expect(FailureLog(contentsOf: files.failuresURL).entries.isEmpty)
    }

    /// With limited access, photos that the user no longer shares are removed from the index.
    @Test func photosThatAreNoLongerVisibleAreForgotten() async throws {
        let library = FakeLibrary(names(6))
        try await run(indexer(library, FakeEncoder()))
        await library.set(["photo 4", "photo 1"])
        try await run(indexer(library, FakeEncoder()))
        #expect(try keys() == ["photo 1", "photo 4"])
    }

    @Test func aChangeDuringAPassIsSeenByTheNextOne() async throws {
        let library = FakeLibrary(names(2))
        let encoder = FakeEncoder()
        let work = indexer(library, encoder)
        await encoder.then {
            guard await encoder.batches.count == 1 else { return }
            await library.set(["photo 0", "photo 1", "new"])
            await work.rescan()
        }
        try await run(work)
        #expect(try keys() == ["photo 0", "photo 1", "new"])
        #expect(await encoder.seen == ["photo 0", "photo 1", "new"])
    }

    @Test func aReadyIndexGivesItsVectorsToPhotosOfTheSameName() async throws {
        let ready = scratch.file("ready")
        try FlatIndexWriter.create(at: ready, header: files.header)
        do {
            var writer = try FlatIndexWriter(opening: ready, modelHash: files.header.modelHash)
            let paths = ["2023/IMG_1.JPG", "2023/IMG_2.JPG", "2024/IMG_2.jpg", "2024/IMG_3.jpg", "unseen.jpg"]
            try writer.append(paths.map { FlatIndexItem(key: $0, stamp: 5, vector: direction(of: $0)) })
        }
        let library = FakeLibrary(["A", "B", "C", "D", "E"])
        // Two photos are named IMG_3, two images IMG_2, and the name of E is unknown.
        await library.name(["A": "img_1.jpg", "B": "IMG_2.JPG", "C": "IMG_3.jpg", "D": "IMG_3.JPG"])
        let encoder = FakeEncoder()
        try await run(indexer(library, encoder, ready: ready))
        #expect(await encoder.seen == ["B", "C", "D", "E"])
        let index = try files.open()
        #expect(try index.items().map(\.key) == ["A", "B", "C", "D", "E"])
        #expect(index.vector(ofRow: 0) == direction(of: "2023/IMG_1.JPG"))
        #expect(index.stamp(ofRow: 0) == 1)
    }

    @Test func aReadyIndexOfAnotherModelIsRefused() async throws {
        let ready = scratch.file("ready")
        let header = try #require(FlatIndexHeader(dim: 16, numbers: .int8, modelHash: Golden.modelHash))
        try FlatIndexWriter.create(at: ready, header: header)
        let work = indexer(FakeLibrary(["A"]), FakeEncoder(), ready: ready)
        await #expect(throws: FlatIndexError.self) { try await run(work) }
    }
}

/// A closure that is set after the object that calls it.
private actor Resumer {
    private var action: @Sendable () async -> Void = {}

    func set(_ action: @escaping @Sendable () async -> Void) { self.action = action }
    func work() async { await action() }
}
