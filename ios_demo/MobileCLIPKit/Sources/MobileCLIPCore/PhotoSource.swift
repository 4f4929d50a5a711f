import Foundation

/// A photo's image for the model.
public struct FetchedImage<Image: Sendable>: Sendable {
    public var image: Image
    /// Whether it was made from a thumbnail, because the original is in iCloud.
    public var isProvisional: Bool

    public init(_ image: Image, isProvisional: Bool = false) {
        self.image = image
        self.isProvisional = isProvisional
    }
}

/// What has happened to a library since a token was taken.
public struct LibraryChanges: Sendable {
    /// Stands for the state of the library that includes these changes.
    public var token: Data
    /// New and edited photos that the app may access.
    public var changed: [LibraryPhoto]
    public var removed: [String]

    public init(token: Data, changed: [LibraryPhoto], removed: [String]) {
        self.token = token
        self.changed = changed
        self.removed = removed
    }
}

/// A source of photos: the phone's library, or a test's replacement.
public protocol PhotoSource: Sendable {
    associatedtype Image: Sendable

    /// All photos that the app may access, in the order in which to index them.
    func photos() async -> [LibraryPhoto]

    /// Stands for the present state of the library; nil if the source cannot list changes.
    func changeToken() async -> Data?

    /// Changes since a token was taken; nil if they are unknown, so that the whole library must be compared.
    func changes(since token: Data) async -> LibraryChanges?

    /// A photo as the model's input, or why there is none. Stops early when its task is cancelled; the result is then
    /// ignored.
    ///
    /// - Parameter allowsDownload: Whether a photo that is not on the phone may be downloaded. Otherwise the source may
    ///   give a provisional image.
    func image(
        of key: String, for input: ImageSpec, allowsDownload: Bool
    ) async -> Result<FetchedImage<Image>, FailureLog.Reason>

    /// Original file names of photos; photos without a known name are omitted.
    func fileNames(of keys: [String]) async -> [String: String]
}

/// Computes vectors of images: a bundle's image tower, or a test's replacement.
public protocol ImageEncoding: Sendable {
    associatedtype Image: Sendable

    /// Unit vectors; nil for an image without one. Loads the model if necessary.
    func vectors(of images: [Image]) async throws -> [[Float]?]

    /// Releases the model's memory until vectors are wanted again.
    func unload() async
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
    public var isPaused: Bool

    public init(
        thermalState: IndexingPace.ThermalState, isLowPower: Bool, isInForeground: Bool, allowsDownload: Bool,
        isPaused: Bool = false
    ) {
        self.thermalState = thermalState
        self.isLowPower = isLowPower
        self.isInForeground = isInForeground
        self.allowsDownload = allowsDownload
        self.isPaused = isPaused
    }

    /// The defaults if the conditions are unknown: those of a phone in Low Power Mode and in the background.
    public static let careful = IndexingConditions(
        thermalState: .nominal, isLowPower: true, isInForeground: false, allowsDownload: false)
}

/// The progress of indexing.
public struct IndexingProgress: Equatable, Sendable {
    public enum State: Equatable, Sendable {
        /// The library is being compared with the index; `remaining` is not known yet.
        case preparing
        case working, paused, waitingForCooling, done
    }

    public var state: State
    /// Number of photos in the index.
    public var indexed: Int
    /// Number of photos still to be indexed.
    public var remaining = 0
    /// Number of photos in the index whose vectors were made from thumbnails.
    public var provisional = 0
    /// Number of photos that cannot be indexed, by reason.
    public var failures: [FailureLog.Reason: Int] = [:]
    public var photosPerSecond = 0.0
    /// Why the bundle's ready-made index was not used. Its photos are indexed like all others.
    public var readyIndexProblem: FlatIndexError?

    /// Share of the photos that are done, 0…1.
    public var fraction: Double {
        indexed + remaining == 0 ? 1 : Double(indexed) / Double(indexed + remaining)
    }
}
