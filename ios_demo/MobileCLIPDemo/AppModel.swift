import Foundation
import MobileCLIPCore
import MobileCLIPKit
import Observation
import UIKit

/// What the screens show, and what they can ask for. The work itself is done by the package's actors.
@MainActor @Observable
final class AppModel {
    enum Phase {
        case starting
        /// There is no bundle, or none that can be used.
        case noBundle
        case needsPhotos
        case ready
        case failed(String)
    }

    private(set) var phase: Phase = .starting
    private(set) var shelf: [BundleShelf.Entry] = []
    private(set) var bundle: ModelBundle?
    private(set) var progress: PhotoIndexer.Progress?
    private(set) var hits: [FlatIndex.Hit] = []
    private(set) var searchProblem: String?
    private(set) var indexingProblem: String?
    private(set) var hasTextness = false
    private(set) var isLimited = false

    var request: PhotoSearch.Request = .words("") { didSet { searchSoon() } }
    var textnessScale: Float = 0 { didSet { searchSoon() } }
    var allowsDownload = UserDefaults.standard.bool(forKey: "allowsDownload") {
        didSet { UserDefaults.standard.set(allowsDownload, forKey: "allowsDownload") }
    }
    var isPaused = false {
        didSet {
            Task { [indexer, isPaused] in
                if isPaused { await indexer?.pause() } else { await indexer?.resume() }
            }
        }
    }
    var isInForeground = true

    let library = PhotoLibrary()
    let models = CompiledModels(folder: Places.compiledModels)

    private var search: PhotoSearch?
    private var indexer: PhotoIndexer?
    private var files: LibraryIndex?
    private var searching: Task<Void, Never>?
    private var indexing: Task<Void, Never>?
    private var isIndexing = false
    private var watching: Task<Void, Never>?

    /// Finds the bundles and opens the one that was used last.
    func start() async {
        guard case .starting = phase else { return }
        let folders = [Places.builtInBundles, Places.documents].compactMap { $0 }
        shelf = await Task.detached { BundleShelf(folders: folders).entries() }.value
        let last = UserDefaults.standard.string(forKey: "bundle")
        let usable = shelf.compactMap { try? $0.result.get() }
        if let chosen = usable.first(where: { $0.url.lastPathComponent == last }) ?? usable.first {
            await open(chosen)
        } else {
            phase = .noBundle
        }
    }

    /// Changes to another bundle; each model has an index of its own, which is kept.
    func open(_ chosen: ModelBundle) async {
        await stop()
        phase = .starting
        UserDefaults.standard.set(chosen.url.lastPathComponent, forKey: "bundle")
        do {
            guard let files = LibraryIndex(folder: Places.indexes, model: chosen.model) else {
                throw ManifestError.damaged(reason: chosen.model.modelHash)
            }
            try Places.adoptReadyIndex(of: chosen, as: files)
            let search = try await PhotoSearch(bundle: chosen, models: models, files: files)
            let encoder = try await ImageEncoder(bundle: chosen, models: models)
            indexer = PhotoIndexer(files: files, bundle: chosen, encoder: encoder, library: library) { [weak self] in
                await self?.conditions ?? .init(heat: .nominal, isLowPower: true, isInForeground: false, allowsDownload: false)
            }
            self.search = search
            self.files = files
            bundle = chosen
            hasTextness = search.hasTextness
            phase = .needsPhotos
            await usePhotos()
        } catch {
            phase = .failed(ErrorText.describe(error))
        }
    }

    /// Asks for the photo library and begins to index.
    func usePhotos() async {
        do {
            try await library.requestAccess()
            isLimited = library.isLimited
            phase = .ready
            startIndexing()
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
        if isIndexing {
            Task { [indexer] in await indexer?.lookAgain() }
        } else {
            isIndexing = true
            indexing = Task { [weak self] in
                guard let self else { return }
                await self.runIndexer()
                self.isIndexing = false
            }
        }
    }

    /// For the system's background time: goes on until all is done or the time is over.
    func indexInBackground() async {
        if case .starting = phase { await start() }
        guard case .ready = phase else { return }
        startIndexing()
        let task = indexing
        await withTaskCancellationHandler {
            await task?.value
        } onCancel: {
            task?.cancel()
        }
    }

    /// Puts a damaged index aside and builds a new one.
    func rebuildIndex() async {
        await stop()
        do {
            try files?.setAside()
            if let bundle { await open(bundle) }
        } catch {
            indexingProblem = ErrorText.describe(error)
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
            indexingProblem = ErrorText.describe(error)
        }
    }

    private func show(_ progress: PhotoIndexer.Progress) async {
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
        progress = nil
        hits = []
    }

    private var conditions: PhotoIndexer.Conditions {
        let heat: IndexingPace.Heat =
            switch ProcessInfo.processInfo.thermalState {
            case .nominal: .nominal
            case .fair: .fair
            case .serious: .serious
            case .critical: .critical
            @unknown default: .serious
            }
        return PhotoIndexer.Conditions(
            heat: heat, isLowPower: ProcessInfo.processInfo.isLowPowerModeEnabled, isInForeground: isInForeground,
            allowsDownload: allowsDownload)
    }
}
