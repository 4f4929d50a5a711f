import Foundation

/// A photo in the library.
public struct LibraryPhoto: Equatable, Hashable, Sendable {
    /// Its local identifier.
    public var key: String
    /// Its modification time in milliseconds; if it changes, the vector is out of date.
    public var stamp: Int64

    public init(key: String, stamp: Int64) {
        self.key = key
        self.stamp = stamp
    }
}

/// The changes that make an index match the library.
public struct LibraryPlan: Equatable, Sendable {
    /// New and edited photos, in the library's order.
    public var toIndex: [LibraryPhoto]
    /// Keys of photos that were deleted or that the app may no longer access.
    public var toRemove: [String]

    /// Compares a library with an index.
    ///
    /// - Parameter failures: Photos that failed before; those that have not changed since are skipped.
    public init(library: [LibraryPhoto], index: FlatIndex, failures: FailureLog) throws(FlatIndexError) {
        var stamps: [String: Int64] = [:]
        for item in try index.items() { stamps[item.key] = item.stamp }
        toIndex = library.filter { photo in stamps[photo.key] != photo.stamp && !failures.hasFailed(photo) }
        let present = Set(library.map(\.key))
        toRemove = stamps.keys.filter { !present.contains($0) }.sorted()
    }
}
