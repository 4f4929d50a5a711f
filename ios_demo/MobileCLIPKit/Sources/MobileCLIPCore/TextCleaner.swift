import Foundation

/// Cleans a text before it is split into words, like `clean_text` in `mobileclip_kit/tokenizer.py`.
///
/// Python runs ftfy and then unescapes HTML twice. This type has all character-level fixes of ftfy, in the same order, but
/// not its repair of wrong decodings ("schÃ¶n"), which a text typed on a phone does not need.
/// `docs/phone-tokenizer.md` describes the difference.
public enum TextCleaner {
    /// Cleans a text.
    public static func clean(_ text: String, _ cleaning: TextSpec.Cleaning) -> [Unicode.Scalar] {
        var scalars = Array(text.unicodeScalars)
        if !scalars.allSatisfy({ 0x20...0x7e ~= $0.value && $0 != "&" }) {
            scalars = HTML.unescape(HTML.unescape(fix(scalars)))
        }
        if cleaning == .canonicalize { scalars = withoutPunctuation(scalars) }
        scalars = collapsingSpace(scalars)
        return cleaning == .whitespace ? scalars : lowercased(scalars)
    }

    // MARK: Fixes, line by line until nothing changes

    private static func fix(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        var fixed: [Unicode.Scalar] = []
        var unescapes = true
        var start = scalars.startIndex
        while start < scalars.endIndex {
            let end = scalars[start...].firstIndex(of: "\n").map { $0 + 1 } ?? scalars.endIndex
            let line = Array(scalars[start..<end])
            // A "<" looks like markup, in which entities are intended; that applies to all following lines too.
            if line.contains("<") { unescapes = false }
            fixed += fixLine(line, unescapes: unescapes)
            start = end
        }
        return fixed
    }

    private static func fixLine(_ line: [Unicode.Scalar], unescapes: Bool) -> [Unicode.Scalar] {
        var line = line
        while true {
            let before = line
            if unescapes { line = HTML.unescapeStrictly(line) }
            line = line.flatMap(replacement)
            line = unifyLineBreaks(line)
            line = withoutTerminalEscapes(line)
            line.removeAll(where: isUnwantedControl)
            line = Normalization.composed(line)
            if line == before { return line }
        }
    }

    /// C1 controls become characters of Windows-1252; ligatures are split, widths standardised and quotes straightened.
    private static func replacement(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        switch scalar.value {
        case 0x80...0x9f: return [windows1252[Int(scalar.value) - 0x80]]
        case 0x2bc, 0x2018...0x201b: return ["'"]
        case 0x201c...0x201f: return ["\""]
        case 0xff01...0xff5e: return [Unicode.Scalar(scalar.value - 0xfee0) ?? scalar]
        case 0x3000, 0xff5f...0xffef: return TextTables.widths[scalar.value] ?? [scalar]
        default: return ligatures[scalar].map { Array($0.unicodeScalars) } ?? [scalar]
        }
    }

    private static func unifyLineBreaks(_ line: [Unicode.Scalar]) -> [Unicode.Scalar] {
        var unified: [Unicode.Scalar] = []
        for (place, scalar) in line.enumerated() {
            switch scalar.value {
            case 0x0d: unified.append("\n")
            case 0x0a: if place == 0 || line[place - 1] != "\r" { unified.append("\n") }
            case 0x85, 0x2028, 0x2029: unified.append("\n")
            default: unified.append(scalar)
            }
        }
        return unified
    }

    /// Removes ESC [, digits and semicolons, and one letter.
    private static func withoutTerminalEscapes(_ line: [Unicode.Scalar]) -> [Unicode.Scalar] {
        guard line.contains("\u{1b}") else { return line }
        var kept: [Unicode.Scalar] = []
        var place = 0
        while place < line.count {
            if line[place] == "\u{1b}", place + 1 < line.count, line[place + 1] == "[" {
                var end = place + 2
                while end < line.count, line[end] == ";" || line[end].properties.generalCategory == .decimalNumber { end += 1 }
                if end < line.count, isASCIILetter(line[end]) {
                    place = end + 1
                    continue
                }
            }
            kept.append(line[place])
            place += 1
        }
        return kept
    }

    private static func isUnwantedControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x00...0x08, 0x0b, 0x0e...0x1f, 0x7f, 0x206a...0x206f, 0xfeff, 0xfff9...0xfffc: true
        default: false
        }
    }

    // MARK: Tidying

    private static func withoutPunctuation(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        scalars.compactMap { scalar in
            switch scalar.value {
            case 0x5f: " "
            case 0x21...0x2f, 0x3a...0x40, 0x5b...0x60, 0x7b...0x7e: nil
            default: scalar
            }
        }
    }

    private static func collapsingSpace(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        var collapsed: [Unicode.Scalar] = []
        collapsed.reserveCapacity(scalars.count)
        var isPending = false
        for scalar in scalars {
            if isSpace(scalar) {
                isPending = !collapsed.isEmpty
            } else {
                if isPending { collapsed.append(" ") }
                isPending = false
                collapsed.append(scalar)
            }
        }
        return collapsed
    }

    /// White space for Python's `str.split`: Unicode's, and the four separators U+001C…U+001F.
    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x80
            ? scalar == " " || 0x09...0x0d ~= scalar.value || 0x1c...0x1f ~= scalar.value
            : scalar.properties.isWhitespace
    }

    /// Full conversion to lower case, with Unicode's rule for the final sigma.
    private static func lowercased(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        var lowered: [Unicode.Scalar] = []
        lowered.reserveCapacity(scalars.count)
        for (place, scalar) in scalars.enumerated() {
            switch scalar.value {
            case 0x41...0x5a: lowered.append(Unicode.Scalar(UInt8(scalar.value + 32)))
            case 0..<0x80: lowered.append(scalar)
            case 0x3a3: lowered.append(isFinalSigma(place, in: scalars) ? "ς" : "σ")
            default: lowered.append(contentsOf: scalar.properties.lowercaseMapping.unicodeScalars)
            }
        }
        return lowered
    }

    private static func isFinalSigma(_ place: Int, in scalars: [Unicode.Scalar]) -> Bool {
        let before = scalars[..<place].last { !$0.properties.isCaseIgnorable }
        let after = scalars[(place + 1)...].first { !$0.properties.isCaseIgnorable }
        return before?.properties.isCased == true && after?.properties.isCased != true
    }

    // MARK: Tables

    private static let ligatures: [Unicode.Scalar: String] = [
        "\u{132}": "IJ", "\u{133}": "ij", "\u{149}": "\u{2bc}n", "\u{1f1}": "DZ", "\u{1f2}": "Dz", "\u{1f3}": "dz",
        "\u{1c4}": "D\u{17d}", "\u{1c5}": "D\u{17e}", "\u{1c6}": "d\u{17e}", "\u{1c7}": "LJ", "\u{1c8}": "Lj",
        "\u{1c9}": "lj", "\u{1ca}": "NJ", "\u{1cb}": "Nj", "\u{1cc}": "nj", "\u{fb00}": "ff", "\u{fb01}": "fi",
        "\u{fb02}": "fl", "\u{fb03}": "ffi", "\u{fb04}": "ffl", "\u{fb05}": "\u{17f}t", "\u{fb06}": "st",
    ]

    /// The characters of bytes 0x80…0x9F in Windows-1252; the five unassigned ones are kept.
    static let windows1252: [Unicode.Scalar] = [
        "\u{20ac}", "\u{81}", "\u{201a}", "\u{192}", "\u{201e}", "\u{2026}", "\u{2020}", "\u{2021}",
        "\u{2c6}", "\u{2030}", "\u{160}", "\u{2039}", "\u{152}", "\u{8d}", "\u{17d}", "\u{8f}",
        "\u{90}", "\u{2018}", "\u{2019}", "\u{201c}", "\u{201d}", "\u{2022}", "\u{2013}", "\u{2014}",
        "\u{2dc}", "\u{2122}", "\u{161}", "\u{203a}", "\u{153}", "\u{9d}", "\u{17e}", "\u{178}",
    ]
}

func isASCIILetter(_ scalar: Unicode.Scalar) -> Bool {
    0x41...0x5a ~= scalar.value || 0x61...0x7a ~= scalar.value
}

func string(_ scalars: some Sequence<Unicode.Scalar>) -> String {
    var view = String.UnicodeScalarView()
    view.append(contentsOf: scalars)
    return String(view)
}
