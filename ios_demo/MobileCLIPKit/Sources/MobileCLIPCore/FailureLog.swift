import Foundation

/// Photos without a vector and the reasons, stored beside the index so that they are not all tried again at each start.
public struct FailureLog: Codable, Equatable, Sendable {
    /// Why a photo has no vector.
    public enum Reason: String, Error, Codable, Sendable, CaseIterable {
        /// Only in iCloud, and the app may not download it now.
        case notDownloaded
        /// The system could not decode it.
        case undecodable
        /// The model gave no usable vector.
        case notEncoded
    }

    /// A photo that failed.
    public struct Entry: Codable, Equatable, Sendable {
        /// The photo's stamp when it failed.
        public var stamp: Int64
        /// Why it failed.
        public var reason: Reason
    }

    /// Failed photos by key.
    public private(set) var entries: [String: Entry] = [:]

    /// An empty log.
    public init() {}

    /// Reads a log. A missing or damaged log is treated as empty, since it only saves time.
    public init(contentsOf url: URL) {
        self = (try? JSONDecoder().decode(FailureLog.self, from: Data(contentsOf: url))) ?? FailureLog()
    }

    /// Writes the log, replacing the file at once.
    public func write(to url: URL) throws {
        try JSONEncoder().encode(self).write(to: url, options: .atomic)
    }

    /// Adds a failure.
    public mutating func record(_ photo: LibraryPhoto, _ reason: Reason) {
        entries[photo.key] = Entry(stamp: photo.stamp, reason: reason)
    }

    /// Removes photos.
    public mutating func forget(_ keys: some Sequence<String>) {
        for key in keys { entries[key] = nil }
    }

    /// Removes photos that are no longer in the library.
    public mutating func forgetAll(but photos: [LibraryPhoto]) {
        guard !entries.isEmpty else { return }
        let present = Set(photos.map(\.key))
        entries = entries.filter { present.contains($0.key) }
    }

    /// Removes failures that may not happen again, for example when downloads have become possible, and returns their
    /// photos.
    @discardableResult
    public mutating func retry(_ reason: Reason) -> [LibraryPhoto] {
        let retried = entries.filter { $0.value.reason == reason }
        forget(retried.keys)
        return retried.map { LibraryPhoto(key: $0.key, stamp: $0.value.stamp) }.sorted { $0.key < $1.key }
    }

    /// Whether a photo failed before and has not changed since.
    public func hasFailed(_ photo: LibraryPhoto) -> Bool {
        entries[photo.key]?.stamp == photo.stamp
    }

    /// Number of failed photos by reason.
    public var counts: [Reason: Int] {
        entries.values.reduce(into: [:]) { $0[$1.reason, default: 0] += 1 }
    }
}
