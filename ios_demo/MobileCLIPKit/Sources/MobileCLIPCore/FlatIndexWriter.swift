import Foundation

/// A photo's vector, to be written to the index.
public struct FlatIndexItem: Equatable, Sendable {
    /// The photo's key, such as its local identifier.
    public var key: String
    /// State of the photo when its vector was made, such as its modification time in milliseconds.
    public var stamp: Int64
    /// Length 1.
    public var vector: [Float]

    /// An item to add.
    public init(key: String, stamp: Int64 = 0, vector: [Float]) {
        self.key = key
        self.stamp = stamp
        self.vector = vector
    }
}

/// Appends to an index file, and holds its lock while it exists.
///
/// A call's changes are on disk when it returns. A call that throws leaves only the batches that it completed.
public struct FlatIndexWriter: ~Copyable {
    /// The first block of the file.
    public let header: FlatIndexHeader
    /// All rows, including removed ones.
    public private(set) var rows: Int
    /// By the bytes of the keys: Swift considers canonically equivalent strings equal, Python does not.
    private var rowsByKey: [[UInt8]: Int]
    private let descriptor: Int32
    private var end: Int
    /// Limit of the file's size in bytes; lets tests simulate a full disk.
    private let capacity: Int

    /// Writes an empty index to a new file.
    public static func create(at url: URL, header: FlatIndexHeader) throws(FlatIndexError) {
        let descriptor = systemOpen(url.path, O_WRONLY | O_CREAT | O_EXCL)
        guard descriptor >= 0 else { throw Self.writingError(errno) }
        defer { close(descriptor) }
        do {
            try Self.write(header.bytes, to: descriptor, at: 0)
        } catch {
            unlink(url.path)
            throw error
        }
    }

    /// Opens an index for writing and truncates what a crash has left at its end.
    public init(opening url: URL, modelHash: String) throws(FlatIndexError) {
        try self.init(opening: url, modelHash: modelHash, capacity: .max)
    }

    init(opening url: URL, modelHash: String, capacity: Int) throws(FlatIndexError) {
        let (descriptor, index, found) = try Self.open(url, modelHash: modelHash)
        self.descriptor = descriptor
        self.capacity = capacity
        header = index.header
        rows = index.rows
        end = index.end
        rowsByKey = found
    }

    deinit { close(descriptor) }

    /// The row of an item; nil if there is no item with that key.
    public func row(ofKey key: String) -> Int? {
        rowsByKey[Array(key.utf8)]
    }

    /// Adds items, or replaces those with existing keys.
    public mutating func append(_ items: [FlatIndexItem]) throws(FlatIndexError) {
        try check(items)
        for start in stride(from: 0, to: items.count, by: FlatIndexFormat.maximumBatchRows) {
            let part = items[start..<min(start + FlatIndexFormat.maximumBatchRows, items.count)]
            let replaced = part.compactMap { rowsByKey[Array($0.key.utf8)] }.sorted()
            let encoded = FlatIndexBody(header: header, items: part)
            try write(encoded.bytes(removing: replaced), added: part.count, removed: replaced.count)
            for (place, item) in part.enumerated() { rowsByKey[Array(item.key.utf8)] = rows + place }
            rows += part.count
        }
    }

    /// Removes items; unknown keys are ignored.
    public mutating func remove(_ keys: some Sequence<String>) throws(FlatIndexError) {
        let known = Set(keys.map { Array($0.utf8) }).filter { rowsByKey[$0] != nil }
        guard !known.isEmpty else { return }
        let removed = known.compactMap { rowsByKey[$0] }.sorted()
        try write(FlatIndexBody(header: header, items: []).bytes(removing: removed), added: 0, removed: removed.count)
        for key in known { rowsByKey[key] = nil }
    }

    /// Writes the rows that are not removed to a new file that replaces the old one. There must be no open writer.
    public static func compact(_ url: URL, modelHash: String) throws(FlatIndexError) {
        let lock = try FlatIndexWriter(opening: url, modelHash: modelHash)
        let index = try FlatIndex(contentsOf: url, modelHash: modelHash)
        let staging = url.deletingLastPathComponent().appendingPathComponent(".\(url.lastPathComponent).part")
        unlink(staging.path)
        try create(at: staging, header: index.header)
        do throws(FlatIndexError) {
            var writer = try FlatIndexWriter(opening: staging, modelHash: modelHash)
            let living = (0..<index.rows).filter { !index.isRemoved($0) }
            for start in stride(from: 0, to: living.count, by: FlatIndexFormat.maximumBatchRows) {
                let rows = living[start..<min(start + FlatIndexFormat.maximumBatchRows, living.count)]
                let body = try FlatIndexBody(index: index, rows: rows)
                try writer.write(body.bytes(removing: []), added: rows.count, removed: 0)
                writer.rows += rows.count
            }
            guard rename(staging.path, url.path) == 0 else { throw Self.writingError(errno) }
        } catch {
            unlink(staging.path)
            throw error
        }
        _ = consume lock
    }

    // MARK: Writing

    private static func open(
        _ url: URL, modelHash: String
    ) throws(FlatIndexError) -> (Int32, FlatIndex, [[UInt8]: Int]) {
        let path = url.path
        let descriptor = systemOpen(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw errno == ENOENT ? .missing(path: path) : writingError(errno) }
        do throws(FlatIndexError) {
            guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { throw .busy }
            let index = try FlatIndex(contentsOf: url, modelHash: modelHash)
            let rows = try index.rowsByKey()
            guard ftruncate(descriptor, off_t(index.end)) == 0 else { throw writingError(errno) }
            return (descriptor, index, rows)
        } catch {
            close(descriptor)
            throw error
        }
    }

    private func check(_ items: [FlatIndexItem]) throws(FlatIndexError) {
        var keys: Set<[UInt8]> = []
        for item in items {
            let key = Array(item.key.utf8)
            guard 1...FlatIndexFormat.maximumKeyBytes ~= key.count else { throw .badKey(item.key) }
            guard keys.insert(key).inserted else { throw .repeatedKey(item.key) }
            guard item.vector.count == header.dim else { throw .wrongShape(expected: header.dim, found: item.vector.count) }
            guard FlatIndexFormat.isUnit(item.vector) else { throw .notUnitLength(key: item.key) }
        }
    }

    private mutating func write(_ body: [UInt8], added: Int, removed: Int) throws(FlatIndexError) {
        var head = FlatIndexFormat.batchMagic
        head += FlatIndexFormat.littleEndian(UInt32(added))
        head += FlatIndexFormat.littleEndian(UInt32(removed))
        head += FlatIndexFormat.littleEndian(UInt64(body.count))
        head += FlatIndexFormat.littleEndian(UInt64(rows))
        head += FlatIndexFormat.littleEndian(body.withUnsafeBytes { CRC32.checksum($0) })
        head += [UInt8](repeating: 0, count: 24)
        let bytes = FlatIndexFormat.sealed(head) + body
        do throws(FlatIndexError) {
            let fitting = bytes.prefix(max(0, capacity - end))
            try Self.write(Array(fitting), to: descriptor, at: end)
            guard fitting.count == bytes.count else { throw .diskFull }
        } catch {
            ftruncate(descriptor, off_t(end))
            throw error
        }
        end += bytes.count
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32, at offset: Int) throws(FlatIndexError) {
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                pwrite(descriptor, buffer.baseAddress.map { $0 + written }, bytes.count - written, off_t(offset + written))
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw writingError(errno) }
            written += count
        }
        guard fsync(descriptor) == 0 else { throw writingError(errno) }
    }

    private static func writingError(_ code: Int32) -> FlatIndexError {
        code == ENOSPC || code == EDQUOT ? .diskFull : .cannotWrite(code: code)
    }
}

private func systemOpen(_ path: String, _ flags: Int32) -> Int32 {
    open(path, flags, 0o644)
}

/// The parts of a batch's body for its rows.
struct FlatIndexBody {
    private var vectors: [UInt8] = []
    private var stamps: [UInt8] = []
    private var scales: [UInt8] = []
    private var ends: [UInt8] = []
    private var keys: [UInt8] = []

    init(header: FlatIndexHeader, items: some Sequence<FlatIndexItem>) {
        for item in items {
            switch header.numbers {
            case .float16:
                for value in item.vector { vectors += FlatIndexFormat.littleEndian(Half.bits(value)) }
            case .int8:
                let (row, scale) = Self.quantised(item.vector)
                vectors += row.map { UInt8(bitPattern: $0) }
                scales += FlatIndexFormat.littleEndian(scale.bitPattern)
            }
            add(key: item.key, stamp: item.stamp)
        }
    }

    /// Rows copied from another index without decoding: quantising twice would change them.
    init(index: FlatIndex, rows: some Sequence<Int>) throws(FlatIndexError) {
        let width = index.header.dim * index.header.numbers.bytes
        for row in rows {
            let batch = index.batches[index.batchIndex(ofRow: row)]
            let layout = FlatIndexLayout(batch: batch, header: index.header)
            let place = row - batch.firstRow
            let start = layout.vectors + place * width
            index.data.withUnsafeBytes { bytes in
                vectors += bytes[start..<start + width]
                if index.header.numbers == .int8 { scales += bytes[layout.scales + 4 * place..<layout.scales + 4 * place + 4] }
            }
            add(key: try index.key(ofRow: row), stamp: index.stamp(ofRow: row))
        }
    }

    func bytes(removing removed: [Int]) -> [UInt8] {
        var body = vectors
        body += [UInt8](repeating: 0, count: FlatIndexFormat.roundUp(body.count, 8) - body.count)
        body += stamps
        body += scales
        for row in removed { body += FlatIndexFormat.littleEndian(UInt32(row)) }
        body += ends
        body += keys
        body += [UInt8](repeating: 0, count: FlatIndexFormat.roundUp(body.count, FlatIndexFormat.blockBytes) - body.count)
        return body
    }

    private mutating func add(key: String, stamp: Int64) {
        stamps += FlatIndexFormat.littleEndian(stamp)
        keys += key.utf8
        ends += FlatIndexFormat.littleEndian(UInt32(keys.count))
    }

    private static func quantised(_ vector: [Float]) -> ([Int8], Float) {
        let scale = (vector.lazy.map(\.magnitude).max() ?? 0) / 127
        return (vector.map { Int8(max(-127, min(127, ($0 / scale).rounded(.toNearestOrEven)))) }, scale)
    }
}
