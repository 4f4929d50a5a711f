import Foundation

/// Splits a cleaned text into CLIP's words.
///
/// At each position, the first of these that matches is a word: the text of the start or end token, `'s 't 'm 'd 're 've
/// 'll`, letters, one number character, or characters other than white space, letters and numbers. Case is ignored.
struct WordSplitter {
    enum Word: Equatable {
        case start
        case end
        /// UTF-8, at least one byte.
        case bytes([UInt8])
    }

    private enum Kind { case letter, number, space, other }

    private static let start = Array("<start_of_text>".unicodeScalars)
    private static let end = Array("<end_of_text>".unicodeScalars)
    private static let contractions = ["'s", "'t", "'m", "'d", "'re", "'ve", "'ll"].map { Array($0.unicodeScalars) }

    private let scalars: [Unicode.Scalar]
    private var place = 0

    init(_ scalars: [Unicode.Scalar]) {
        self.scalars = scalars
    }

    mutating func next() -> Word? {
        while place < scalars.count, Self.kind(scalars[place]) == .space { place += 1 }
        guard place < scalars.count else { return nil }
        let first = place
        place = endOfWord(from: first)
        let word = scalars[first..<place]
        if word.elementsEqual(Self.start) { return .start }
        if word.elementsEqual(Self.end) { return .end }
        return .bytes(Array(string(word).utf8))
    }

    private func endOfWord(from first: Int) -> Int {
        if scalars[first] == "<" {
            for special in [Self.start, Self.end] where matches(special, at: first) { return first + special.count }
        }
        if scalars[first] == "'" {
            for contraction in Self.contractions where matches(contraction, at: first) { return first + contraction.count }
        }
        let kind = Self.kind(scalars[first])
        if kind == .number { return first + 1 }
        return scalars[first...].firstIndex { Self.kind($0) != kind } ?? scalars.count
    }

    private func matches(_ pattern: [Unicode.Scalar], at first: Int) -> Bool {
        first + pattern.count <= scalars.count
            && zip(pattern, scalars[first...]).allSatisfy { $0 == Self.folded($1) }
    }

    /// Simple case folding for the patterns: ASCII, and the long s.
    private static func folded(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
        switch scalar.value {
        case 0x41...0x5a: Unicode.Scalar(UInt8(scalar.value + 32))
        case 0x17f: "s"
        default: scalar
        }
    }

    private static func kind(_ scalar: Unicode.Scalar) -> Kind {
        switch scalar.value {
        case 0x41...0x5a, 0x61...0x7a: return .letter
        case 0x30...0x39: return .number
        case 0x20, 0x09...0x0d: return .space
        case 0..<0x80: return .other
        default: break
        }
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return .letter
        case .decimalNumber, .letterNumber, .otherNumber: return .number
        default: return scalar.properties.isWhitespace ? .space : .other
        }
    }
}
