import Foundation

/// What the user searches for.
public enum SearchRequest: Equatable, Sendable {
    case words(String)
    /// Photos similar to this one.
    case like(key: String)
}

/// The hits of a search.
public struct SearchAnswer: Equatable, Sendable {
    /// Best first.
    public var hits: [FlatIndex.Hit] = []
    /// Number of hits before the uncertain ones; nil if this is not known.
    public var certain: Int?
}

/// Searches an index with a bundle's text tower.
public actor PhotoSearch<Encoder: QueryEncoder> {
    private let encoder: Encoder
    private let files: LibraryIndex
    private let textness: [Float]?
    private var index: FlatIndex
    private var scorer: ConfidenceScorer?
    private var vectors: [String: [Float]] = [:]

    /// - Parameters:
    ///   - textness: The bundle's textness vector; nil if it has none.
    ///   - background: See `use`.
    public init(
        files: LibraryIndex, encoder: Encoder, textness: [Float]?, background: TextBackground? = nil
    ) throws(FlatIndexError) {
        self.files = files
        self.encoder = encoder
        self.textness = textness
        scorer = background.map(ConfidenceScorer.init)
        index = try files.open()
    }

    /// Whether the bundle can promote or demote images with written words.
    public nonisolated var hasTextness: Bool { textness != nil }

    /// Reopens the index file after the indexer has written to it.
    public func refresh() throws(FlatIndexError) {
        index = try files.open()
    }

    /// Tells certain hits of words from uncertain ones from now on.
    ///
    /// - Parameter background: Measured on this index; nil if it is not known how sure a hit is.
    public func use(_ background: TextBackground?) { scorer = background.map(ConfidenceScorer.init) }

    /// The best hits; none for an empty query.
    ///
    /// - Parameter textnessScale: Positive to promote written words, negative to demote them.
    public func search(_ request: SearchRequest, textnessScale: Float, limit: Int) async throws -> SearchAnswer {
        switch request {
        case .words(let text):
            let parts = try await parts(text)
            guard !parts.isEmpty else { return SearchAnswer() }
            var query = try QueryVector(parts: parts)
            if let textness, textnessScale != 0 { query = try query.adding(textness: textness, scale: textnessScale) }
            let hits = try index.search(query.vector, limit: limit)
            return SearchAnswer(hits: hits, certain: try certain(of: parts, hits))
        case .like(let key):
            guard let row = try index.row(ofKey: key) else { return SearchAnswer() }
            let query = try QueryVector(index.vector(ofRow: row)).vector
            return SearchAnswer(hits: try index.search(query, limit: limit, excluding: row))
        }
    }

    /// Hits are judged by the words to find alone: without words, and with textness, no text lies near to a query.
    private func certain(of parts: [(vector: [Float], weight: Float)], _ hits: [FlatIndex.Hit]) throws -> Int? {
        let wanted = parts.filter { $0.weight > 0 }
        guard let scorer, !wanted.isEmpty else { return nil }
        let vectors = hits.prefix(ConfidenceScorer.mostHits).map { index.vector(ofRow: $0.row) }
        return scorer.certainHits(of: try QueryVector(parts: wanted).vector, vectors)
    }

    private func parts(_ text: String) async throws -> [(vector: [Float], weight: Float)] {
        var parts: [(vector: [Float], weight: Float)] = []
        for term in QueryTerm.parse(text) { parts.append((try await vector(of: term.text), term.weight)) }
        return parts
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
