import Foundation

/// Character references of HTML 5, as Python's `html` module and ftfy decode them.
enum HTML {
    /// Names in capitals that stand for the capital of the lower-case name's character, where HTML itself does not know them.
    private static let upperCaseEntities: [String: String] = {
        var found: [String: String] = [:]
        for (name, value) in TextTables.entities where name.hasSuffix(";") && name == name.lowercased() {
            let reference = Array("&\(name.uppercased())".unicodeScalars)
            if unescape(reference) == reference { found[name.uppercased()] = value.uppercased() }
        }
        return found
    }()

    /// Decodes like a browser: semicolons are optional, and the longest known name is used.
    static func unescape(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        guard scalars.contains("&") else { return scalars }
        var result: [Unicode.Scalar] = []
        var place = 0
        while place < scalars.count {
            if scalars[place] == "&", let (replacement, end) = reference(in: scalars, after: place + 1) {
                result += replacement
                place = end
            } else {
                result.append(scalars[place])
                place += 1
            }
        }
        return result
    }

    /// Decodes only complete references that end with a semicolon; names may be in upper case.
    static func unescapeStrictly(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        guard scalars.contains("&") else { return scalars }
        var result: [Unicode.Scalar] = []
        var place = 0
        while place < scalars.count {
            if scalars[place] == "&", let end = strictEnd(in: scalars, after: place + 1) {
                result += strictReplacement(Array(scalars[place..<end]))
                place = end
            } else {
                result.append(scalars[place])
                place += 1
            }
        }
        return result
    }

    // MARK: One reference

    /// `#` and digits, `#x` and hex digits, or up to 32 characters of a name, each with or without a semicolon.
    private static func reference(in scalars: [Unicode.Scalar], after start: Int) -> ([Unicode.Scalar], Int)? {
        guard start < scalars.count else { return nil }
        if scalars[start] == "#" { return numericReference(in: scalars, after: start + 1) }
        var end = start
        while end < scalars.count, end - start < 32, !"\t\n\u{c} <&#;".unicodeScalars.contains(scalars[end]) { end += 1 }
        guard end > start else { return nil }
        if end < scalars.count, scalars[end] == ";" { end += 1 }
        let name = Array(scalars[start..<end])
        if let value = TextTables.entities[string(name)] { return (Array(value.unicodeScalars), end) }
        for length in stride(from: name.count - 1, to: 1, by: -1) {
            if let value = TextTables.entities[string(name[..<length])] {
                return (Array(value.unicodeScalars) + name[length...], end)
            }
        }
        return (["&"] + name, end)
    }

    private static func numericReference(in scalars: [Unicode.Scalar], after start: Int) -> ([Unicode.Scalar], Int)? {
        var place = start
        let isHex = place < scalars.count && (scalars[place] == "x" || scalars[place] == "X")
        if isHex { place += 1 }
        let radix: UInt32 = isHex ? 16 : 10
        let firstDigit = place
        var number: UInt32 = 0
        while place < scalars.count, let digit = digit(scalars[place]), digit < radix {
            // All numbers above Unicode's last one are equivalent.
            number = min(number * radix + digit, 0x20_0000)
            place += 1
        }
        guard place > firstDigit else { return nil }
        if place < scalars.count, scalars[place] == ";" { place += 1 }
        return (character(number).map { [$0] } ?? [], place)
    }

    private static func digit(_ scalar: Unicode.Scalar) -> UInt32? {
        switch scalar.value {
        case 0x30...0x39: scalar.value - 0x30
        case 0x41...0x46: scalar.value - 0x41 + 10
        case 0x61...0x66: scalar.value - 0x61 + 10
        default: nil
        }
    }

    /// The character of a number in HTML 5; nil for those that are dropped.
    private static func character(_ number: UInt32) -> Unicode.Scalar? {
        guard 1...0x10ffff ~= number, let scalar = Unicode.Scalar(number) else { return "\u{fffd}" }
        switch number {
        case 0x80...0x9f: return TextCleaner.windows1252[Int(number) - 0x80]
        case 0x01...0x08, 0x0b, 0x0e...0x1f, 0x7f, 0xfdd0...0xfdef: return nil
        default: return number & 0xfffe == 0xfffe ? nil : scalar
        }
    }

    /// The end of a reference: `&`, an optional `#`, 1 to 24 ASCII letters or digits, and a semicolon.
    private static func strictEnd(in scalars: [Unicode.Scalar], after start: Int) -> Int? {
        var place = start
        if place < scalars.count, scalars[place] == "#" { place += 1 }
        let first = place
        while place < scalars.count, place - first < 24,
            isASCIILetter(scalars[place]) || 0x30...0x39 ~= scalars[place].value
        {
            place += 1
        }
        guard place > first, place < scalars.count, scalars[place] == ";" else { return nil }
        return place + 1
    }

    private static func strictReplacement(_ reference: [Unicode.Scalar]) -> [Unicode.Scalar] {
        if reference[1] == "#" {
            let unescaped = unescape(reference)
            return unescaped.contains(";") ? reference : unescaped
        }
        let name = string(reference.dropFirst())
        guard let value = TextTables.entities[name] ?? upperCaseEntities[name] else { return reference }
        return Array(value.unicodeScalars)
    }
}
