import Foundation

extension FlatIndex {
    /// The items of a library that this ready-made index has, with the photos' keys.
    ///
    /// A ready-made index names its items by the images' paths on the computer where it was made. A photo matches an image
    /// if their file names are equal, ignoring case, and no other photo or image has that name. All other photos remain to be
    /// indexed.
    ///
    /// - Parameter names: Original file names of the photos, by key.
    func items(for photos: [LibraryPhoto], named names: [String: String]) throws(FlatIndexError) -> [FlatIndexItem] {
        var rows: [String: Int?] = [:]
        for item in try items() {
            let name = Self.lastPart(item.key)
            rows[name] = rows.keys.contains(name) ? .some(nil) : item.row
        }
        var owners: [String: Int] = [:]
        for photo in photos { if let name = names[photo.key] { owners[Self.lastPart(name), default: 0] += 1 } }
        return photos.compactMap { photo in
            guard let name = names[photo.key].map(Self.lastPart), owners[name] == 1, let row = rows[name] ?? nil else { return nil }
            return FlatIndexItem(key: photo.key, stamp: photo.stamp, vector: vector(ofRow: row))
        }
    }

    private static func lastPart(_ path: String) -> String {
        (path.split(separator: "/").last.map(String.init) ?? path).lowercased()
    }
}
