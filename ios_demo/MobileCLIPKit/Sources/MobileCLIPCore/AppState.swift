import Foundation

/// An error of the app, and how to recover from it.
public struct AppProblem: Equatable, Sendable {
    /// The error itself, which the app words for the user.
    public let error: any Error
    /// Otherwise trying again may help.
    public var callsForRebuilding: Bool { (error as? FlatIndexError)?.callsForRebuilding ?? false }

    /// A problem with an error.
    public init(_ error: any Error) {
        self.error = error
    }

    /// Whether two problems show the same.
    public static func == (a: AppProblem, b: AppProblem) -> Bool {
        String(reflecting: a.error) == String(reflecting: b.error)
    }
}

/// What the app's screens show.
public struct AppState: Equatable, Sendable {
    /// Which screen there is.
    public enum Phase: Equatable, Sendable {
        case starting
        /// There is no usable bundle.
        case noBundle
        case needsPhotos
        case ready
        case failed(AppProblem)
    }

    /// Why there are no results.
    public enum EmptyReason: Equatable, Sendable {
        case nothingAsked, nothingIndexed, noResults
        /// There are hits, but none that is likely to be right.
        case nothingLikeThat
    }

    /// The screen to show.
    public internal(set) var phase: Phase = .starting
    /// The bundles that were found, with the damaged ones.
    public internal(set) var entries: [BundleList.Entry] = []
    /// The bundle that is open or being opened.
    public internal(set) var bundle: ModelBundle?
    /// Of indexing; nil before its first report.
    public internal(set) var progress: IndexingProgress?
    /// Why indexing stopped.
    public internal(set) var indexingProblem: AppProblem?
    /// All hits, best first.
    public internal(set) var hits: [FlatIndex.Hit] = []
    /// Number of hits before the uncertain ones; nil if this is not known.
    public internal(set) var certain: Int?
    /// Whether the user has asked for the uncertain hits of this request too.
    public internal(set) var showsUncertain = false
    /// The request that `hits` belong to; nil before the first answer.
    public internal(set) var answered: SearchRequest?
    /// Why the last search failed.
    public internal(set) var searchProblem: AppProblem?
    /// Whether the bundle has a textness vector.
    public internal(set) var hasTextness = false
    /// Why the bundle's background texts are not used: all hits are then shown.
    public internal(set) var confidenceProblem: AppProblem?
    /// Whether the app may access only the photos that the user selected.
    public internal(set) var isLimited = false
    /// What the user searches for.
    public internal(set) var request: SearchRequest = .words("")
    /// Positive to promote written words, negative to demote them.
    public internal(set) var textnessScale: Float = 0
    /// Whether the user has paused indexing.
    public internal(set) var isPaused = false
    /// Whether photos may be downloaded from iCloud for indexing.
    public internal(set) var allowsDownload = false

    /// The state before anything has happened.
    public init() {}

    /// The hits to show: those before the uncertain ones, or all.
    public var shownHits: ArraySlice<FlatIndex.Hit> { showsUncertain ? hits[...] : hits.prefix(certain ?? hits.count) }

    /// Number of hits that are not shown because they are uncertain.
    public var hiddenHits: Int { hits.count - shownHits.count }

    /// nil while there are results, and while an answer is awaited.
    public var emptyReason: EmptyReason? {
        guard shownHits.isEmpty, searchProblem == nil else { return nil }
        if case .words(let words) = request, words.allSatisfy(\.isWhitespace) { return .nothingAsked }
        guard answered == request else { return nil }
        if !hits.isEmpty { return .nothingLikeThat }
        return progress.map { $0.indexed == 0 } ?? true ? .nothingIndexed : .noResults
    }

    var usableBundles: [ModelBundle] { entries.compactMap { try? $0.result.get() } }
}

/// Settings that survive the app.
public struct AppSettings: Codable, Equatable, Sendable {
    /// The folder name of the last opened bundle.
    public var bundle: String?
    /// An app that is terminated while paused is still paused when it starts again.
    public var isPaused = false
    /// Whether photos may be downloaded from iCloud for indexing.
    public var allowsDownload = false

    /// The state before anything has happened.
    public init() {}
}

#if DEBUG
    extension AppState {
        /// A state for previews.
        public static func sample(
            _ phase: Phase, words: String = "", keys: [String] = [], certain: Int? = nil, progress: IndexingProgress? = nil,
            isLimited: Bool = false
        ) -> AppState {
            var state = AppState()
            (state.phase, state.progress, state.isLimited, state.certain) = (phase, progress, isLimited, certain)
            (state.request, state.answered, state.hits) = (.words(words), .words(words), keys.map(FlatIndex.Hit.sample))
            return state
        }
    }

    extension FlatIndex.Hit {
        /// A hit for previews.
        public static func sample(_ key: String) -> FlatIndex.Hit { FlatIndex.Hit(row: 0, key: key, score: 0.3) }
    }
#endif
