import Foundation

/// Where photos come from: the phone's library, or a test's own.
public protocol PhotoSource: Sendable {
    associatedtype Image: Sendable

    /// All photos that the app may see, in the order in which they shall be indexed.
    func photos() async -> [LibraryPhoto]

    /// A photo's pixels, of at least `side` on the shorter side where it has so many; or why there are none.
    ///
    /// - Parameter allowsDownload: Whether a photo that is not on the phone may be fetched.
    func image(of key: String, side: Int, allowsDownload: Bool) async -> Result<Image, FailureLog.Reason>

    /// What photos were called before they came into the library; those of which nobody knows are left out.
    func fileNames(of keys: [String]) async -> [String: String]
}

/// What turns images into vectors: a bundle's image tower, or a test's own.
public protocol ImageEncoding: Sendable {
    associatedtype Image: Sendable

    /// Unit vectors; nil in the place of an image that gave none.
    func vectors(of images: [Image]) async throws -> [[Float]?]
}

/// What turns words into a vector: a bundle's text tower, or a test's own.
public protocol QueryEncoder: Sendable {
    /// The unit vector of a text.
    func encode(_ text: String) async throws -> [Float]
}

/// What the phone says of itself at the moment.
public struct IndexingConditions: Equatable, Sendable {
    public var heat: IndexingPace.Heat
    public var isLowPower: Bool
    public var isInForeground: Bool
    public var allowsDownload: Bool

    public init(heat: IndexingPace.Heat, isLowPower: Bool, isInForeground: Bool, allowsDownload: Bool) {
        self.heat = heat
        self.isLowPower = isLowPower
        self.isInForeground = isInForeground
        self.allowsDownload = allowsDownload
    }

    /// When nobody knows: work as little as on a saving phone out of sight.
    public static let careful = IndexingConditions(
        heat: .nominal, isLowPower: true, isInForeground: false, allowsDownload: false)
}

/// How far the indexing is.
public struct IndexingProgress: Equatable, Sendable {
    public enum State: Equatable, Sendable { case working, paused, waitingForCooling, done }

    public var state: State
    /// Photos that can be found.
    public var indexed: Int
    /// Photos that come yet.
    public var remaining: Int
    /// Photos that cannot be found, and why.
    public var failures: [FailureLog.Reason: Int]
    public var photosPerSecond: Double

    /// Of all photos, how many are settled: 0…1.
    public var fraction: Double {
        indexed + remaining == 0 ? 1 : Double(indexed) / Double(indexed + remaining)
    }
}
