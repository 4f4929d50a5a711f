import Foundation
import MobileCLIPCore

/// The texts and queries that a Python test passes.
struct BundleQueries: Decodable {
    struct Query: Decodable {
        var vector: [Float]
        var textness: Float
    }

    var texts = ["a photo of a dog"]
    var queries: [Query] = []
    var limit = 10
}

/// What the app reads from a bundle.
struct BundleDescription: Encodable {
    struct Hit: Encodable {
        var item: String
        var score: Float
    }

    var name: String
    var parts: [String]
    var items: [String]
    var tokens: [[Int32]]
    var hits: [[Hit]]
    /// Number of hits before the uncertain ones; nil if the bundle has no background texts.
    var certain: [Int?]
    var textness_dim: Int
}

func describeBundle(_ url: URL, _ queries: BundleQueries) throws -> BundleDescription {
    let bundle = try ModelBundle(contentsOf: url, check: .hashes)
    guard let text = bundle.model.text else { throw ManifestError.partMissing(.text) }
    let tokenizer = try CLIPTokenizer(merges: bundle.requiredURL(of: .merges), spec: text)
    let index = try bundle.url(of: .index).map { try FlatIndex(contentsOf: $0, modelHash: bundle.model.modelHash) }
    try index?.verify()
    let textness = try bundle.textness()
    let scorer = try bundle.background().map(ConfidenceScorer.init)
    var certain: [Int?] = []
    let hits = try queries.queries.map { query in
        var vector = try QueryVector(query.vector)
        if let textness { vector = try vector.adding(textness: textness, scale: query.textness) }
        let found = try index?.search(vector.vector, limit: queries.limit) ?? []
        certain.append(scorer?.certainHits(of: vector.vector, found.compactMap { index?.vector(ofRow: $0.row) }))
        return found.map { BundleDescription.Hit(item: $0.key, score: $0.score) }
    }
    return BundleDescription(
        name: bundle.model.name,
        parts: bundle.manifest.files.keys.map(\.rawValue).sorted(),
        items: try index?.items().map(\.key) ?? [],
        tokens: queries.texts.map { tokenizer($0) },
        hits: hits,
        certain: certain,
        textness_dim: textness?.count ?? 0)
}

/// Writes three items of four dimensions, replaces one and removes one.
func writeSampleIndex(_ url: URL) throws {
    let modelHash = FileDigest.hex(of: Data("golden".utf8))
    guard let header = FlatIndexHeader(dim: 4, numbers: .float16, modelHash: modelHash) else { return }
    try FlatIndexWriter.create(at: url, header: header)
    var writer = try FlatIndexWriter(opening: url, modelHash: modelHash)
    try writer.append(["first", "second", "third"].map { FlatIndexItem(key: $0, stamp: 1, vector: [0, 0.6, 0.8, 0]) })
    try writer.append([FlatIndexItem(key: "second", stamp: 2, vector: [1, 0, 0, 0])])
    try writer.remove(["first"])
}

/// The result of `growIndex`.
struct GrownIndex: Encodable {
    var rows: Int
    var items: Int
    var row_of_last: Int?
    var best: String?
}

/// Adds items named `new 0`, `new 1`, … with the unit vector of the first axis, and searches for it.
func growIndex(_ url: URL, by count: Int) throws -> GrownIndex {
    let header = try FlatIndex(contentsOf: url).header
    let axis = (0..<header.dim).map { Float($0 == 0 ? 1 : 0) }
    do {
        var writer = try FlatIndexWriter(opening: url, modelHash: header.modelHash)
        try writer.append((0..<count).map { FlatIndexItem(key: "new \($0)", vector: axis) })
    }
    let index = try FlatIndex(contentsOf: url, modelHash: header.modelHash)
    return GrownIndex(
        rows: index.rows, items: index.count, row_of_last: try index.row(ofKey: "new \(count - 1)"),
        best: try index.search(axis, limit: 1).first?.key)
}
