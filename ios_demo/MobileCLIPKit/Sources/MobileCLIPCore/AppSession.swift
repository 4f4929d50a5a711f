import Foundation

/// What the app's logic needs from its surroundings: Apple's frameworks, or a test's replacements.
@MainActor
public protocol AppServices: AnyObject, Sendable {
    associatedtype Source: PhotoSource
    associatedtype Images: ImageEncoding where Images.Image == Source.Image
    associatedtype Words: QueryEncoder

    var source: Source { get }
    /// The folder of the indexes.
    var indexFolder: URL { get }
    var settings: AppSettings { get set }
    /// Whether the app may access only the photos that the user selected.
    var isLimited: Bool { get }

    /// The bundles that are there now.
    func bundles() async -> [BundleList.Entry]
    /// The encoders of a bundle. Their models load when they are first used.
    func encoders(of bundle: ModelBundle) async throws -> (images: Images, words: Words)
    /// Asks the user for access to the photos the first time.
    func requestAccess() async -> Bool
    /// A value for each change of the library.
    func libraryChanges() -> AsyncStream<Void>
    /// Heat and energy of the phone.
    func machine() -> (thermalState: IndexingPace.ThermalState, isLowPower: Bool)
    func sleep(for duration: Duration) async throws
}

/// The logic of the app, without its screens: opens a bundle, indexes and searches.
@MainActor
public final class AppSession<Services: AppServices> {
    /// Wait for a pause in typing.
    private static var typingPause: Duration { .milliseconds(120) }
    /// Changes of the library that come together are looked at together.
    private static var changesPause: Duration { .seconds(3) }
    private static var limit: Int { 200 }

    public private(set) var state = AppState() { didSet { if state != oldValue { show(state) } } }
    public private(set) var isInForeground = false

    private let services: Services
    private let show: @MainActor (AppState) -> Void
    private var search: PhotoSearch<Services.Words>?
    private var indexer: PhotoIndexer<Services.Source, Services.Images>?
    private var files: LibraryIndex?
    private var opening: (bundle: String?, task: Task<Void, Never>)?
    private var indexing: Task<Void, Never>?
    private var watching: Task<Void, Never>?
    private var scanning: Task<Void, Never>?
    private var searching: Task<Void, Never>?
    private var requestNumber = 0

    /// - Parameter show: Called after each change of the state.
    public init(services: Services, show: @escaping @MainActor (AppState) -> Void = { _ in }) {
        self.services = services
        self.show = show
        state.isPaused = services.settings.isPaused
        state.allowsDownload = services.settings.allowsDownload
    }

    // MARK: Bundles

    /// Opens the last used bundle, once: later calls wait for the first one.
    public func start() async {
        guard case .starting = state.phase else { return }
        if opening == nil { open(nil) }
        await opening?.task.value
    }

    /// The app is visible. A bundle may have been copied to the phone meanwhile.
    public func becomeActive() async {
        isInForeground = true
        switch state.phase {
        case .ready:
            startIndexing()
            state.entries = await services.bundles()
        case .noBundle, .failed:
            state.phase = .starting
            await start()
        case .starting, .needsPhotos:
            await start()
        }
    }

    public func resignActive() { isInForeground = false }

    /// Finds the bundles again.
    public func lookForBundles() async { state.entries = await services.bundles() }

    /// Opens another bundle. Each model has its own index, which is kept. For the bundle that is open, nothing happens; a
    /// second call for one that is being opened waits for the first one.
    public func open(_ bundle: ModelBundle) async {
        if opening == nil, bundle == state.bundle, [.ready, .needsPhotos].contains(state.phase) { return }
        if opening?.bundle != bundle.id { open(Optional(bundle)) }
        await opening?.task.value
    }

    /// - Parameter bundle: nil for the last used one.
    private func open(_ bundle: ModelBundle?) {
        let earlier = opening?.task
        earlier?.cancel()
        opening = (
            bundle?.id,
            Task {
                await earlier?.value
                guard !Task.isCancelled else { return }
                await openNow(bundle)
                if !Task.isCancelled { opening = nil }
            }
        )
    }

    private func openNow(_ wanted: ModelBundle?) async {
        await stop()
        state.phase = .starting
        let entries = await services.bundles()
        state.entries = entries
        let usable = state.usableBundles
        let last = services.settings.bundle
        guard let bundle = wanted ?? usable.first(where: { $0.url.lastPathComponent == last }) ?? usable.first else {
            state.phase = .noBundle
            return
        }
        services.settings.bundle = bundle.url.lastPathComponent
        // Set before anything can fail, so that the error screen can rebuild a damaged index.
        state.bundle = bundle
        files = LibraryIndex(folder: services.indexFolder, model: bundle.model)
        do {
            guard let files, let input = bundle.model.image else {
                throw ManifestError.damaged(reason: bundle.model.modelHash)
            }
            let encoders = try await services.encoders(of: bundle)
            guard !Task.isCancelled else { return }
            search = try PhotoSearch(files: files, encoder: encoders.words, textness: bundle.textness())
            state.hasTextness = search?.hasTextness ?? false
            indexer = PhotoIndexer(
                files: files, source: services.source, encoder: encoders.images, input: input,
                readyIndex: bundle.url(of: .index), conditions: { [weak self] in await self?.conditions ?? .careful },
                sleep: { [weak self] in try await self?.services.sleep(for: $0) })
            state.phase = .needsPhotos
            await usePhotos()
        } catch {
            if !Task.isCancelled { state.phase = .failed(AppProblem(error)) }
        }
    }

    /// Asks for access to the photo library and starts indexing.
    public func usePhotos() async {
        guard case .needsPhotos = state.phase else { return }
        guard await services.requestAccess(), case .needsPhotos = state.phase else { return }
        state.phase = .ready
        startIndexing()
        watching?.cancel()
        let changes = services.libraryChanges()
        watching = Task { [weak self] in
            for await _ in changes { self?.libraryChanged() }
        }
        if state.emptyReason != .nothingAsked { searchSoon() }
    }

    /// Ends what belongs to the present bundle.
    private func stop() async {
        for task in [searching, watching, scanning, indexing] { task?.cancel() }
        await indexing?.value
        (searching, watching, scanning, indexing) = (nil, nil, nil, nil)
        (indexer, search, files) = (nil, nil, nil)
        requestNumber += 1
        if case .like = state.request { state.request = .words("") }
        (state.progress, state.hits, state.answered) = (nil, [], nil)
        (state.searchProblem, state.indexingProblem) = (nil, nil)
    }

    // MARK: Indexing

    /// Starts indexing, or makes a running pass compare the library with the index once more.
    public func startIndexing() {
        guard case .ready = state.phase else { return }
        state.isLimited = services.isLimited
        if indexing != nil {
            Task { [indexer] in await indexer?.rescan() }
            return
        }
        indexing = Task(priority: .utility) { [weak self] in
            await self?.runIndexer()
            self?.indexing = nil
        }
    }

    public func setPaused(_ isPaused: Bool) {
        state.isPaused = isPaused
        services.settings.isPaused = isPaused
        if isPaused { indexing?.cancel() } else { resumeIndexing() }
    }

    public func setAllowsDownload(_ allowsDownload: Bool) {
        state.allowsDownload = allowsDownload
        services.settings.allowsDownload = allowsDownload
        startIndexing()
    }

    /// Indexes in background time until everything is done or the time is over. Returns whether everything is done.
    public func indexInBackground() async -> Bool {
        await start()
        guard case .ready = state.phase else { return false }
        startIndexing()
        let task = indexing
        await withTaskCancellationHandler {
            await task?.value
        } onCancel: {
            // In the foreground, the work continues without background time.
            Task { @MainActor [weak self] in if self?.isInForeground == false { task?.cancel() } }
        }
        return state.progress?.state == .done
    }

    /// Moves a damaged index aside and builds a new one.
    public func rebuildIndex() async {
        guard let bundle = state.bundle, let files else { return }
        await stop()
        state.phase = .starting
        do {
            try files.setAside()
            await open(bundle)
        } catch {
            state.phase = .failed(AppProblem(error))
        }
    }

    /// Tries again after an error that may be temporary, such as a full disk.
    public func tryAgain() async {
        if case .ready = state.phase {
            startIndexing()
        } else if let bundle = state.bundle {
            await open(bundle)
        }
    }

    /// A cancelled pass is over soon; until then, it would not notice that it may continue.
    private func resumeIndexing() {
        Task {
            await indexing?.value
            if !state.isPaused { startIndexing() }
        }
    }

    private func runIndexer() async {
        guard let indexer else { return }
        state.indexingProblem = nil
        do {
            try await indexer.run { [weak self] progress in await self?.show(progress) }
        } catch is CancellationError {
            // Another bundle was chosen, or the background time is over.
        } catch {
            state.indexingProblem = AppProblem(error)
        }
    }

    private func show(_ progress: IndexingProgress) async {
        guard indexer != nil else { return }
        let hasNew = progress.indexed != state.progress?.indexed
        state.progress = progress
        guard hasNew, let search else { return }
        do {
            try await search.refresh()
            if state.answered != nil { searchSoon() }
        } catch {
            state.searchProblem = AppProblem(error)
        }
    }

    private func libraryChanged() {
        guard scanning == nil else { return }
        scanning = Task { [weak self] in
            try? await self?.services.sleep(for: Self.changesPause)
            guard !Task.isCancelled else { return }
            self?.scanning = nil
            self?.startIndexing()
        }
    }

    private var conditions: IndexingConditions {
        let machine = services.machine()
        return IndexingConditions(
            thermalState: machine.thermalState, isLowPower: machine.isLowPower, isInForeground: isInForeground,
            allowsDownload: state.allowsDownload, isPaused: state.isPaused)
    }

    // MARK: Searching

    public func ask(_ request: SearchRequest) {
        guard request != state.request else { return }
        state.request = request
        searchAfresh()
    }

    public func setTextnessScale(_ scale: Float) {
        guard scale != state.textnessScale else { return }
        state.textnessScale = scale
        searchAfresh()
    }

    private func searchAfresh() {
        searching?.cancel()
        searching = nil
        requestNumber += 1
        searchSoon()
    }

    /// A search that waits already is not put off: while photos are indexed, it would never come.
    private func searchSoon() {
        guard searching == nil, search != nil else { return }
        let number = requestNumber
        searching = Task { [weak self] in
            try? await self?.services.sleep(for: Self.typingPause)
            guard !Task.isCancelled, let self, number == self.requestNumber else { return }
            self.searching = nil
            await self.searchNow(number)
        }
    }

    private func searchNow(_ number: Int) async {
        guard let search else { return }
        let request = state.request
        do {
            let found = try await search.search(request, textnessScale: state.textnessScale, limit: Self.limit)
            guard number == requestNumber else { return }
            (state.hits, state.answered, state.searchProblem) = (found, request, nil)
        } catch {
            guard number == requestNumber else { return }
            (state.hits, state.answered, state.searchProblem) = ([], request, AppProblem(error))
        }
    }
}
