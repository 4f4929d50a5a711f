import Foundation

/// Wait for a pause in typing.
private let typingPause = Duration.milliseconds(120)
/// Nobody looks at more hits.
private let limit = 200

extension AppSession {
    /// Searches for something else, after a pause in typing.
    public func ask(_ request: SearchRequest) {
        guard request != state.request else { return }
        state.request = request
        searchAfresh()
    }

    /// Promotes or demotes images with written words.
    public func setTextnessScale(_ scale: Float) {
        guard scale != state.textnessScale else { return }
        state.textnessScale = scale
        searchAfresh()
    }

    /// Shows the uncertain hits too, until something else is asked.
    public func showUncertain() { state.showsUncertain = true }

    private func searchAfresh() {
        searching?.cancel()
        searching = nil
        requestNumber += 1
        searchSoon()
    }

    /// A search that waits already is not put off: while photos are indexed, it would never come.
    func searchSoon() {
        guard searching == nil, search != nil else { return }
        let number = requestNumber
        searching = Task { [weak self] in
            try? await self?.services.sleep(for: typingPause)
            guard !Task.isCancelled, let self, number == self.requestNumber else { return }
            self.searching = nil
            await self.searchNow(number)
        }
    }

    private func searchNow(_ number: Int) async {
        guard let search else { return }
        let request = state.request
        do {
            let found = try await search.search(request, textnessScale: state.textnessScale, limit: limit)
            guard number == requestNumber else { return }
            if request != state.answered { state.showsUncertain = false }
            (state.hits, state.certain, state.answered, state.searchProblem) = (found.hits, found.certain, request, nil)
        } catch {
            guard number == requestNumber else { return }
            (state.hits, state.certain, state.answered, state.searchProblem) = ([], nil, request, AppProblem(error))
        }
    }
}
