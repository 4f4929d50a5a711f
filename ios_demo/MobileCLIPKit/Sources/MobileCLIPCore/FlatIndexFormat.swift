import Foundation

/// Errors of an index file and of its use.
public enum FlatIndexError: Error, Equatable, Sendable {
    case missing(path: String)
    case unreadable(path: String)
    case notAnIndex
    case headerDamaged
    case otherVersion(Int)
    /// The index belongs to another model; both values are 64 hex digits.
    case otherModel(found: String, expected: String)
    /// The batch at this offset is damaged.
    case damaged(byte: Int)
    case busy
    case diskFull
    case cannotWrite(code: Int32)
    /// Vectors, keys or stamps do not match each other or the index.
    case wrongShape(expected: Int, found: Int)
    case notUnitLength(key: String)
    case badKey(String)
    case repeatedKey(String)
    case unknownKey(String)

    /// Whether rebuilding the index would help; it would not for a full disk or a locked file.
    public var callsForRebuilding: Bool {
        switch self {
        case .notAnIndex, .headerDamaged, .damaged, .otherVersion, .otherModel: true
        default: false
        }
    }
}

/// The byte-level format of `docs/phone-index-format.md`.
enum FlatIndexFormat {
    static let version: UInt32 = 1
    static let blockBytes = 64
    static let maximumDim = 4096
    static let maximumBatchRows = 1024
    static let maximumKeyBytes = 65_535
    static let headerMagic = Array("mckitidx".utf8)
    static let batchMagic = Array("mckitbat".utf8)
    static let unitTolerance: Float = 5e-3

    static func roundUp(_ size: Int, _ multiple: Int) -> Int {
        (size + multiple - 1) / multiple * multiple
    }

    /// 60 bytes and their checksum.
    static func sealed(_ block: [UInt8]) -> [UInt8] {
        block + littleEndian(block.withUnsafeBytes { CRC32.checksum($0) })
    }

    static func isSealed(_ block: UnsafeRawBufferPointer) -> Bool {
        block.count == blockBytes
            && CRC32.checksum(UnsafeRawBufferPointer(rebasing: block[..<60])) == block.number(at: 60, as: UInt32.self)
    }

    static func isUnit(_ vector: [Float]) -> Bool {
        let norm = vector.reduce(Float(0)) { $0 + $1 * $1 }.squareRoot()
        return abs(norm - 1) <= unitTolerance
    }

    static func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
}

extension UnsafeRawBufferPointer {
    /// A little-endian integer at any offset.
    @inline(__always)
    func number<T: FixedWidthInteger>(at offset: Int, as type: T.Type) -> T {
        T(littleEndian: loadUnaligned(fromByteOffset: offset, as: type))
    }
}

/// The first 64 bytes of an index file.
public struct FlatIndexHeader: Equatable, Sendable {
    /// Number format of the vectors.
    public enum Numbers: UInt32, Sendable, CaseIterable {
        case float16 = 1
        case int8 = 2

        var bytes: Int { self == .float16 ? 2 : 1 }
    }

    /// Dimensions of a vector.
    public var dim: Int
    /// Number format of the vectors.
    public var numbers: Numbers
    /// Hash of the model of the vectors, 64 hex digits.
    public var modelHash: String

    /// nil if `dim` is not 1…4096 or the hash is not 64 hex digits.
    public init?(dim: Int, numbers: Numbers, modelHash: String) {
        guard 1...FlatIndexFormat.maximumDim ~= dim, Self.bytes(ofHex: modelHash)?.count == 32 else { return nil }
        self.dim = dim
        self.numbers = numbers
        self.modelHash = modelHash.lowercased()
    }

    init(bytes: UnsafeRawBufferPointer) throws(FlatIndexError) {
        guard bytes.count >= FlatIndexFormat.blockBytes, bytes.prefix(8).elementsEqual(FlatIndexFormat.headerMagic) else {
            throw .notAnIndex
        }
        let block = UnsafeRawBufferPointer(rebasing: bytes[..<FlatIndexFormat.blockBytes])
        let version = block.number(at: 8, as: UInt32.self)
        guard version == FlatIndexFormat.version else { throw .otherVersion(Int(version)) }
        guard FlatIndexFormat.isSealed(block), let numbers = Numbers(rawValue: block.number(at: 16, as: UInt32.self)),
            let header = Self(
                dim: Int(block.number(at: 12, as: UInt32.self)), numbers: numbers, modelHash: FileDigest.hex(Array(block[24..<56])))
        else { throw .headerDamaged }
        self = header
    }

    var bytes: [UInt8] {
        var block = FlatIndexFormat.headerMagic
        block += FlatIndexFormat.littleEndian(FlatIndexFormat.version)
        block += FlatIndexFormat.littleEndian(UInt32(dim))
        block += FlatIndexFormat.littleEndian(numbers.rawValue)
        block += [0, 0, 0, 0]
        block += Self.bytes(ofHex: modelHash) ?? []
        block += [0, 0, 0, 0]
        return FlatIndexFormat.sealed(block)
    }

    private static func bytes(ofHex text: String) -> [UInt8]? {
        let digits = text.utf8.map { Character(Unicode.Scalar($0)).hexDigitValue }
        guard digits.count % 2 == 0 else { return nil }
        var bytes: [UInt8] = []
        for place in stride(from: 0, to: digits.count, by: 2) {
            guard let high = digits[place], let low = digits[place + 1] else { return nil }
            bytes.append(UInt8(high * 16 + low))
        }
        return bytes
    }
}

/// Position and size of a batch.
struct FlatIndexBatch: Sendable {
    var start: Int
    var added: Int
    var removed: Int
    var bodyBytes: Int
    var firstRow: Int
    var checksum: UInt32

    var body: Range<Int> { start + FlatIndexFormat.blockBytes..<start + FlatIndexFormat.blockBytes + bodyBytes }

    /// Reads the batch header at an offset; nil if there is none.
    init?(bytes: UnsafeRawBufferPointer, at start: Int, header: FlatIndexHeader) {
        guard start + FlatIndexFormat.blockBytes <= bytes.count else { return nil }
        let block = UnsafeRawBufferPointer(rebasing: bytes[start..<start + FlatIndexFormat.blockBytes])
        guard block.prefix(8).elementsEqual(FlatIndexFormat.batchMagic), FlatIndexFormat.isSealed(block) else { return nil }
        self.start = start
        added = Int(block.number(at: 8, as: UInt32.self))
        removed = Int(block.number(at: 12, as: UInt32.self))
        guard let bodyBytes = Int(exactly: block.number(at: 16, as: UInt64.self)),
            let firstRow = Int(exactly: block.number(at: 24, as: UInt64.self))
        else { return nil }
        self.bodyBytes = bodyBytes
        self.firstRow = firstRow
        checksum = block.number(at: 32, as: UInt32.self)
        let layout = FlatIndexLayout(batch: self, header: header)
        guard added <= FlatIndexFormat.maximumBatchRows, bodyBytes % FlatIndexFormat.blockBytes == 0,
            bodyBytes <= Int.max - start - FlatIndexFormat.blockBytes,
            layout.keys - start - FlatIndexFormat.blockBytes <= bodyBytes
        else { return nil }
    }
}

/// The offsets of a batch's parts in the file.
struct FlatIndexLayout {
    var vectors: Int
    var stamps: Int
    var scales: Int
    var removed: Int
    var ends: Int
    var keys: Int

    init(batch: FlatIndexBatch, header: FlatIndexHeader) {
        vectors = batch.start + FlatIndexFormat.blockBytes
        stamps = vectors + FlatIndexFormat.roundUp(batch.added * header.dim * header.numbers.bytes, 8)
        scales = stamps + 8 * batch.added
        removed = scales + (header.numbers == .int8 ? 4 * batch.added : 0)
        ends = removed + 4 * batch.removed
        keys = ends + 4 * batch.added
    }
}
