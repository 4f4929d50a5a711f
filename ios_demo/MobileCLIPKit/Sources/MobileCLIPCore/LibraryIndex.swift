import Foundation

/// The files of one model's index of the photo library, and how to open them.
public struct LibraryIndex: Sendable {
    /// The index file.
    public let indexURL: URL
    /// Photos without a vector, see `FailureLog`.
    public let failuresURL: URL
    /// How far the index follows the library.
    public let stateURL: URL
    /// How the background texts score on the library.
    public let backgroundURL: URL
    /// The header of the index file.
    public let header: FlatIndexHeader

    /// - Parameters:
    ///   - folder: The folder of the app's indexes.
    ///   - model: The model of the vectors; each model has its own files.
    public init?(folder: URL, model: ModelSpec, numbers: FlatIndexHeader.Numbers = .int8) {
        guard let header = FlatIndexHeader(dim: model.embeddingDim, numbers: numbers, modelHash: model.modelHash) else { return nil }
        self.header = header
        let name = String(model.modelHash.prefix(16))
        indexURL = folder.appendingPathComponent("\(name).mckitidx")
        failuresURL = folder.appendingPathComponent("\(name).failures.json")
        stateURL = folder.appendingPathComponent("\(name).state.json")
        backgroundURL = folder.appendingPathComponent("\(name).background.json")
    }

    /// Opens the index for reading; makes an empty one if there is none.
    public func open() throws(FlatIndexError) -> FlatIndex {
        try createIfMissing()
        return try FlatIndex(contentsOf: indexURL, modelHash: header.modelHash)
    }

    /// Opens the index for writing; makes an empty one if there is none.
    public func openWriter() throws(FlatIndexError) -> FlatIndexWriter {
        try createIfMissing()
        return try FlatIndexWriter(opening: indexURL, modelHash: header.modelHash)
    }

    /// Moves a damaged index aside, without deleting it, so that a new one can be built.
    public func setAside() throws {
        let aside = indexURL.appendingPathExtension("damaged")
        try? FileManager.default.removeItem(at: aside)
        try FileManager.default.moveItem(at: indexURL, to: aside)
        for url in [failuresURL, stateURL, backgroundURL] { try? FileManager.default.removeItem(at: url) }
    }

    /// Rewrites the index if more than a third of its rows are removed. There must be no open writer.
    public func compactIfWorthwhile() throws(FlatIndexError) {
        let index = try open()
        guard index.rows > 1000, 3 * (index.rows - index.count) > index.rows else { return }
        try FlatIndexWriter.compact(indexURL, modelHash: header.modelHash)
    }

    private func createIfMissing() throws(FlatIndexError) {
        guard !FileManager.default.fileExists(atPath: indexURL.path) else { return }
        let folder = indexURL.deletingLastPathComponent()
        do {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            #if canImport(Darwin)
                // The keys are local identifiers, which do not survive a restore.
                var values = URLResourceValues()
                values.isExcludedFromBackup = true
                var excluded = folder
                try excluded.setResourceValues(values)
            #endif
        } catch {
            throw .unreadable(path: folder.path)
        }
        try FlatIndexWriter.create(at: indexURL, header: header)
    }
}

/// How far an index follows the library: written when a pass has completed.
struct LibraryState: Codable, Equatable {
    /// The library's state that the index reflects.
    var token: Data
    /// Number of items in the index then; with another number, the index has changed since.
    var items: Int

    /// nil if there is none or it cannot be read: the whole library is then compared.
    init?(contentsOf url: URL) {
        guard let data = try? Data(contentsOf: url), let state = try? JSONDecoder().decode(Self.self, from: data) else { return nil }
        self = state
    }

    init(token: Data, items: Int) {
        self.token = token
        self.items = items
    }

    func write(to url: URL) throws {
        try JSONEncoder().encode(self).write(to: url, options: .atomic)
    }
}
