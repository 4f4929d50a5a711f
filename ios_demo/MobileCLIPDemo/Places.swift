import Foundation
import MobileCLIPCore

/// The folders that the app uses.
enum Places {
    /// Bundles that were dropped into the project before it was built.
    static var builtInBundles: URL? { Bundle.main.url(forResource: "Bundles", withExtension: nil) }
    /// Bundles that were copied to the phone through Finder or Files.
    static var documents: URL { URL.documentsDirectory }
    static var compiledModels: URL { URL.cachesDirectory.appending(path: "CompiledModels") }
    static var indexes: URL { URL.applicationSupportDirectory.appending(path: "Indexes") }

    /// Takes a bundle's ready index as the beginning of the phone's own, where there is none yet.
    static func adoptReadyIndex(of bundle: ModelBundle, as files: LibraryIndex) throws {
        guard let ready = bundle.url(of: .index), !FileManager.default.fileExists(atPath: files.indexURL.path) else { return }
        try FileManager.default.createDirectory(at: indexes, withIntermediateDirectories: true)
        try FileManager.default.copyItem(at: ready, to: files.indexURL)
    }
}
