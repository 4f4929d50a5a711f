import Foundation

/// The bundles that the user can choose from: those built into the app and those in its documents folder.
public struct BundleList: Sendable {
    /// A folder that looks like a bundle, and the opened bundle or the error.
    public struct Entry: Identifiable, Equatable, Sendable {
        /// The folder.
        public var url: URL
        /// The bundle, or why it cannot be used.
        public var result: Result<ModelBundle, ManifestError>

        /// The path of the folder.
        public var id: String { url.path }
    }

    private let folders: [URL]

    /// - Parameter folders: Their subfolders are looked through.
    public init(folders: [URL]) {
        self.folders = folders
    }

    /// All bundles, sorted by folder name, including damaged ones, so that the app can show their errors.
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
