import Foundation

/// A photo as the library lists it.
public struct LibraryPhoto: Equatable, Hashable, Sendable {
    /// Its local identifier.
    public var key: String
    /// Its modification time in milliseconds: another one means that its vector is out of date.
    public var stamp: Int64

    public init(key: String, stamp: Int64) {
        self.key = key
        self.stamp = stamp
    }
}

/// What has to be done so that the index says what the library holds.
public struct LibraryPlan: Equatable, Sendable {
    /// New and edited photos, in the library's order.
    public var toIndex: [LibraryPhoto]
    /// Keys of photos that are gone or that the app may no longer see.
    public var toRemove: [String]

    /// Compares a library with an index.
    ///
    /// - Parameter failures: Photos that could not be used before; those that have not changed since are left alone.
    public init(library: [LibraryPhoto], index: FlatIndex, failures: FailureLog) throws(FlatIndexError) {
        var stamps: [String: Int64] = [:]
        for item in try index.items() { stamps[item.key] = item.stamp }
        toIndex = library.filter { photo in stamps[photo.key] != photo.stamp && !failures.excuses(photo) }
        let present = Set(library.map(\.key))
        toRemove = stamps.keys.filter { !present.contains($0) }.sorted()
    }
}
