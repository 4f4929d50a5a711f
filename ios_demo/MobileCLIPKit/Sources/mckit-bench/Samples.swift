import Foundation
import MobileCLIPCore

/// What the app would learn from a bundle.
struct BundleDescription: Encodable {
    var name: String
    var parts: [String]
    var items: [String]
    var tokens: [Int32]
    var textness_dim: Int
}

func describeBundle(_ url: URL) throws -> BundleDescription {
    let bundle = try ModelBundle(contentsOf: url, check: .hashes)
    guard let text = bundle.model.text else { throw ManifestError.partMissing(.text) }
    let tokenizer = try Tokenizer(merges: bundle.requiredURL(of: .merges), spec: text)
    let index = try bundle.url(of: .index).map { try FlatIndex(contentsOf: $0, modelHash: bundle.model.modelHash) }
    return BundleDescription(
        name: bundle.model.name,
        parts: bundle.manifest.files.keys.map(\.rawValue).sorted(),
        items: try index?.items().map(\.key) ?? [],
        tokens: tokenizer("a photo of a dog"),
        textness_dim: try bundle.textness()?.count ?? 0)
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
