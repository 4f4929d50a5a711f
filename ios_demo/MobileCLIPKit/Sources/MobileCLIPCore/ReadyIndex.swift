import Foundation

extension FlatIndex {
    /// What a ready index already knows of a library: its vectors under the photos' own keys.
    ///
    /// A ready index names its items by the paths that the images had where it was made. A photo is taken for such an image
    /// when their file names are equal, whatever the case, and no other photo and no other image has that name; all others
    /// are left to be indexed.
    ///
    /// - Parameter names: What photos were called before they came into the library, by key.
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
