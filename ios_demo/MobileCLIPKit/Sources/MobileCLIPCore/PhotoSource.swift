import Foundation

/// A photo's image for the model.
public struct FetchedImage<Image: Sendable>: Sendable {
    /// The image.
    public var image: Image
    /// Whether it was made from a thumbnail, because the original is in iCloud.
    public var isProvisional: Bool

    /// An image for the model.
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
    /// Keys of photos that were deleted or that the app may no longer access.
    public var removed: [String]

    /// Changes up to a state.
    public init(token: Data, changed: [LibraryPhoto], removed: [String]) {
        self.token = token
        self.changed = changed
        self.removed = removed
    }
}

/// A source of photos: the phone's library, or a test's replacement.
public protocol PhotoSource<Image>: Sendable {
    /// A decoded image.
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
    /// A decoded image.
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
    /// Heat of the phone.
    public var thermalState: IndexingPace.ThermalState
    /// Whether the phone is in Low Power Mode.
    public var isLowPower: Bool
    /// Whether the app is visible.
    public var isInForeground: Bool
    /// Whether photos may be downloaded from iCloud.
    public var allowsDownload: Bool
    /// Whether the user has paused indexing.
    public var isPaused: Bool

    /// The conditions of a moment.
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
    /// What the indexer does.
    public enum State: Equatable, Sendable {
        /// The library is being compared with the index; `remaining` is not known yet.
        case preparing
        case working, paused, waitingForCooling, done
    }

    /// What the indexer does.
    public var state: State
    /// Number of photos in the index.
    public var indexed: Int
    /// Number of photos still to be indexed.
    public var remaining = 0
    /// Number of photos in the index whose vectors were made from thumbnails.
    public var provisional = 0
    /// Number of photos that cannot be indexed, by reason.
    public var failures: [FailureLog.Reason: Int] = [:]
    /// Of the last batch.
    public var photosPerSecond = 0.0
    /// Why the bundle's ready-made index was not used. Its photos are indexed like all others.
    public var readyIndexProblem: FlatIndexError?

    /// Some progress, of which most is not known at first.
    public init(
        state: State, indexed: Int, remaining: Int = 0, provisional: Int = 0, failures: [FailureLog.Reason: Int] = [:],
        readyIndexProblem: FlatIndexError? = nil
    ) {
        (self.state, self.indexed, self.remaining) = (state, indexed, remaining)
        (self.provisional, self.failures, self.readyIndexProblem) = (provisional, failures, readyIndexProblem)
    }

    /// Share of the photos that are done, 0…1.
    public var fraction: Double {
        indexed + remaining == 0 ? 1 : Double(indexed) / Double(indexed + remaining)
    }
}
