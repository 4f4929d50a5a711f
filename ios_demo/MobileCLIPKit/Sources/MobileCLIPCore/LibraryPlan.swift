import Foundation

/// A photo in the library.
public struct LibraryPhoto: Equatable, Hashable, Sendable {
    /// Its local identifier.
    public var key: String
    /// Its modification time in milliseconds, not negative; if it changes, the vector is out of date.
    public var stamp: Int64

    /// A photo with its key and stamp.
    public init(key: String, stamp: Int64) {
        self.key = key
        self.stamp = stamp
    }

    /// The stamp in the index of a vector that was made from a thumbnail: no stamp of the photo itself.
    public var provisionalStamp: Int64 { ~stamp }
}

/// The changes that make an index match the library.
public struct LibraryPlan: Equatable, Sendable {
    /// New and edited photos in the library's order, then those whose provisional vectors can be renewed.
    public var toIndex: [LibraryPhoto] = []
    /// Keys of photos that were deleted or that the app may no longer access.
    public var toRemove: [String] = []

    /// Compares a whole library with an index.
    ///
    /// - Parameters:
    ///   - failures: Photos that failed before; those that have not changed since are skipped.
    ///   - renewsProvisional: Whether originals may be downloaded to replace provisional vectors.
    public init(
        library: [LibraryPhoto], index: FlatIndex, failures: FailureLog, renewsProvisional: Bool
    ) throws(FlatIndexError) {
        var stamps: [String: Int64] = [:]
        stamps.reserveCapacity(index.count)
        for item in try index.items() { stamps[item.key] = item.stamp }
        var toRenew: [LibraryPhoto] = []
        for photo in library {
            let stamp = stamps.removeValue(forKey: photo.key)
            if stamp == photo.stamp || failures.hasFailed(photo) { continue }
            if stamp == photo.provisionalStamp {
                if renewsProvisional { toRenew.append(photo) }
            } else {
                toIndex.append(photo)
            }
        }
        toIndex += toRenew
        toRemove = stamps.keys.sorted()
    }

    /// Compares only what has changed.
    ///
    /// A changed photo with a provisional vector is tried again, because its original may have arrived.
    ///
    /// - Parameters:
    ///   - retried: Photos without a vector that are to be tried again, and photos with a provisional one.
    ///   - stamp: The stamp in the index of the photo with a key.
    public init(
        changes: LibraryChanges, retried: [LibraryPhoto], failures: FailureLog, stamp: (String) -> Int64?
    ) {
        toRemove = changes.removed
        var seen = Set(changes.removed)
        for photo in changes.changed + retried where seen.insert(photo.key).inserted {
            if stamp(photo.key) != photo.stamp, !failures.hasFailed(photo) { toIndex.append(photo) }
        }
    }
}

extension FlatIndex {
    /// The photos whose vectors were made from thumbnails.
    func provisionalPhotos() throws(FlatIndexError) -> [LibraryPhoto] {
        var photos: [LibraryPhoto] = []
        for row in 0..<rows where stamp(ofRow: row) < 0 && !isRemoved(row) {
            photos.append(LibraryPhoto(key: try key(ofRow: row), stamp: ~stamp(ofRow: row)))
        }
        return photos
    }
}
