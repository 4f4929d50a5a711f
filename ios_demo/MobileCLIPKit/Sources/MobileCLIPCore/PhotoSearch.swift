import Foundation

/// What the user searches for.
public enum SearchRequest: Equatable, Sendable {
    case words(String)
    /// Photos similar to this one.
    case like(key: String)
}

/// Searches an index with a bundle's text tower.
public actor PhotoSearch<Encoder: QueryEncoder> {
    private let encoder: Encoder
    private let files: LibraryIndex
    private let textness: [Float]?
    private var index: FlatIndex
    private var vectors: [String: [Float]] = [:]

    /// - Parameter textness: The bundle's textness vector; nil if it has none.
    public init(files: LibraryIndex, encoder: Encoder, textness: [Float]?) throws(FlatIndexError) {
        self.files = files
        self.encoder = encoder
        self.textness = textness
        index = try files.open()
    }

    /// Whether the bundle can promote or demote images with written words.
    public nonisolated var hasTextness: Bool { textness != nil }

    /// Reopens the index file after the indexer has written to it.
    public func refresh() throws(FlatIndexError) {
        index = try files.open()
    }

    /// The best hits; none for an empty query.
    ///
    /// - Parameter textnessScale: Positive to promote written words, negative to demote them.
    public func search(_ request: SearchRequest, textnessScale: Float, limit: Int) async throws -> [FlatIndex.Hit] {
        switch request {
        case .words(let text):
            guard var query = try await query(text) else { return [] }
            if let textness, textnessScale != 0 { query = try query.adding(textness: textness, scale: textnessScale) }
            return try index.search(query.vector, limit: limit)
        case .like(let key):
            guard let row = try index.row(ofKey: key) else { return [] }
            return try index.search(Query(index.vector(ofRow: row)).vector, limit: limit, excluding: row)
        }
    }

    private func query(_ text: String) async throws -> Query? {
        var parts: [(vector: [Float], weight: Float)] = []
        for term in QueryTerm.parse(text) { parts.append((try await vector(of: term.text), term.weight)) }
        return parts.isEmpty ? nil : try Query(parts: parts)
    }

    /// While the user types, most parts of a query have been encoded before.
    private func vector(of text: String) async throws -> [Float] {
        if let known = vectors[text] { return known }
        let vector = try await encoder.encode(text)
        if vectors.count >= 256 { vectors.removeAll() }
        vectors[text] = vector
        return vector
    }
}
