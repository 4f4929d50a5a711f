import Foundation

/// A memory-mapped index file in the state when it was opened.
///
/// A truncated batch at the end of the file is ignored. An index is a value that any number of tasks may use, and it is not
/// affected by a writer that appends to the file.
public struct FlatIndex: Sendable {
    /// A hit of a search.
    public struct Hit: Equatable, Sendable {
        /// Its row in the index.
        public var row: Int
        /// Its key: a photo's local identifier, or an image's path.
        public var key: String
        /// Cosine similarity to the query.
        public var score: Float
    }

    /// The first block of the file.
    public let header: FlatIndexHeader
    /// All rows, including removed ones.
    public let rows: Int
    /// Number of rows that are not removed.
    public let count: Int
    /// Number of valid bytes of the file.
    public let end: Int

    let data: Data
    let batches: [FlatIndexBatch]
    /// Bit `row % 64` of word `row / 64`: removed.
    let removedBits: [UInt64]

    /// Opens a file.
    ///
    /// - Parameter modelHash: Hash of the model that the vectors must belong to; nil for any.
    public init(contentsOf url: URL, modelHash: String? = nil) throws(FlatIndexError) {
        data = try Self.map(url)
        (header, batches) = try Self.read(data)
        if let modelHash, modelHash != header.modelHash {
            throw .otherModel(found: header.modelHash, expected: modelHash)
        }
        end = batches.last?.body.upperBound ?? FlatIndexFormat.blockBytes
        rows = batches.last.map { $0.firstRow + $0.added } ?? 0
        removedBits = try Self.readRemoved(data, batches, header, rows: rows)
        count = rows - removedBits.reduce(0) { $0 + $1.nonzeroBitCount }
    }

    /// Whether a row has been removed.
    public func isRemoved(_ row: Int) -> Bool {
        removedBits[row >> 6] & (1 << UInt64(row & 63)) != 0
    }

    /// The key of a row.
    public func key(ofRow row: Int) throws(FlatIndexError) -> String {
        let batch = batches[batchIndex(ofRow: row)]
        return String(decoding: try keys(of: batch, places: row - batch.firstRow..<row - batch.firstRow + 1)[0], as: UTF8.self)
    }

    /// The stamp of a row, see `FlatIndexItem.stamp`.
    public func stamp(ofRow row: Int) -> Int64 {
        let batch = batches[batchIndex(ofRow: row)]
        let place = FlatIndexLayout(batch: batch, header: header).stamps + 8 * (row - batch.firstRow)
        return data.withUnsafeBytes { $0.number(at: place, as: Int64.self) }
    }

    /// A row as float32.
    public func vector(ofRow row: Int) -> [Float] {
        let batch = batches[batchIndex(ofRow: row)]
        let layout = FlatIndexLayout(batch: batch, header: header)
        let start = layout.vectors + (row - batch.firstRow) * header.dim * header.numbers.bytes
        return data.withUnsafeBytes { bytes in
            switch header.numbers {
            case .float16:
                return (0..<header.dim).map { Half.float(bytes.number(at: start + 2 * $0, as: UInt16.self)) }
            case .int8:
                let scale = Float(bitPattern: bytes.number(at: layout.scales + 4 * (row - batch.firstRow), as: UInt32.self))
                return (0..<header.dim).map { Float(bytes.number(at: start + $0, as: Int8.self)) * scale }
            }
        }
    }

    /// The items in the order of their rows.
    public func items() throws(FlatIndexError) -> [(key: String, row: Int, stamp: Int64)] {
        var items: [(key: String, row: Int, stamp: Int64)] = []
        items.reserveCapacity(count)
        for batch in batches {
            for (place, name) in try keys(of: batch, places: 0..<batch.added).enumerated() {
                let row = batch.firstRow + place
                if !isRemoved(row) { items.append((String(decoding: name, as: UTF8.self), row, stamp(ofRow: row))) }
            }
        }
        return items
    }

    /// The row of an item; nil if there is no item with that key. Scans all keys without copying them.
    public func row(ofKey key: String) throws(FlatIndexError) -> Int? {
        let wanted = Array(key.utf8)
        for batch in batches.reversed() where batch.added > 0 {
            let layout = FlatIndexLayout(batch: batch, header: header)
            var isSound = true
            let found: Int? = data.withUnsafeBytes { bytes in
                var from = 0
                for place in 0..<batch.added {
                    let to = Int(bytes.number(at: layout.ends + 4 * place, as: UInt32.self))
                    guard from <= to, layout.keys + to <= batch.body.upperBound else {
                        isSound = false
                        return nil
                    }
                    if to - from == wanted.count, !isRemoved(batch.firstRow + place),
                        bytes[layout.keys + from..<layout.keys + to].elementsEqual(wanted)
                    {
                        return batch.firstRow + place
                    }
                    from = to
                }
                return nil
            }
            guard isSound else { throw .damaged(byte: batch.start) }
            if let found { return found }
        }
        return nil
    }

    /// The row of each item by the bytes of its key.
    func rowsByKey() throws(FlatIndexError) -> [[UInt8]: Int] {
        var found: [[UInt8]: Int] = [:]
        found.reserveCapacity(count)
        for batch in batches {
            for (place, name) in try keys(of: batch, places: 0..<batch.added).enumerated()
            where !isRemoved(batch.firstRow + place) {
                found[name] = batch.firstRow + place
            }
        }
        return found
    }

    /// Reads all bytes and compares the checksums.
    public func verify() throws(FlatIndexError) {
        for batch in batches where Self.checksum(of: batch, in: data) != batch.checksum { throw .damaged(byte: batch.start) }
    }

    // MARK: Reading

    func batchIndex(ofRow row: Int) -> Int {
        var low = 0
        var high = batches.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if batches[middle].firstRow <= row { low = middle } else { high = middle }
        }
        // A batch that only removes rows has the same first row as the next batch.
        while batches[low].added == 0 { low -= 1 }
        return low
    }

    private func keys(of batch: FlatIndexBatch, places: Range<Int>) throws(FlatIndexError) -> [[UInt8]] {
        let layout = FlatIndexLayout(batch: batch, header: header)
        let names: [[UInt8]]? = data.withUnsafeBytes { bytes in
            var names: [[UInt8]] = []
            names.reserveCapacity(places.count)
            for place in places {
                let from = place == 0 ? 0 : Int(bytes.number(at: layout.ends + 4 * (place - 1), as: UInt32.self))
                let to = Int(bytes.number(at: layout.ends + 4 * place, as: UInt32.self))
                guard from <= to, layout.keys + to <= batch.body.upperBound else { return nil }
                names.append(Array(bytes[layout.keys + from..<layout.keys + to]))
            }
            return names
        }
        guard let names else { throw .damaged(byte: batch.start) }
        return names
    }

    private static func map(_ url: URL) throws(FlatIndexError) -> Data {
        do {
            return try Data(contentsOf: url, options: .alwaysMapped)
        } catch {
            throw FileManager.default.fileExists(atPath: url.path) ? .unreadable(path: url.path) : .missing(path: url.path)
        }
    }

    private static func read(_ data: Data) throws(FlatIndexError) -> (FlatIndexHeader, [FlatIndexBatch]) {
        let result: Result<(FlatIndexHeader, [FlatIndexBatch]), FlatIndexError> = data.withUnsafeBytes { bytes in
            do throws(FlatIndexError) {
                let header = try FlatIndexHeader(bytes: bytes)
                return .success((header, try walk(bytes, header)))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private static func walk(
        _ bytes: UnsafeRawBufferPointer, _ header: FlatIndexHeader
    ) throws(FlatIndexError) -> [FlatIndexBatch] {
        var batches: [FlatIndexBatch] = []
        var start = FlatIndexFormat.blockBytes
        var rows = 0
        while let batch = FlatIndexBatch(bytes: bytes, at: start, header: header), batch.firstRow == rows,
            batch.body.upperBound <= bytes.count
        {
            batches.append(batch)
            start = batch.body.upperBound
            rows += batch.added
        }
        if let last = batches.last, CRC32.checksum(UnsafeRawBufferPointer(rebasing: bytes[last.body])) != last.checksum {
            start = last.start
            batches.removeLast()
        }
        // A valid batch after an invalid one is not the result of a crash.
        var later = start + FlatIndexFormat.blockBytes
        while later + FlatIndexFormat.blockBytes <= bytes.count {
            if FlatIndexBatch(bytes: bytes, at: later, header: header) != nil { throw .damaged(byte: start) }
            later += FlatIndexFormat.blockBytes
        }
        return batches
    }

    private static func readRemoved(
        _ data: Data, _ batches: [FlatIndexBatch], _ header: FlatIndexHeader, rows: Int
    ) throws(FlatIndexError) -> [UInt64] {
        var bits = [UInt64](repeating: 0, count: (rows + 63) / 64)
        for batch in batches where batch.removed > 0 {
            let start = FlatIndexLayout(batch: batch, header: header).removed
            let areSound = data.withUnsafeBytes { bytes in
                (0..<batch.removed).allSatisfy { place in
                    let row = Int(bytes.number(at: start + 4 * place, as: UInt32.self))
                    guard row < batch.firstRow else { return false }
                    bits[row >> 6] |= 1 << UInt64(row & 63)
                    return true
                }
            }
            guard areSound else { throw .damaged(byte: batch.start) }
        }
        return bits
    }

    private static func checksum(of batch: FlatIndexBatch, in data: Data) -> UInt32 {
        data.withUnsafeBytes { CRC32.checksum(UnsafeRawBufferPointer(rebasing: $0[batch.body])) }
    }
}
