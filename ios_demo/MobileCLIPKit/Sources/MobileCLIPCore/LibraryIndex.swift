import Foundation

/// The files that one bundle's index of the photo library consists of, and the way to open them whatever has happened.
public struct LibraryIndex: Sendable {
    public let indexURL: URL
    public let failuresURL: URL
    public let header: FlatIndexHeader

    /// - Parameters:
    ///   - folder: Where the app keeps its indexes.
    ///   - model: Whose vectors they are; each model has files of its own.
    public init?(folder: URL, model: ModelSpec, numbers: FlatIndexHeader.Numbers = .int8) {
        guard let header = FlatIndexHeader(dim: model.embeddingDim, numbers: numbers, modelHash: model.modelHash) else { return nil }
        self.header = header
        let name = String(model.modelHash.prefix(16))
        indexURL = folder.appendingPathComponent("\(name).mckitidx")
        failuresURL = folder.appendingPathComponent("\(name).failures.json")
    }

    /// Opens the index for reading, and makes an empty one where none is.
    public func open() throws(FlatIndexError) -> FlatIndex {
        try createIfMissing()
        return try FlatIndex(contentsOf: indexURL, modelHash: header.modelHash)
    }

    /// Opens the index for writing, and makes an empty one where none is.
    public func openWriter() throws(FlatIndexError) -> FlatIndexWriter {
        try createIfMissing()
        return try FlatIndexWriter(opening: indexURL, modelHash: header.modelHash)
    }

    /// Puts a damaged index aside so that a new one can be built; its bytes are kept.
    public func setAside() throws {
        let aside = indexURL.appendingPathExtension("damaged")
        try? FileManager.default.removeItem(at: aside)
        try FileManager.default.moveItem(at: indexURL, to: aside)
        try? FileManager.default.removeItem(at: failuresURL)
    }

    /// Rewrites the index when more than a third of its rows are removed ones. Not while a writer lives.
    public func compactIfWorthwhile() throws(FlatIndexError) {
        let index = try open()
        guard index.rows > 1000, 3 * (index.rows - index.count) > index.rows else { return }
        try FlatIndexWriter.compact(indexURL, modelHash: header.modelHash)
    }

    private func createIfMissing() throws(FlatIndexError) {
        guard !FileManager.default.fileExists(atPath: indexURL.path) else { return }
        do {
            try FileManager.default.createDirectory(at: indexURL.deletingLastPathComponent(), withIntermediateDirectories: true)
        } catch {
            throw .unreadable(path: indexURL.deletingLastPathComponent().path)
        }
        try FlatIndexWriter.create(at: indexURL, header: header)
    }
}
