import Foundation

/// Changes of the library that come together are looked at together.
private let changesPause = Duration.seconds(3)

extension AppSession {
    /// Starts indexing, or makes a running pass compare the library with the index once more.
    public func startIndexing() {
        guard case .ready = state.phase else { return }
        state.isLimited = services.isLimited
        guard indexing == nil else { return wantsAnotherPass = true }
        indexing = Task(priority: .utility) { [weak self] in
            await self?.runIndexer()
            self?.indexing = nil
        }
    }

    /// Pauses indexing until it is resumed, even if the app is terminated meanwhile.
    public func setPaused(_ isPaused: Bool) {
        state.isPaused = isPaused
        services.settings.isPaused = isPaused
        if isPaused { indexing?.cancel() } else { resumeIndexing() }
    }

    /// Allows photos to be downloaded from iCloud for indexing.
    public func setAllowsDownload(_ allowsDownload: Bool) {
        state.allowsDownload = allowsDownload
        services.settings.allowsDownload = allowsDownload
        startIndexing()
    }

    /// Indexes in background time until everything is done or the time is over. Returns whether everything is done.
    ///
    /// - Parameter report: Called when the progress changes.
    public func indexInBackground(_ report: (@MainActor (IndexingProgress) -> Void)? = nil) async -> Bool {
        await start()
        guard case .ready = state.phase else { return false }
        // A running pass is as good as a new one.
        if indexing == nil { startIndexing() }
        if report != nil { reportProgress = report }
        defer { if report != nil { reportProgress = nil } }
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
            repeat {
                wantsAnotherPass = false
                try await indexer.run { [weak self] progress in await self?.show(progress) }
                try await measureBackground()
            } while wantsAnotherPass && !Task.isCancelled
        } catch is CancellationError {
            // Another bundle was chosen, or the background time is over.
        } catch {
            state.indexingProblem = AppProblem(error)
        }
    }

    /// Measures the background texts on the library once everything is indexed.
    private func measureBackground() async throws {
        guard state.progress?.state == .done, let background, let files, let search else { return }
        let measured = try await files.measuredBackground(background)
        guard !Task.isCancelled else { return }
        await search.use(measured)
        if state.answered != nil { searchSoon() }
    }

    private func show(_ progress: IndexingProgress) async {
        guard indexer != nil else { return }
        // A vector that is renewed does not change the number of photos.
        let hasNew = progress.indexed != state.progress?.indexed || progress.remaining != state.progress?.remaining
        state.progress = progress
        reportProgress?(progress)
        guard hasNew, let search else { return }
        do {
            try await search.refresh()
            if state.answered != nil { searchSoon() }
        } catch {
            state.searchProblem = AppProblem(error)
        }
    }

    func libraryChanged() {
        guard scanning == nil else { return }
        scanning = Task { [weak self] in
            try? await self?.services.sleep(for: changesPause)
            guard !Task.isCancelled else { return }
            self?.scanning = nil
            self?.startIndexing()
        }
    }

    var conditions: IndexingConditions {
        let machine = services.machine()
        return IndexingConditions(
            thermalState: machine.thermalState, isLowPower: machine.isLowPower, isInForeground: isInForeground,
            allowsDownload: state.allowsDownload, isPaused: state.isPaused)
    }
}
