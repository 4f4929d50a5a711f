import Foundation
import MobileCLIPCore

/// What a test of the other language wants to know of a bundle.
struct Questions: Decodable {
    struct Query: Decodable {
        var vector: [Float]
        var textness: Float
    }

    var texts = ["a photo of a dog"]
    var queries: [Query] = []
    var limit = 10
}

/// What the app would learn from a bundle.
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
    var textness_dim: Int
}

func describeBundle(_ url: URL, _ questions: Questions) throws -> BundleDescription {
    let bundle = try ModelBundle(contentsOf: url, check: .hashes)
    guard let text = bundle.model.text else { throw ManifestError.partMissing(.text) }
    let tokenizer = try Tokenizer(merges: bundle.requiredURL(of: .merges), spec: text)
    let index = try bundle.url(of: .index).map { try FlatIndex(contentsOf: $0, modelHash: bundle.model.modelHash) }
    try index?.verify()
    let textness = try bundle.textness()
    let hits = try questions.queries.map { query in
        var vector = try Query(query.vector)
        if let textness { vector = try vector.adding(textness: textness, scale: query.textness) }
        let found = try index?.search(vector.vector, limit: questions.limit) ?? []
        return found.map { BundleDescription.Hit(item: $0.key, score: $0.score) }
    }
    return BundleDescription(
        name: bundle.model.name,
        parts: bundle.manifest.files.keys.map(\.rawValue).sorted(),
        items: try index?.items().map(\.key) ?? [],
        tokens: questions.texts.map { tokenizer($0) },
        hits: hits,
        textness_dim: textness?.count ?? 0)
}

/// Three items of four dimensions, one of them replaced and one removed.
func writeSampleIndex(_ url: URL) throws {
    let modelHash = SHA256.hex(of: Data("golden".utf8))
    guard let header = FlatIndexHeader(dim: 4, numbers: .float16, modelHash: modelHash) else { return }
    try FlatIndexWriter.create(at: url, header: header)
    var writer = try FlatIndexWriter(opening: url, modelHash: modelHash)
    try writer.append(["first", "second", "third"].map { FlatIndexItem(key: $0, stamp: 1, vector: [0, 0.6, 0.8, 0]) })
    try writer.append([FlatIndexItem(key: "second", stamp: 2, vector: [1, 0, 0, 0])])
    try writer.remove(["first"])
}

/// What became of an index of any size to which one batch was added.
struct GrownIndex: Encodable {
    var rows: Int
    var items: Int
    var row_of_last: Int?
    var best: String?
}

/// Adds items called `new 0`, `new 1`, … that all look along the first axis, and asks for the best photo in that direction.
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
