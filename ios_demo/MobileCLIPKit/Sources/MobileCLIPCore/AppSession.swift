import Foundation

/// The logic of the app, without its screens: opens a bundle, indexes and searches.
@MainActor
public final class AppSession<Services: AppServices> {
    /// What the screens show.
    public internal(set) var state = AppState() { didSet { if state != oldValue { show(state) } } }
    /// Whether the app is visible and may work in the foreground.
    public private(set) var isInForeground = false

    let services: Services
    private let show: @MainActor (AppState) -> Void
    var search: PhotoSearch<Services.Words>?
    var indexer: PhotoIndexer<Services.Source, Services.Images>?
    var files: LibraryIndex?
    /// The bundle's background texts, measured on the library of the computer that made it.
    var background: TextBackground?
    private var opening: (bundle: String?, task: Task<Void, Never>)?
    var indexing: Task<Void, Never>?
    /// Whether the library may have changed since the running pass began.
    var wantsAnotherPass = false
    private var watching: Task<Void, Never>?
    var scanning: Task<Void, Never>?
    var searching: Task<Void, Never>?
    var requestNumber = 0
    /// Told of progress by `indexInBackground`.
    var reportProgress: (@MainActor (IndexingProgress) -> Void)?

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

    /// The app is no longer in use.
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
            let background = await files.background(of: bundle)
            guard !Task.isCancelled else { return }
            do { self.background = try background.texts.get() } catch { state.confidenceProblem = AppProblem(error) }
            search = try PhotoSearch(
                files: files, encoder: encoders.words, textness: bundle.textness(), background: background.measured)
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
    func stop() async {
        for task in [searching, watching, scanning] { task?.cancel() }
        // Somebody else who waits for the pass, to resume it, may begin another one.
        while let running = indexing {
            running.cancel()
            await running.value
        }
        (searching, watching, scanning, indexing) = (nil, nil, nil, nil)
        (indexer, search, files, background) = (nil, nil, nil, nil)
        requestNumber += 1
        if case .like = state.request { state.request = .words("") }
        (state.progress, state.hits, state.certain, state.answered) = (nil, [], nil, nil)
        (state.searchProblem, state.indexingProblem, state.confidenceProblem) = (nil, nil, nil)
    }
}
