import Foundation
import Testing

@testable import MobileCLIPCore

private struct Refusal: Error {}

/// Gives each image its own direction, and records its calls.
private actor FakeEncoder: ImageEncoding {
    var seen: [String] = []
    var batches: [Int] = []
    var refused: Set<String> = []
    var unloaded = 0
    var afterEach: @Sendable () async throws -> Void = {}

    func vectors(of images: [String]) async throws -> [[Float]?] {
        if !refused.isDisjoint(with: images) { throw Refusal() }
        seen += images
        batches.append(images.count)
        try await afterEach()
        return images.map { $0.hasPrefix("odd") ? [0, 0] : direction(of: $0) }
    }

    func unload() { unloaded += 1 }
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
    func pause(_ isPaused: Bool) { now.isPaused = isPaused }
    func goToBackground() { now.isInForeground = false }
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
            files: files, source: library, encoder: encoder, input: ImageSpec(height: 32, width: 32), readyIndex: ready,
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
        #expect(reports.map(\.indexed) == [0, 0, 32, 64, 70, 70])
        #expect(reports.map(\.remaining) == [0, 70, 38, 6, 0, 0])
        #expect(reports.first?.state == .preparing)
        #expect(reports.last?.state == .done)
        #expect(reports.last?.fraction == 1)
        #expect(await encoder.unloaded == 1)
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

    @Test func aCancelledTaskKeepsTheBatchThatTheModelHasSeen() async throws {
        let encoder = FakeEncoder()
        let gate = Resumer()
        await encoder.then { await gate.work() }
        let work = indexer(FakeLibrary(names(100)), encoder)
        let task = Task { [log] in try await work.run { progress in await log.add(progress) } }
        await gate.set { task.cancel() }
        try await task.value
        #expect(try keys().count == 32)
        #expect(await log.reports.last?.state == .paused)
        #expect(await encoder.unloaded == 1)
    }

    /// A download may take minutes: cancelling does not wait for it, and a cancelled request is no failure of its photo.
    @Test func cancellingEndsTheRequestsThatAreOpen() async throws {
        let library = FakeLibrary(names(100))
        await library.stall(Set(names(100)))
        let work = indexer(library, FakeEncoder())
        let task = Task { [log] in try await work.run { progress in await log.add(progress) } }
        while await library.open < PhotoBatch<String>.requestsInFlight { await Task.yield() }
        task.cancel()
        try await task.value
        #expect(await library.cancelled == 6)
        #expect(await library.requested.count == 6)
        #expect(try keys().isEmpty)
        #expect(FailureLog(contentsOf: files.failuresURL).entries.isEmpty)
    }

    @Test func imagesOfTheNextBatchAreFetchedWhileTheModelWorks() async throws {
        let library = FakeLibrary(names(64))
        let encoder = FakeEncoder()
        await encoder.then {
            guard await encoder.batches.count == 1 else { return }
            while await library.requested.count < 64 { await Task.yield() }
        }
        try await run(indexer(library, encoder))
        #expect(try keys() == names(64))
        #expect(await library.mostOpen == 6)
    }

    @Test func aPausedIndexerEndsAtOnceAndSaysWhatIsLeft() async throws {
        await phone.pause(true)
        let encoder = FakeEncoder()
        let library = FakeLibrary(names(3))
        try await run(indexer(library, encoder))
        #expect(await log.waits.isEmpty)
        #expect(await log.reports.last?.state == .paused)
        #expect(await log.reports.last?.remaining == 3)
        #expect(await library.requested.isEmpty)
        await phone.pause(false)
        try await run(indexer(library, encoder))
        #expect(try keys().count == 3)
    }

    @Test func backgroundTimeIsNotSpentOnWaiting() async throws {
        await phone.become(.serious)
        await phone.goToBackground()
        try await run(indexer(FakeLibrary(names(3)), FakeEncoder()))
        #expect(await log.waits.isEmpty)
        #expect(await log.reports.last?.state == .waitingForCooling)
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

    @Test(arguments: [false, true])
    func aReadyIndexThatCannotBeUsedIsReportedAndDoesNotStopTheIndexing(isDamaged: Bool) async throws {
        let ready = scratch.file("ready")
        if isDamaged {
            try Data("nonsense".utf8).write(to: ready)
        } else {
            let header = try #require(FlatIndexHeader(dim: 16, numbers: .int8, modelHash: Golden.modelHash))
            try FlatIndexWriter.create(at: ready, header: header)
        }
        try await run(indexer(FakeLibrary(["A"]), FakeEncoder(), ready: ready))
        #expect(try keys() == ["A"])
        let problem = await log.reports.last?.readyIndexProblem
        #expect(isDamaged ? problem == .notAnIndex : problem != nil)
    }

    // MARK: Thumbnails of photos in the cloud

    @Test func photosInTheCloudAreFoundByTheirThumbnailsUntilTheOriginalsCome() async throws {
        let library = FakeLibrary(names(5))
        await library.put(inCloud: ["photo 1", "photo 3"], thumbnails: ["photo 1"])
        try await run(indexer(library, FakeEncoder()))
        #expect(try keys() == ["photo 0", "photo 1", "photo 2", "photo 4"])
        #expect(await log.reports.last?.provisional == 1)
        #expect(await log.reports.last?.failures == [.notDownloaded: 1])
        // Without downloads, nothing is tried again.
        let again = FakeEncoder()
        try await run(indexer(library, again))
        #expect(await again.seen.isEmpty)
        await phone.allowDownloads()
        try await run(indexer(library, again))
        #expect(await again.seen == ["photo 3", "photo 1"])
        #expect(await log.reports.last?.provisional == 0)
        #expect(await log.reports.last?.failures == [:])
        let last = FakeEncoder()
        try await run(indexer(library, last))
        #expect(await last.seen.isEmpty)
    }

    @Test func aProvisionalVectorIsRenewedWhenTheLibrarySaysThatThePhotoChanged() async throws {
        let library = FakeLibrary(names(3), keepsHistory: true)
        await library.put(inCloud: ["photo 1"], thumbnails: ["photo 1"])
        try await run(indexer(library, FakeEncoder()))
        await library.put(inCloud: [])
        await library.edit(["photo 1"], stamp: 1)
        let again = FakeEncoder()
        try await run(indexer(library, again))
        #expect(await again.seen == ["photo 1"])
        #expect(await log.reports.last?.provisional == 0)
    }

    // MARK: Changes of the library

    @Test func aLaterPassLooksAtTheChangesOnly() async throws {
        let library = FakeLibrary(names(50), keepsHistory: true)
        try await run(indexer(library, FakeEncoder()))
        #expect(await library.listings == 1)
        await library.edit(["new", "photo 7"], stamp: 2, removing: ["photo 3"])
        await library.forgetRequests()
        try await run(indexer(library, FakeEncoder()))
        #expect(await library.listings == 0)
        #expect(await library.requested.sorted() == ["new", "photo 7"])
        #expect(try Set(keys()) == Set(names(50) + ["new"]).subtracting(["photo 3"]))
        #expect(await log.reports.last?.indexed == 50)
    }

    @Test func anInterruptedPassIsFollowedByAComparisonOfTheWholeLibrary() async throws {
        let library = FakeLibrary(names(40), keepsHistory: true)
        let encoder = FakeEncoder()
        await encoder.then { if await encoder.seen.count > 32 { throw CancellationError() } }
        let interrupted = indexer(library, encoder)
        await #expect(throws: CancellationError.self) { try await run(interrupted) }
        try await run(indexer(library, FakeEncoder()))
        #expect(await library.listings == 2)
        #expect(try keys().count == 40)
    }

    @Test func anExpiredTokenOrALostIndexIsFollowedByAComparisonOfTheWholeLibrary() async throws {
        let library = FakeLibrary(names(4), keepsHistory: true)
        try await run(indexer(library, FakeEncoder()))
        try LibraryState(token: Data("999".utf8), items: 4).write(to: files.stateURL)
        try await run(indexer(library, FakeEncoder()))
        #expect(await library.listings == 2)
        try FileManager.default.removeItem(at: files.indexURL)
        try await run(indexer(library, FakeEncoder()))
        #expect(await library.listings == 3)
        #expect(try keys().count == 4)
    }

    @Test func photosThatWaitForDownloadsAreTriedAgainWithoutALookAtTheWholeLibrary() async throws {
        let library = FakeLibrary(names(6), keepsHistory: true)
        await library.put(inCloud: ["photo 2", "photo 4"], thumbnails: ["photo 4"])
        try await run(indexer(library, FakeEncoder()))
        await phone.allowDownloads()
        await library.forgetRequests()
        try await run(indexer(library, FakeEncoder()))
        #expect(await library.requested.sorted() == ["photo 2", "photo 4"])
        #expect(await library.listings == 0)
    }

    @Test(arguments: [false, true])
    func photosThatWaitForDownloadsSurviveAnInterruption(byAnError: Bool) async throws {
        let library = FakeLibrary(names(6), keepsHistory: true)
        await library.put(inCloud: ["photo 2"])
        try await run(indexer(library, FakeEncoder()))
        await phone.allowDownloads()
        let refusing = FakeEncoder()
        if byAnError {
            await refusing.refuse(["photo 2"])
            let interrupted = indexer(library, refusing)
            await #expect(throws: Refusal.self) { try await run(interrupted) }
        } else {
            await phone.pause(true)
            try await run(indexer(library, refusing))
            await phone.pause(false)
        }
        try await run(indexer(library, FakeEncoder()))
        #expect(try keys().sorted() == names(6))
    }
}

/// A closure that is set after the object that calls it.
private actor Resumer {
    private var action: @Sendable () async -> Void = {}

    func set(_ action: @escaping @Sendable () async -> Void) { self.action = action }
    func work() async { await action() }
}
