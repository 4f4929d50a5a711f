import Foundation
import MobileCLIPCore
import MobileCLIPKit
import Observation

/// What the screens show, and what they can ask for. The work itself is done by the package's actors.
@MainActor @Observable
final class AppModel {
    enum Phase {
        case starting
        /// There is no bundle, or none that can be used.
        case noBundle
        case needsPhotos
        case ready
        case failed(Problem)
    }

    /// What went wrong in words, and what can be done about it.
    struct Problem: Equatable {
        var text: String
        /// Else it is worth trying again.
        var callsForRebuilding: Bool

        init(_ error: any Error) {
            text = ErrorText.describe(error)
            callsForRebuilding = (error as? FlatIndexError)?.callsForRebuilding ?? false
        }
    }

    private(set) var phase: Phase = .starting
    private(set) var shelf: [BundleShelf.Entry] = []
    private(set) var bundle: ModelBundle?
    private(set) var progress: IndexingProgress?
    private(set) var hits: [FlatIndex.Hit] = []
    private(set) var searchProblem: String?
    private(set) var indexingProblem: Problem?
    private(set) var hasTextness = false
    private(set) var isLimited = false

    var request: SearchRequest = .words("") { didSet { searchSoon() } }
    var textnessScale: Float = 0 { didSet { searchSoon() } }
    var allowsDownload = UserDefaults.standard.bool(forKey: "allowsDownload") {
        didSet { UserDefaults.standard.set(allowsDownload, forKey: "allowsDownload") }
    }
    /// Kept: an app that is killed while it is paused comes back paused.
    var isPaused = UserDefaults.standard.bool(forKey: "isPaused") {
        didSet {
            UserDefaults.standard.set(isPaused, forKey: "isPaused")
            Task { await tellIndexerWhetherPaused() }
        }
    }
    /// The system may start the app behind the screen, so only a scene that is seen says otherwise.
    var isInForeground = false {
        didSet { if isInForeground, !oldValue, case .ready = phase { startIndexing() } }
    }

    let library = PhotoLibrary()
    let models = CompiledModels(folder: Places.compiledModels)

    private var search: PhotoSearch<TextEncoder>?
    private var indexer: PhotoIndexer<PhotoLibrary, ImageEncoder>?
    private var files: LibraryIndex?
    private var searching: Task<Void, Never>?
    private var indexing: Task<Void, Never>?
    private var watching: Task<Void, Never>?

    /// Finds the bundles and opens the one that was used last.
    func start() async {
        guard case .starting = phase else { return }
        await lookForBundles()
        let last = UserDefaults.standard.string(forKey: "bundle")
        let usable = shelf.compactMap { try? $0.result.get() }
        if let chosen = usable.first(where: { $0.url.lastPathComponent == last }) ?? usable.first {
            await open(chosen)
        } else {
            phase = .noBundle
        }
    }

    /// Looks for bundles again: one may have been copied to the phone while the app was open.
    func lookForBundles() async {
        let folders = [Places.builtInBundles, Places.documents].compactMap { $0 }
        shelf = await Task.detached { BundleShelf(folders: folders).entries() }.value
    }

    /// Changes to another bundle; each model has an index of its own, which is kept.
    func open(_ chosen: ModelBundle) async {
        await stop()
        phase = .starting
        UserDefaults.standard.set(chosen.url.lastPathComponent, forKey: "bundle")
        // Known before anything can fail, so that a damaged index can be rebuilt from the screen that says so.
        bundle = chosen
        files = LibraryIndex(folder: Places.indexes, model: chosen.model)
        do {
            guard let files else { throw ManifestError.damaged(reason: chosen.model.modelHash) }
            let words = try await TextEncoder(bundle: chosen, models: models)
            search = try PhotoSearch(files: files, encoder: words, textness: chosen.textness())
            hasTextness = search?.hasTextness ?? false
            let images = try await ImageEncoder(bundle: chosen, models: models)
            indexer = PhotoIndexer(
                files: files, source: library, encoder: images, imageSide: chosen.imageSide,
                readyIndex: chosen.url(of: .index), conditions: { [weak self] in await self?.conditions ?? .careful })
            await tellIndexerWhetherPaused()
            phase = .needsPhotos
            await usePhotos()
        } catch {
            phase = .failed(Problem(error))
        }
    }

    /// Asks for the photo library and begins to index.
    func usePhotos() async {
        do {
            try await library.requestAccess()
            phase = .ready
            startIndexing()
            watching?.cancel()
            watching = Task { [weak self, library] in
                for await _ in library.changes() { self?.startIndexing() }
            }
        } catch {
            phase = .needsPhotos
        }
    }

    /// Begins to index, or makes a running pass look at the library again.
    func startIndexing() {
        isLimited = library.isLimited
        if indexing != nil {
            Task { [indexer] in await indexer?.lookAgain() }
        } else {
            indexing = Task { [weak self] in
                await self?.runIndexer()
                self?.indexing = nil
            }
        }
    }

    /// For the system's background time: goes on until all is done or the time is over. Tells whether all is done.
    func indexInBackground() async -> Bool {
        if case .starting = phase { await start() }
        guard case .ready = phase else { return false }
        startIndexing()
        let task = indexing
        await withTaskCancellationHandler {
            await task?.value
        } onCancel: {
            // On the screen, the work goes on without the system's leave.
            Task { @MainActor [weak self] in if self?.isInForeground == false { task?.cancel() } }
        }
        return progress?.state == .done
    }

    /// Puts a damaged index aside and builds a new one.
    func rebuildIndex() async {
        await stop()
        indexingProblem = nil
        do {
            try files?.setAside()
            if let bundle { await open(bundle) }
        } catch {
            indexingProblem = Problem(error)
        }
    }

    /// After what may have passed, such as a full disk.
    func tryAgain() async {
        if case .ready = phase {
            startIndexing()
        } else if let bundle {
            await open(bundle)
        }
    }

    // MARK: Work

    private func runIndexer() async {
        guard let indexer else { return }
        indexingProblem = nil
        do {
            try await indexer.run { [weak self] progress in await self?.show(progress) }
        } catch is CancellationError {
            // Another bundle was chosen, or the background time is over.
        } catch {
            indexingProblem = Problem(error)
        }
    }

    private func show(_ progress: IndexingProgress) async {
        let hasNew = progress.indexed != self.progress?.indexed
        self.progress = progress
        guard hasNew else { return }
        do {
            try await search?.refresh()
            searchSoon()
        } catch {
            searchProblem = ErrorText.describe(error)
        }
    }

    private func searchSoon() {
        searching?.cancel()
        searching = Task { [weak self] in
            // Nobody reads results between two letters of a fast typist.
            try? await Task.sleep(for: .milliseconds(120))
            guard !Task.isCancelled else { return }
            await self?.searchNow()
        }
    }

    private func searchNow() async {
        guard let search else { return }
        do {
            let found = try await search.search(request, textnessScale: textnessScale, limit: 200)
            guard !Task.isCancelled else { return }
            hits = found
            searchProblem = nil
        } catch {
            searchProblem = ErrorText.describe(error)
        }
    }

    private func stop() async {
        searching?.cancel()
        watching?.cancel()
        indexing?.cancel()
        await indexing?.value
        indexing = nil
        indexer = nil
        search = nil
        progress = nil
        hits = []
    }

    private func tellIndexerWhetherPaused() async {
        if isPaused { await indexer?.pause() } else { await indexer?.resume() }
    }

    private var conditions: IndexingConditions {
        let process = ProcessInfo.processInfo
        return IndexingConditions(
            heat: process.heat, isLowPower: process.isLowPowerModeEnabled, isInForeground: isInForeground,
            allowsDownload: allowsDownload)
    }
}
