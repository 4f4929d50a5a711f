import Foundation
import Testing

@testable import MobileCLIPCore

private actor Words: QueryEncoder {
    func encode(_ text: String) throws -> [Float] {
        if text == "bad" { throw QueryError.empty }
        return axis
    }
}

private actor Images: ImageEncoding {
    func vectors(of images: [String]) -> [[Float]?] { images.map { _ in axis } }
    func unload() {}
}

private let axis: [Float] = (0..<16).map { $0 == 0 ? 1 : 0 }

/// The phone around the app: its bundles, settings, photos and clock.
@MainActor
private final class Phone: AppServices {
    let source: FakeLibrary
    let indexFolder: URL
    var settings = AppSettings()
    var isLimited = false
    var found: [BundleList.Entry] = []
    var grantsAccess = true
    var loads: [String] = []
    var fails = false
    var beforeLoading: () async -> Void = {}
    let (changes, change) = AsyncStream<Void>.makeStream()
    /// Sleeping tasks wait until the test lets time pass.
    private(set) var sleepers: [(duration: Duration, wake: CheckedContinuation<Void, Never>)] = []
    var timePasses = true

    init(_ folder: URL, photos: [String]) {
        indexFolder = folder
        source = FakeLibrary(photos)
    }

    func bundles() async -> [BundleList.Entry] { found }

    func encoders(of bundle: ModelBundle) async throws -> (images: Images, words: Words) {
        loads.append(bundle.url.lastPathComponent)
        await beforeLoading()
        if fails { throw ManifestError.partMissing(.image) }
        return (Images(), Words())
    }

    func requestAccess() async -> Bool { grantsAccess }
    func libraryChanges() -> AsyncStream<Void> { changes }
    func machine() -> (thermalState: IndexingPace.ThermalState, isLowPower: Bool) { (.nominal, false) }

    func sleep(for duration: Duration) async throws {
        guard !timePasses else { return await Task.yield() }
        await withCheckedContinuation { sleepers.append((duration, $0)) }
        try Task.checkCancellation()
    }

    func wakeAll() {
        let woken = sleepers
        sleepers = []
        for sleeper in woken { sleeper.wake.resume() }
    }
}

@MainActor
private final class Remaining {
    var counts: [Int] = []
}

@MainActor
@Suite struct AppSessionTests {
    private let scratch: Scratch
    private let phone: Phone
    private let session: AppSession<Phone>

    init() throws {
        scratch = try Scratch()
        phone = Phone(scratch.file("indexes"), photos: ["a", "b", "c"])
        session = AppSession(services: phone)
    }

    private func addBundles(_ names: String...) throws {
        for name in names {
            let url = scratch.file(name)
            try FileManager.default.copyItem(at: Golden.folder.appendingPathComponent("bundle"), to: url)
        }
        phone.found = BundleList(folders: [scratch.url]).entries()
    }

    private func bundle(_ name: String) throws -> ModelBundle { try ModelBundle(contentsOf: scratch.file(name)) }

    /// Lets the session's tasks run until something is so.
    private func until(_ isSo: () async -> Bool, at location: SourceLocation = #_sourceLocation) async throws {
        let start = ContinuousClock.now
        while ContinuousClock.now - start < .seconds(60) {
            if await isSo() { return }
            await Task.yield()
        }
        Issue.record("It never came.", sourceLocation: location)
    }

    private func untilIndexed() async throws { try await until { session.state.progress?.state == .done } }

    // MARK: Opening

    @Test func theFirstRunOpensTheBundleIndexesAndSearches() async throws {
        try addBundles("mine")
        await session.becomeActive()
        #expect(session.state.phase == .ready)
        #expect(session.state.bundle?.url.lastPathComponent == "mine")
        #expect(session.state.emptyReason == .nothingAsked)
        try await untilIndexed()
        session.ask(.words("dog"))
        try await until { session.state.hits.count == 3 }
        #expect(session.state.answered == .words("dog"))
    }

    @Test func aBundleThatIsCopiedWhileTheAppIsAwayIsFoundWhenItBecomesActive() async throws {
        await session.becomeActive()
        #expect(session.state.phase == .noBundle)
        session.resignActive()
        try addBundles("mine")
        await session.becomeActive()
        #expect(session.state.phase == .ready)
    }

    @Test func twoStartsAtTheSameTimeOpenTheModelOnce() async throws {
        try addBundles("mine")
        async let inBackground = session.indexInBackground()
        async let first: Void = session.start()
        async let second: Void = session.becomeActive()
        _ = await (inBackground, first, second)
        #expect(phone.loads == ["mine"])
    }

    @Test func twoTapsOnABundleOpenItOnce() async throws {
        try addBundles("mine", "other")
        await session.start()
        let other = try bundle("other")
        async let first: Void = session.open(other)
        async let second: Void = session.open(other)
        _ = await (first, second)
        #expect(phone.loads == ["mine", "other"])
        #expect(phone.settings.bundle == "other")
    }

    @Test func theBundleThatWasTappedLastIsOpen() async throws {
        try addBundles("mine", "other")
        await session.start()
        let (mine, other) = (try bundle("mine"), try bundle("other"))
        async let first: Void = session.open(other)
        await Task.yield()
        async let second: Void = session.open(mine)
        _ = await (first, second)
        #expect(session.state.bundle == mine)
        #expect(session.state.phase == .ready)
    }

    @Test func theLastUsedBundleIsOpenedAgain() async throws {
        try addBundles("mine", "other")
        phone.settings.bundle = "other"
        await session.start()
        #expect(session.state.bundle?.url.lastPathComponent == "other")
    }

    @Test func aFailureIsShownAndTryingAgainMayHelp() async throws {
        try addBundles("mine")
        phone.fails = true
        await session.start()
        #expect(session.state.phase == .failed(AppProblem(ManifestError.partMissing(.image))))
        phone.fails = false
        await session.tryAgain()
        #expect(session.state.phase == .ready)
    }

    @Test func aDamagedIndexIsRebuiltOnRequest() async throws {
        try addBundles("mine")
        let files = try #require(LibraryIndex(folder: phone.indexFolder, model: bundle("mine").model))
        _ = try files.open()
        try Data("nonsense".utf8).write(to: files.indexURL)
        await session.start()
        guard case .failed(let problem) = session.state.phase else { throw QueryError.empty }
        #expect(problem.callsForRebuilding)
        await session.rebuildIndex()
        #expect(session.state.phase == .ready)
        try await untilIndexed()
        #expect(session.state.progress?.indexed == 3)
    }

    @Test func withoutAccessTheAppAsksAndGoesOnWhenItIsGiven() async throws {
        try addBundles("mine")
        phone.grantsAccess = false
        await session.start()
        #expect(session.state.phase == .needsPhotos)
        phone.grantsAccess = true
        await session.usePhotos()
        #expect(session.state.phase == .ready)
    }

    @Test func anotherModelStartsWithoutTheOldResults() async throws {
        try addBundles("mine", "other")
        await session.start()
        try await untilIndexed()
        session.ask(.like(key: "a"))
        try await until { session.state.answered == .like(key: "a") }
        phone.beforeLoading = { [session] in
            #expect(session.state.hits.isEmpty)
            #expect(session.state.request == .words(""))
        }
        await session.open(try bundle("other"))
        #expect(phone.loads == ["mine", "other"])
    }

    // MARK: Indexing

    @Test func aPausedAppStaysPausedAfterItsTermination() async throws {
        try addBundles("mine")
        phone.settings.isPaused = true
        let later = AppSession(services: phone)
        await later.start()
        try await until { later.state.progress?.state == .paused }
        #expect(later.state.progress?.remaining == 3)
        #expect(await phone.source.requested.isEmpty)
        later.setPaused(false)
        try await until { later.state.progress?.state == .done }
        #expect(phone.settings.isPaused == false)
    }

    @Test func pausingEndsTheOpenRequestsAndResumingGoesOn() async throws {
        try addBundles("mine")
        await phone.source.stall(["a", "b", "c"])
        await session.start()
        try await until { await phone.source.open == 3 }
        session.setPaused(true)
        try await until { session.state.progress?.state == .paused }
        #expect(await phone.source.cancelled == 3)
        await phone.source.stall([])
        session.setPaused(false)
        try await untilIndexed()
        #expect(session.state.progress?.indexed == 3)
    }

    @Test func backgroundTimeEndsWhenEverythingIsDone() async throws {
        #expect(await session.indexInBackground() == false)
        try addBundles("mine")
        await session.becomeActive()
        session.resignActive()
        #expect(await session.indexInBackground())
    }

    @Test func theEndOfBackgroundTimeEndsTheIndexing() async throws {
        try addBundles("mine")
        await phone.source.stall(["a"])
        let task = Task { await session.indexInBackground() }
        try await until { await phone.source.open == 1 }
        task.cancel()
        #expect(await task.value == false)
        #expect(await phone.source.cancelled == 1)
    }

    @Test func manyChangesOfTheLibraryAreOneComparison() async throws {
        try addBundles("mine")
        await session.start()
        try await untilIndexed()
        let before = await phone.source.listings
        phone.timePasses = false
        await phone.source.set(["a", "b", "c", "d"])
        for _ in 0..<50 { phone.change.yield() }
        try await until { phone.sleepers.count == 1 }
        for _ in 0..<100 { await Task.yield() }
        #expect(phone.sleepers.map(\.duration) == [.seconds(3)])
        phone.wakeAll()
        phone.timePasses = true
        try await until { session.state.progress?.indexed == 4 && session.state.progress?.state == .done }
        #expect(await phone.source.listings == before + 1)
    }

    /// Even in the moment in which a pass says that it is done: nothing looks at the library after that.
    @Test(arguments: [IndexingProgress.State.preparing, .working, .done])
    func aPassThatIsAskedForDuringAnotherOneFollows(state: IndexingProgress.State) async throws {
        try addBundles("mine")
        var isAsked = false
        session.reportProgress = { [session] progress in
            guard progress.state == state, !isAsked else { return }
            isAsked = true
            session.startIndexing()
        }
        await session.start()
        try await until { await phone.source.listings == 2 }
    }

    @Test func backgroundTimeReportsProgressAndASecondRequestDoesNotSilenceIt() async throws {
        try addBundles("mine")
        await phone.source.stall(["a"])
        let seen = Remaining()
        let first = Task { await session.indexInBackground { seen.counts.append($0.remaining) } }
        try await until { await phone.source.open == 1 }
        try await until { session.reportProgress != nil }
        let second = Task { await session.indexInBackground() }
        for _ in 0..<20 { await Task.yield() }
        #expect(session.reportProgress != nil)
        first.cancel()
        _ = await (first.value, second.value)
        #expect(seen.counts.contains(3))
        #expect(session.reportProgress == nil)
    }

    // MARK: Searching

    @Test func onlyTheLastOfSeveralKeystrokesIsSearched() async throws {
        try addBundles("mine")
        await session.start()
        try await untilIndexed()
        phone.timePasses = false
        for words in ["d", "do", "dog"] { session.ask(.words(words)) }
        #expect(session.state.emptyReason == nil)
        for _ in 0..<100 { await Task.yield() }
        phone.wakeAll()
        try await until { session.state.answered != nil }
        #expect(session.state.answered == .words("dog"))
    }

    @Test func nothingIsCalledMissingBeforeItWasLookedFor() async throws {
        try addBundles("mine")
        phone.settings.isPaused = true
        let paused = AppSession(services: phone)
        await paused.start()
        try await until { paused.state.progress?.state == .paused }
        paused.ask(.words("dog"))
        #expect(paused.state.emptyReason == nil)
        try await until { paused.state.answered == .words("dog") }
        #expect(paused.state.emptyReason == .nothingIndexed)
        await session.start()
        try await untilIndexed()
        session.ask(.like(key: "not there"))
        try await until { session.state.answered != nil }
        #expect(session.state.emptyReason == .noResults)
    }

    @Test func aSearchThatFailsSaysSoAndTheNextOneClearsIt() async throws {
        try addBundles("mine")
        await session.start()
        try await untilIndexed()
        session.ask(.words("bad"))
        try await until { session.state.searchProblem != nil }
        #expect(session.state.emptyReason == nil)
        session.ask(.words("good"))
        try await until { session.state.hits.count == 3 }
        #expect(session.state.searchProblem == nil)
    }

    @Test func resultsFollowTheIndexWhilePhotosAreAdded() async throws {
        try addBundles("mine")
        await session.start()
        try await untilIndexed()
        session.ask(.words("dog"))
        try await until { session.state.hits.count == 3 }
        await phone.source.set(["a", "b", "c", "d"])
        phone.change.yield()
        try await until { session.state.hits.count == 4 }
    }

    @Test func resultsFollowTheIndexWhenPhotosAreEdited() async throws {
        try addBundles("mine")
        await session.start()
        try await untilIndexed()
        session.ask(.words("dog"))
        try await until { session.state.hits.count == 3 }
        await phone.source.set(["a", "b", "c"], stamp: 2)
        phone.change.yield()
        try await until { session.state.hits.map(\.row).sorted() == [3, 4, 5] }
        try await untilIndexed()
    }
}
