import Foundation

/// A source of photos: the phone's library, or a test's replacement.
public protocol PhotoSource: Sendable {
    associatedtype Image: Sendable

    /// All photos that the app may access, in the order in which to index them.
    func photos() async -> [LibraryPhoto]

    /// A photo's pixels, at least `side` on the shorter side if it has that many; or why there are none.
    ///
    /// - Parameter allowsDownload: Whether a photo that is not on the phone may be downloaded.
    func image(of key: String, side: Int, allowsDownload: Bool) async -> Result<Image, FailureLog.Reason>

    /// Original file names of photos; photos without a known name are omitted.
    func fileNames(of keys: [String]) async -> [String: String]
}

/// Computes vectors of images: a bundle's image tower, or a test's replacement.
public protocol ImageEncoding: Sendable {
    associatedtype Image: Sendable

    /// Unit vectors; nil for an image without one.
    func vectors(of images: [Image]) async throws -> [[Float]?]
}

/// Computes vectors of words: a bundle's text tower, or a test's replacement.
public protocol QueryEncoder: Sendable {
    /// The unit vector of a text.
    func encode(_ text: String) async throws -> [Float]
}

/// The phone's present conditions for indexing.
public struct IndexingConditions: Equatable, Sendable {
    public var thermalState: IndexingPace.ThermalState
    public var isLowPower: Bool
    public var isInForeground: Bool
    public var allowsDownload: Bool

    public init(thermalState: IndexingPace.ThermalState, isLowPower: Bool, isInForeground: Bool, allowsDownload: Bool) {
        self.thermalState = thermalState
        self.isLowPower = isLowPower
        self.isInForeground = isInForeground
        self.allowsDownload = allowsDownload
    }

    /// The defaults if the conditions are unknown: those of a phone in Low Power Mode and in the background.
    public static let careful = IndexingConditions(
        thermalState: .nominal, isLowPower: true, isInForeground: false, allowsDownload: false)
}

/// The progress of indexing.
public struct IndexingProgress: Equatable, Sendable {
    public enum State: Equatable, Sendable { case working, paused, waitingForCooling, done }

    public var state: State
    /// Number of photos in the index.
    public var indexed: Int
    /// Number of photos still to be indexed.
    public var remaining: Int
    /// Number of photos that cannot be indexed, by reason.
    public var failures: [FailureLog.Reason: Int]
    public var photosPerSecond: Double

    /// Share of the photos that are done, 0…1.
    public var fraction: Double {
        indexed + remaining == 0 ? 1 : Double(indexed) / Double(indexed + remaining)
    }
}
