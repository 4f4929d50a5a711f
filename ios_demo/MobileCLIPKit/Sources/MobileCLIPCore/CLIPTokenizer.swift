import Foundation

/// Errors of a `merges.txt`.
public enum TokenizerError: Error, Equatable, Sendable {
    case unreadable(path: String)
    case wrongHeader
    /// Not two pieces separated by a space; line numbers start at 1.
    case badLine(number: Int)
    /// The merge joins pieces that no earlier line makes, or makes an existing piece.
    case impossibleMerge(line: Int)
    /// The merges make more pieces than the model's embedding table has rows.
    case tooManyPieces(pieces: Int, rows: Int)
    /// The model needs a tokenizer of another kind.
    case unsupportedKind(String)
}

/// CLIP's byte-pair tokenizer; it returns the same token ids as `mobileclip_kit/tokenizer.py`.
///
/// A text is cleaned and split into words. A word begins as its UTF-8 bytes, the last of which is marked as the end of a
/// word. Then the adjacent pair that comes first in the merges is joined, repeatedly.
public struct CLIPTokenizer: Sendable {
    /// The first line of a merges file.
    public static let header = "#version: mckit clip-bpe 1"

    /// Number of identifiers of a text, with padding.
    public let contextLength: Int
    /// How texts are cleaned.
    public let cleaning: TextSpec.Cleaning
    /// The identifier of padding.
    public let padID: Int32
    /// The identifier before a text.
    public let startID: Int32
    /// The identifier after a text.
    public let endID: Int32

    /// 256 bytes, the same at the end of a word, the merges, start and end.
    public var vocabularySize: Int { Int(endID) + 1 }

    /// The id that a pair of ids is joined to; the key has the left id in its upper half.
    private let joined: [UInt64: Int32]

    /// Reads a bundle's `merges.txt` for the text tower that `spec` describes.
    public init(merges url: URL, spec: TextSpec) throws(TokenizerError) {
        guard spec.tokenizer == .clipBPE else { throw .unsupportedKind(spec.tokenizer.rawValue) }
        guard let data = try? Data(contentsOf: url) else { throw .unreadable(path: url.path) }
        try self.init(merges: data, spec: spec)
        guard vocabularySize <= spec.vocabularySize else {
            throw .tooManyPieces(pieces: vocabularySize, rows: spec.vocabularySize)
        }
    }

    /// Decodes a `merges.txt`.
    public init(merges data: Data, spec: TextSpec) throws(TokenizerError) {
        joined = try Self.numberMerges([UInt8](data))
        contextLength = spec.contextLength
        cleaning = spec.cleaning
        padID = spec.padID
        startID = Int32(Self.bytePieces + joined.count)
        endID = startID + 1
    }

    /// The input of the text tower: start, the ids of the text, end, padding.
    ///
    /// A text that is too long is truncated; the row still ends with the end token.
    public func callAsFunction(_ text: String) -> [Int32] {
        var row = [startID] + encode(text) + [endID]
        if row.count > contextLength {
            row.removeLast(row.count - contextLength)
            row[contextLength - 1] = endID
        }
        row += Array(repeating: padID, count: contextLength - row.count)
        return row
    }

    /// The token ids of a text of any length, without start and end.
    public func encode(_ text: String) -> [Int32] {
        var identifiers: [Int32] = []
        var splitter = WordSplitter(TextCleaner.clean(text, cleaning))
        while let word = splitter.next() {
            switch word {
            case .start: identifiers.append(startID)
            case .end: identifiers.append(endID)
            case .bytes(let bytes): mergeBytes(bytes, into: &identifiers)
            }
        }
        return identifiers
    }

    // MARK: Joining

    /// Joins the pieces of a word of n bytes in O(n log n).
    private func mergeBytes(_ bytes: [UInt8], into identifiers: inout [Int32]) {
        var pieces = bytes.map { Self.byteIDs[Int($0)] }
        let count = pieces.count
        pieces[count - 1] += 256
        var following = Array(1...count)
        var previous = Array(-1..<(count - 1))
        // A joined piece can only take part in later merges, so the pair with the lowest id, leftmost first, is always next.
        var waiting = CandidateHeap()
        for left in 0..<(count - 1) {
            if let piece = join(pieces[left], pieces[left + 1]) { waiting.insert(piece: piece, left: left) }
        }
        while let (piece, left) = waiting.removeFirst() {
            let right = following[left]
            guard pieces[left] >= 0, right < count, join(pieces[left], pieces[right]) == piece else { continue }
            let after = following[right]
            let before = previous[left]
            pieces[left] = piece
            pieces[right] = -1
            following[left] = after
            if after < count {
                previous[after] = left
                if let candidate = join(piece, pieces[after]) { waiting.insert(piece: candidate, left: left) }
            }
            if before >= 0, let candidate = join(pieces[before], piece) { waiting.insert(piece: candidate, left: before) }
        }
        for piece in pieces where piece >= 0 { identifiers.append(piece) }
    }

    private func join(_ left: Int32, _ right: Int32) -> Int32? {
        guard left >= 0, right >= 0 else { return nil }
        return joined[UInt64(left) << 32 | UInt64(right)]
    }

    // MARK: Reading merges

    private static let bytePieces = 512
    private static let wordEnd = Array("</w>".utf8)

    private static func numberMerges(_ bytes: [UInt8]) throws(TokenizerError) -> [UInt64: Int32] {
        var lines = bytes.split(separator: 0x0a, omittingEmptySubsequences: false)
        if lines.last?.isEmpty == true, lines.count > 1 { lines.removeLast() }
        guard let first = lines.first, first.elementsEqual(header.utf8) else { throw .wrongHeader }

        var pieces: [[UInt8]: Int32] = [:]
        pieces.reserveCapacity(bytePieces + lines.count)
        for byte in 0..<256 {
            let letter = Array(String(letters[byte]).utf8)
            pieces[letter] = byteIDs[byte]
            pieces[letter + wordEnd] = byteIDs[byte] + 256
        }
        var joined: [UInt64: Int32] = [:]
        joined.reserveCapacity(lines.count)
        for (place, line) in lines.enumerated().dropFirst() {
            let halves = line.split(separator: 0x20, omittingEmptySubsequences: false)
            guard halves.count == 2, !halves[0].isEmpty, !halves[1].isEmpty else { throw .badLine(number: place + 1) }
            guard let left = pieces[Array(halves[0])], let right = pieces[Array(halves[1])],
                !halves[0].suffix(4).elementsEqual(wordEnd)
            else { throw .impossibleMerge(line: place + 1) }
            let piece = Int32(bytePieces + place - 1)
            guard pieces.updateValue(piece, forKey: Array(halves[0] + halves[1])) == nil else {
                throw .impossibleMerge(line: place + 1)
            }
            joined[UInt64(left) << 32 | UInt64(right)] = piece
        }
        return joined
    }

    /// The letter for each byte in `merges.txt`: the byte itself if it is printable in Latin-1, otherwise one from U+0100 on.
    private static let letters: [Unicode.Scalar] = {
        var spare: UInt32 = 0x100
        return (0..<256).map { byte in
            if isPrinting(byte) { return Unicode.Scalar(UInt8(byte)) }
            defer { spare += 1 }
            return Unicode.Scalar(spare) ?? "?"
        }
    }()

    /// The id of each byte; printable ones come first.
    private static let byteIDs: [Int32] = {
        let order = (0..<256).filter(isPrinting) + (0..<256).filter { !isPrinting($0) }
        var identifiers = [Int32](repeating: 0, count: 256)
        for (identifier, byte) in order.enumerated() { identifiers[byte] = Int32(identifier) }
        return identifiers
    }()

    private static func isPrinting(_ byte: Int) -> Bool {
        0x21...0x7e ~= byte || 0xa1...0xac ~= byte || 0xae...0xff ~= byte
    }
}

/// Pairs that can be joined, sorted by the resulting id and then from left to right.
private struct CandidateHeap {
    private var keys: [UInt64] = []

    mutating func insert(piece: Int32, left: Int) {
        keys.append(UInt64(piece) << 32 | UInt64(left))
        var child = keys.count - 1
        while child > 0, keys[child] < keys[(child - 1) / 2] {
            keys.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func removeFirst() -> (piece: Int32, left: Int)? {
        guard let first = keys.first else { return nil }
        let last = keys.removeLast()
        if !keys.isEmpty {
            keys[0] = last
            var parent = 0
            while true {
                var least = parent
                for child in [2 * parent + 1, 2 * parent + 2] where child < keys.count && keys[child] < keys[least] {
                    least = child
                }
                if least == parent { break }
                keys.swapAt(parent, least)
                parent = least
            }
        }
        return (Int32(truncatingIfNeeded: first >> 32), Int(first & 0xffff_ffff))
    }
}
