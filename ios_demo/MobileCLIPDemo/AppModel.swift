import Foundation
import MobileCLIPCore
import MobileCLIPKit
import Observation

/// The state and the actions of the screens. The package's actors do the work.
@MainActor @Observable
final class AppModel {
    enum Phase {
        case starting
        /// There is no usable bundle.
        case noBundle
        case needsPhotos
        case ready
        case failed(Problem)
    }

    /// A message about an error, and how to recover from it.
    struct Problem: Equatable {
        var text: String
        /// Otherwise trying again may help.
        var callsForRebuilding: Bool

        init(_ error: any Error) {
            text = ErrorText.describe(error)
            callsForRebuilding = (error as? FlatIndexError)?.callsForRebuilding ?? false
        }
    }

    private(set) var phase: Phase = .starting
    private(set) var bundleEntries: [BundleList.Entry] = []
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
    /// Stored, so that an app that is killed while paused is still paused when it starts again.
    var isPaused = UserDefaults.standard.bool(forKey: "isPaused") {
        didSet {
            UserDefaults.standard.set(isPaused, forKey: "isPaused")
            Task { await tellIndexerWhetherPaused() }
        }
    }
    /// Initially false, because the system may start the app in the background.
    var isInForeground = false {
        didSet { if isInForeground, !oldValue, case .ready = phase { startIndexing() } }
    }

    let library = PhotoLibrary()
    let models = CompiledModels(folder: AppFolders.compiledModels)

    private var search: PhotoSearch<TextEncoder>?
    private var indexer: PhotoIndexer<PhotoLibrary, ImageEncoder>?
    private var files: LibraryIndex?
    private var searching: Task<Void, Never>?
    private var indexing: Task<Void, Never>?
    private var watching: Task<Void, Never>?

    /// Finds the bundles and opens the last used one.
    func start() async {
        guard case .starting = phase else { return }
        await lookForBundles()
        let last = UserDefaults.standard.string(forKey: "bundle")
        let usable = bundleEntries.compactMap { try? $0.result.get() }
        if let chosen = usable.first(where: { $0.url.lastPathComponent == last }) ?? usable.first {
            await open(chosen)
        } else {
            phase = .noBundle
        }
    }

    /// Finds the bundles again: one may have been copied to the phone while the app was open.
    func lookForBundles() async {
        let folders = [AppFolders.builtInBundles, AppFolders.documents].compactMap { $0 }
        bundleEntries = await Task.detached { BundleList(folders: folders).entries() }.value
    }

    /// Opens another bundle. Each model has its own index, which is kept.
    func open(_ chosen: ModelBundle) async {
        await stop()
        phase = .starting
        UserDefaults.standard.set(chosen.url.lastPathComponent, forKey: "bundle")
        // Set before anything can fail, so that the error screen can rebuild a damaged index.
        bundle = chosen
        files = LibraryIndex(folder: AppFolders.indexes, model: chosen.model)
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

    /// Asks for access to the photo library and starts indexing.
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

    /// Starts indexing, or makes a running pass compare the library with the index once more.
    func startIndexing() {
        isLimited = library.isLimited
        if indexing != nil {
            Task { [indexer] in await indexer?.rescan() }
        } else {
            indexing = Task { [weak self] in
                await self?.runIndexer()
                self?.indexing = nil
            }
        }
    }

    /// Indexes in background time until everything is done or the time is over. Returns whether everything is done.
    func indexInBackground() async -> Bool {
        if case .starting = phase { await start() }
        guard case .ready = phase else { return false }
        startIndexing()
        let task = indexing
        await withTaskCancellationHandler {
            await task?.value
        } onCancel: {
            // In the foreground, the work continues without background time.
            Task { @MainActor [weak self] in if self?.isInForeground == false { task?.cancel() } }
        }
        return progress?.state == .done
    }

    /// Moves a damaged index aside and builds a new one.
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

    /// Tries again after an error that may be temporary, such as a full disk.
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
            // Waits for a pause in typing.
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
            thermalState: IndexingPace.ThermalState(process.thermalState), isLowPower: process.isLowPowerModeEnabled, isInForeground: isInForeground,
            allowsDownload: allowsDownload)
    }
}
