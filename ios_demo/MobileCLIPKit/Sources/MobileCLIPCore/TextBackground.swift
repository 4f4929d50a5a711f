import Foundation

/// Background texts, with which a hit is compared, and how they score on the images of one library.
///
/// `mobileclip_kit/confidence/background.py` writes the file; `docs/index-format.md` describes it.
public struct TextBackground: Equatable, Sendable {
    /// How the texts score on the images of a library.
    struct Statistics: Equatable, Sendable {
        /// The images that were measured.
        var images: Int
        /// Rows of their index then, with removed ones.
        var rows: Int
        /// Greatest score of each text on any image.
        var best: [Float]
        /// Mean of each text's scores.
        var mean: [Float]
        /// Standard deviation of each text's scores.
        var deviation: [Float]
        /// Mean of the image vectors.
        var imageMean: [Float]
        /// Covariance of the image vectors, row by row.
        var imageCovariance: [Float]
    }

    /// Identity of the model that gave the vectors.
    public let modelHash: String
    /// Identity of the texts.
    public let bank: String
    /// Dimensions of a vector.
    public let dim: Int
    /// Unit vectors of the texts, one after the other.
    let texts: [Float]
    /// The library that the file was made for, or the one that was measured since.
    var statistics: Statistics

    /// Number of texts.
    public var count: Int { texts.count / dim }

    /// Reads a file; nil if it is damaged or of another version.
    public init?(contentsOf url: URL) {
        guard let data = try? Data(contentsOf: url), let file = SafetensorsFile(data), file.metadata["kind"] == "background",
            file.metadata["format_version"] == "1", file.metadata["sha256"] == FileDigest.hex(of: file.content),
            let modelHash = file.metadata["model_hash"], let bank = file.metadata["bank"],
            let images = file.metadata["images"].flatMap({ Int($0) }), let rows = file.metadata["rows"].flatMap({ Int($0) }),
            let shape = file.shape(of: "texts"), shape.count == 2, shape[0] > 0, shape[1] > 0,
            let texts = file.numbers(of: "texts", shape: shape),
            let best = file.numbers(of: "best", shape: [shape[0]]), let mean = file.numbers(of: "mean", shape: [shape[0]]),
            let deviation = file.numbers(of: "deviation", shape: [shape[0]]),
            let imageMean = file.numbers(of: "image_mean", shape: [shape[1]]),
            let imageCovariance = file.numbers(of: "image_covariance", shape: [shape[1], shape[1]])
        else { return nil }
        (self.modelHash, self.bank, self.texts, dim) = (modelHash, bank, texts, shape[1])
        statistics = Statistics(
            images: images, rows: rows, best: best, mean: mean, deviation: deviation, imageMean: imageMean,
            imageCovariance: imageCovariance)
    }
}

extension ModelBundle {
    /// The background texts of the bundle; nil if it has none.
    public func background() throws(ManifestError) -> TextBackground? {
        guard let url = url(of: .background) else { return nil }
        guard let background = TextBackground(contentsOf: url), background.dim == model.embeddingDim else {
            throw .unreadable(name: url.lastPathComponent)
        }
        guard background.modelHash == model.modelHash else { throw .otherModel(.background) }
        return background
    }
}

/// Arrays in the format of safetensors: the length of the header, a JSON header, and the numbers.
struct SafetensorsFile {
    private struct Entry: Decodable {
        var dtype: String
        var shape: [Int]
        var data_offsets: [Int]
    }

    private struct Header: Decodable {
        var metadata: [String: String]
        var entries: [String: Entry] = [:]

        struct Name: CodingKey {
            var stringValue: String
            var intValue: Int? { nil }
            init(stringValue: String) { self.stringValue = stringValue }
            init?(intValue: Int) { nil }
        }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: Name.self)
            metadata = try values.decode([String: String].self, forKey: Name(stringValue: "__metadata__"))
            for name in values.allKeys where name.stringValue != "__metadata__" {
                entries[name.stringValue] = try values.decode(Entry.self, forKey: name)
            }
        }
    }

    private static let longestHeader = 1 << 20

    let metadata: [String: String]
    /// All bytes after the header.
    let content: Data
    private let entries: [String: Entry]

    /// nil if the header is damaged.
    init?(_ data: Data) {
        guard data.count >= 8 else { return nil }
        let length = data.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
        guard length <= UInt64(min(data.count - 8, Self.longestHeader)) else { return nil }
        let start = data.startIndex + 8
        guard let header = try? JSONDecoder().decode(Header.self, from: data[start..<start + Int(length)]) else { return nil }
        (metadata, entries) = (header.metadata, header.entries)
        content = Data(data[(start + Int(length))...])
    }

    /// The dimensions of an array; nil if there is none.
    func shape(of name: String) -> [Int]? { entries[name]?.shape }

    /// The numbers of an array; nil if it is absent, of another shape or type, or has numbers that are not finite.
    func numbers(of name: String, shape: [Int]) -> [Float]? {
        guard let entry = entries[name], entry.shape == shape, entry.data_offsets.count == 2,
            let bytes = ["F16": 2, "F32": 4][entry.dtype]
        else { return nil }
        let size = shape.reduce((partialValue: bytes, overflow: false)) { size, side in
            let next = size.partialValue.multipliedReportingOverflow(by: side)
            return (next.partialValue, size.overflow || next.overflow || side < 0)
        }
        let (first, last) = (entry.data_offsets[0], entry.data_offsets[1])
        guard !size.overflow, 0 <= first, first <= last, last <= content.count, last - first == size.partialValue else { return nil }
        let numbers: [Float] = content.withUnsafeBytes { content in
            (0..<size.partialValue / bytes).map { place in
                bytes == 2
                    ? Half.float(content.number(at: first + 2 * place, as: UInt16.self))
                    : Float(bitPattern: content.number(at: first + 4 * place, as: UInt32.self))
            }
        }
        return numbers.allSatisfy(\.isFinite) ? numbers : nil
    }
}
