import Foundation

/// A weighted text of a query.
public struct QueryTerm: Equatable, Sendable {
    /// Negative for words to avoid.
    public var weight: Float
    /// The words.
    public var text: String

    /// A text with its weight.
    public init(weight: Float, text: String) {
        self.weight = weight
        self.text = text
    }

    /// Splits a query at its signed words, as `parse_query` in `mobileclip_kit/search.py` does: `beach -people +sunset:2`.
    ///
    /// Words without a sign form one text. A sign applies until the next one; a number after a colon is the weight of a
    /// signed text. A hyphen within a word is not a sign. An empty query, or one of signs alone, has no terms.
    public static func parse(_ query: String) -> [QueryTerm] {
        let scalars = Array(query.unicodeScalars)
        var terms: [QueryTerm] = []
        var sign: Float?
        var text: [Unicode.Scalar] = []
        func finish() {
            if let term = makeTerm(sign: sign, text: text) { terms.append(term) }
        }
        for (place, scalar) in scalars.enumerated() {
            let opensWord = place == 0 || isSpace(scalars[place - 1])
            let hasWord = place + 1 < scalars.count && !isSpace(scalars[place + 1])
            if scalar == "+" || scalar == "-", opensWord, hasWord {
                finish()
                sign = scalar == "-" ? -1 : 1
                text = []
            } else {
                text.append(scalar)
            }
        }
        finish()
        return terms
    }

    private static func makeTerm(sign: Float?, text: [Unicode.Scalar]) -> QueryTerm? {
        var text = trimmed(text[...])
        var weight: Float = 1
        if sign != nil, let colon = text.lastIndex(of: ":"), let number = number(text[(colon + 1)...]) {
            weight = number
            text = trimmed(text[..<colon])
        }
        weight *= sign ?? 1
        return text.allSatisfy(isSignOrSpace) || weight == 0 ? nil : QueryTerm(weight: weight, text: string(text))
    }

    /// Digits, with an optional decimal point among or before them.
    private static func number(_ text: ArraySlice<Unicode.Scalar>) -> Float? {
        let isNumber = text.allSatisfy { $0 == "." || 0x30...0x39 ~= $0.value }
        guard isNumber, text.last != ".", text.filter({ $0 == "." }).count < 2 else { return nil }
        return Float(string(text))
    }

    private static func trimmed(_ text: ArraySlice<Unicode.Scalar>) -> ArraySlice<Unicode.Scalar> {
        let tail = text.drop(while: isSpace)
        return tail.prefix((tail.lastIndex { !isSpace($0) } ?? tail.startIndex - 1) - tail.startIndex + 1)
    }

    private static func isSignOrSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar == "+" || scalar == "-" || scalar == " "
    }

    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isWhitespace || 0x1c...0x1f ~= scalar.value
    }
}
