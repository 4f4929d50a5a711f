import Foundation

/// An error of the app, and how to recover from it.
public struct AppProblem: Equatable, Sendable {
    public let error: any Error
    /// Otherwise trying again may help.
    public var callsForRebuilding: Bool { (error as? FlatIndexError)?.callsForRebuilding ?? false }

    public init(_ error: any Error) {
        self.error = error
    }

    public static func == (a: AppProblem, b: AppProblem) -> Bool {
        String(reflecting: a.error) == String(reflecting: b.error)
    }
}

/// What the app's screens show.
public struct AppState: Equatable, Sendable {
    public enum Phase: Equatable, Sendable {
        case starting
        /// There is no usable bundle.
        case noBundle
        case needsPhotos
        case ready
        case failed(AppProblem)
    }

    /// Why there are no results.
    public enum EmptyReason: Equatable, Sendable { case nothingAsked, nothingIndexed, noResults }

    public internal(set) var phase: Phase = .starting
    public internal(set) var entries: [BundleList.Entry] = []
    public internal(set) var bundle: ModelBundle?
    public internal(set) var progress: IndexingProgress?
    public internal(set) var indexingProblem: AppProblem?
    public internal(set) var hits: [FlatIndex.Hit] = []
    /// The request that `hits` belong to; nil before the first answer.
    public internal(set) var answered: SearchRequest?
    public internal(set) var searchProblem: AppProblem?
    public internal(set) var hasTextness = false
    /// Whether the app may access only the photos that the user selected.
    public internal(set) var isLimited = false
    public internal(set) var request: SearchRequest = .words("")
    public internal(set) var textnessScale: Float = 0
    public internal(set) var isPaused = false
    public internal(set) var allowsDownload = false

    public init() {}

    /// nil while there are results, and while an answer is awaited.
    public var emptyReason: EmptyReason? {
        guard hits.isEmpty, searchProblem == nil else { return nil }
        if case .words(let words) = request, words.allSatisfy(\.isWhitespace) { return .nothingAsked }
        guard answered == request else { return nil }
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
    public var allowsDownload = false

    public init() {}
}
