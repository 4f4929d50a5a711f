import Foundation

/// The folders that the app uses.
enum AppFolders {
    /// Bundles that were in the project when it was built.
    static var builtInBundles: URL? { Bundle.main.url(forResource: "Bundles", withExtension: nil) }
    /// Bundles that were copied to the phone through Finder or Files.
    static var documents: URL { URL.documentsDirectory }
    static var caches: URL { URL.cachesDirectory }
    static var compiledModels: URL { caches.appending(path: "CompiledModels") }
    static var indexes: URL { URL.applicationSupportDirectory.appending(path: "Indexes") }
    /// Originals that are being shared.
    static var shared: URL { URL.temporaryDirectory.appending(path: "Shared") }
}
