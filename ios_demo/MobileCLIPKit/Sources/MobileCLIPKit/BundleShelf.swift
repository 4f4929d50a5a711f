import Foundation
import MobileCLIPCore

/// The bundles that the app can choose from: those built into it and those dropped into its documents.
public struct BundleShelf: Sendable {
    /// A folder that looks like a bundle, and what came of opening it.
    public struct Entry: Identifiable, Sendable {
        public var url: URL
        public var result: Result<ModelBundle, ManifestError>

        public var id: String { url.path }
    }

    private let folders: [URL]

    public init(folders: [URL]) {
        self.folders = folders
    }

    /// All bundles by their folders' names; broken ones are listed, too, so that the app can say what is wrong with them.
    public func entries() -> [Entry] {
        folders.flatMap { folder in
            let children = (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
            return children.sorted { $0.lastPathComponent < $1.lastPathComponent }.filter(Self.looksLikeBundle).map { url in
                Entry(url: url, result: Result { () throws(ManifestError) in try ModelBundle(contentsOf: url) })
            }
        }
    }

    private static func looksLikeBundle(_ url: URL) -> Bool {
        FileManager.default.fileExists(atPath: url.appendingPathComponent(BundlePart.manifestName).path)
    }
}
