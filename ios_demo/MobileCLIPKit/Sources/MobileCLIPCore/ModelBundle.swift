import Foundation

/// An opened bundle: a folder made by `mckit bundle`.
public struct ModelBundle: Equatable, Sendable, Identifiable {
    /// How thoroughly a bundle is checked.
    public enum Check: Sendable {
        /// All files exist and have the right sizes.
        case sizes
        /// All files have the hashes in the manifest.
        case hashes
    }

    /// The folder.
    public let url: URL
    /// What the folder contains.
    public let manifest: Manifest

    /// The path of the folder.
    public var id: String { url.path }
    /// The description of the model.
    public var model: ModelSpec { manifest.model }

    /// Opens a bundle and checks its files.
    public init(contentsOf url: URL, check: Check = .sizes) throws(ManifestError) {
        let place = url.appendingPathComponent(BundlePart.manifestName)
        guard FileManager.default.fileExists(atPath: place.path) else { throw .missing(path: place.path) }
        guard let data = try? Data(contentsOf: place) else { throw .unreadable(name: BundlePart.manifestName) }
        self.url = url
        manifest = try Manifest(data: data)
        for part in BundlePart.allCases {
            if let file = manifest.files[part] {
                try self.check(file, check)
            } else if part.isRequired {
                throw .partMissing(part)
            }
        }
    }

    /// URL of a part's file; nil if the bundle does not have the part.
    public func url(of part: BundlePart) -> URL? {
        manifest.files[part].map { url.appendingPathComponent($0.file) }
    }

    /// URL of a part's file.
    public func requiredURL(of part: BundlePart) throws(ManifestError) -> URL {
        guard let url = url(of: part) else { throw .partMissing(part) }
        return url
    }

    /// The textness vector, of length 1; nil if the bundle has none.
    public func textness() throws(ManifestError) -> [Float]? {
        struct Textness: Decodable {
            var model_hash: String
            var vector: [Float]
        }
        guard let url = url(of: .textness) else { return nil }
        guard let data = try? Data(contentsOf: url), let textness = try? JSONDecoder().decode(Textness.self, from: data),
            textness.vector.count == model.embeddingDim
        else { throw .unreadable(name: url.lastPathComponent) }
        guard textness.model_hash == model.modelHash else { throw .otherModel(.textness) }
        return textness.vector
    }

    // MARK: Checking

    private func check(_ file: Manifest.File, _ check: Check) throws(ManifestError) {
        guard !file.file.isEmpty, file.file != "..", file.file != ".", !file.file.contains("/") else {
            throw .outsideBundle(name: file.file)
        }
        let place = url.appendingPathComponent(file.file)
        guard FileManager.default.fileExists(atPath: place.path) else { throw .fileMissing(name: file.file) }
        let parts = try Self.files(of: place)
        let size = parts.reduce(0) { $0 + $1.size }
        guard size == file.sizeBytes else { throw .wrongSize(name: file.file, found: size, expected: file.sizeBytes) }
        if check == .hashes {
            guard let hash = try? Self.hash(place, parts) else { throw .unreadable(name: file.file) }
            guard hash == file.sha256 else { throw .altered(name: file.file) }
        }
    }

    private struct Part {
        /// Path components within the package; empty for a file that is not a package.
        var path: [String]
        var size: Int
    }

    /// A file, or all files of a package, sorted by their path components.
    private static func files(of url: URL) throws(ManifestError) -> [Part] {
        do {
            let attributes = try FileManager.default.attributesOfItem(atPath: url.path)
            guard attributes[.type] as? FileAttributeType == .typeDirectory else {
                return [Part(path: [], size: attributes[.size] as? Int ?? 0)]
            }
            var parts: [Part] = []
            for path in try FileManager.default.subpathsOfDirectory(atPath: url.path) {
                let attributes = try FileManager.default.attributesOfItem(atPath: url.appendingPathComponent(path).path)
                guard attributes[.type] as? FileAttributeType == .typeRegular else { continue }
                parts.append(Part(path: path.split(separator: "/").map(String.init), size: attributes[.size] as? Int ?? 0))
            }
            return parts.sorted { $0.path.lexicographicallyPrecedes($1.path) { $0.utf8.lexicographicallyPrecedes($1.utf8) } }
        } catch {
            throw .unreadable(name: url.lastPathComponent)
        }
    }

    private static func hash(_ url: URL, _ parts: [Part]) throws -> String {
        if parts.count == 1, parts[0].path.isEmpty { return try FileDigest.hex(ofFile: url) }
        var lines = ""
        for part in parts {
            let path = part.path.joined(separator: "/")
            lines += "\(path) \(try FileDigest.hex(ofFile: url.appendingPathComponent(path)))\n"
        }
        return FileDigest.hex(of: Data(lines.utf8))
    }
}
