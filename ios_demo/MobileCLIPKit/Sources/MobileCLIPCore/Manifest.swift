import Foundation

/// The parts of a bundle and their file names.
public enum BundlePart: String, Codable, CaseIterable, Sendable, CodingKeyRepresentable {
    case image, text, merges, textness, index, background, samples
    case imageAI = "image_ai"
    case textAI = "text_ai"

    /// The manifest's file name.
    public static let manifestName = "manifest.json"

    /// Whether every bundle must have the part.
    public var isRequired: Bool {
        switch self {
        case .image, .text, .merges: true
        case .textness, .index, .background, .samples, .imageAI, .textAI: false
        }
    }

    /// The part's file name in bundles of `mckit bundle`.
    public var fileName: String {
        switch self {
        case .image: "image.mlpackage"
        case .text: "text.mlpackage"
        case .merges: "merges.txt"
        case .textness: "textness.json"
        case .index: "library.mckitidx"
        case .background: "background.safetensors"
        case .samples: "samples.json"
        case .imageAI: "image.aimodel"
        case .textAI: "text.aimodel"
        }
    }
}

/// Errors of a bundle.
public enum ManifestError: Error, Equatable, Sendable {
    case missing(path: String)
    /// Not JSON, or not a manifest; the reason is the decoder's.
    case damaged(reason: String)
    case otherVersion(Int)
    case partMissing(BundlePart)
    case fileMissing(name: String)
    case wrongSize(name: String, found: Int, expected: Int)
    case altered(name: String)
    case unreadable(name: String)
    /// The file name leads out of the bundle.
    case outsideBundle(name: String)
    /// A part belongs to another model than the bundle.
    case otherModel(BundlePart)
}

/// `manifest.json`: the parts of a bundle and the description of its model.
public struct Manifest: Codable, Equatable, Sendable {
    /// The version that this package reads.
    public static let formatVersion = 1
    static let kind = "bundle"

    /// A file, or a package with all its files.
    public struct File: Codable, Equatable, Sendable {
        /// Its name in the bundle's folder.
        public var file: String
        /// Size of all its files.
        public var sizeBytes: Int
        /// 64 hex digits; for a package, the hash of the sorted lines `relative/path sha256` of its files.
        public var sha256: String

        enum CodingKeys: String, CodingKey {
            case file, sha256
            case sizeBytes = "size_bytes"
        }
    }

    /// Always `Manifest.formatVersion`.
    public var formatVersion: Int
    /// The description of the model.
    public var model: ModelSpec
    /// Precision of the Core ML packages.
    public var precision: String
    /// The parts that the bundle has.
    public var files: [BundlePart: File]

    enum CodingKeys: String, CodingKey {
        case model, precision, files
        case formatVersion = "format_version"
    }

    /// Decodes a `manifest.json`.
    public init(data: Data) throws(ManifestError) {
        struct Version: Decodable { var format_version: Int }
        struct Kind: Decodable {
            var kind: String
            var model: Version
        }
        let decoder = JSONDecoder()
        do {
            // The version is decoded first, because another version may have other keys.
            let version = try decoder.decode(Version.self, from: data).format_version
            guard version == Self.formatVersion else { throw ManifestError.otherVersion(version) }
            let kind = try decoder.decode(Kind.self, from: data)
            guard kind.kind == Self.kind else { throw ManifestError.damaged(reason: "kind: \(kind.kind)") }
            guard kind.model.format_version == ModelSpec.formatVersion else {
                throw ManifestError.otherVersion(kind.model.format_version)
            }
            self = try decoder.decode(Manifest.self, from: data)
        } catch let error as ManifestError {
            throw error
        } catch {
            throw .damaged(reason: String(describing: error))
        }
    }

    /// Decodes a manifest; parts that it does not know are ignored.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        formatVersion = try values.decode(Int.self, forKey: .formatVersion)
        model = try values.decode(ModelSpec.self, forKey: .model)
        precision = try values.decode(String.self, forKey: .precision)
        // Parts of newer versions are ignored.
        let named = try values.decode([String: File].self, forKey: .files)
        files = Dictionary(uniqueKeysWithValues: named.compactMap { name, file in BundlePart(rawValue: name).map { ($0, file) } })
    }
}
