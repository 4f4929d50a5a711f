import Foundation

/// Unicode's normalization form C (UAX 15). Foundation's implementation on Linux truncates characters above U+FFFF to 16
/// bits and does not compose a final Hangul consonant with its syllable.
enum Normalization {
    static func composed(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        // Below U+0300 nothing composes, and what decomposes composes again.
        if scalars.allSatisfy({ $0.value < 0x300 }) { return scalars }
        var apart: [Unicode.Scalar] = []
        apart.reserveCapacity(scalars.count)
        for scalar in scalars { decompose(scalar, into: &apart) }
        return compose(ordered(apart))
    }

    private static func decompose(_ scalar: Unicode.Scalar, into result: inout [Unicode.Scalar]) {
        if scalar.value < 0xc0 {
            result.append(scalar)
        } else if let syllable = Hangul.parts(of: scalar) {
            result += syllable
        } else if let parts = TextTables.decompositions[scalar.value] {
            for part in parts { decompose(part, into: &result) }
        } else {
            result.append(scalar)
        }
    }

    /// Marks after a letter, sorted stably by their combining class.
    private static func ordered(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        let classes = scalars.map(combiningClass)
        guard zip(classes, classes.dropFirst()).contains(where: { $0 > $1 && $1 != 0 }) else { return scalars }
        var result: [Unicode.Scalar] = []
        var start = 0
        while start < scalars.count {
            var end = start
            while end < scalars.count, classes[end] != 0 { end += 1 }
            let marks = (start..<end).sorted { (classes[$0], $0) < (classes[$1], $1) }
            result += marks.map { scalars[$0] }
            if end < scalars.count { result.append(scalars[end]) }
            start = end + 1
        }
        return result
    }

    private static func compose(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        var result: [Unicode.Scalar] = []
        result.reserveCapacity(scalars.count)
        var starter: Int?
        var lastClass: UInt8 = 0
        for scalar in scalars {
            let itsClass = combiningClass(scalar)
            // A mark is blocked from the letter by one of its own class, or by another letter, between them.
            if let place = starter, result.count == place + 1 || lastClass < itsClass && lastClass != 0,
                let whole = composition(result[place], scalar)
            {
                result[place] = whole
                continue
            }
            result.append(scalar)
            lastClass = itsClass
            if itsClass == 0 { starter = result.count - 1 }
        }
        return result
    }

    private static func composition(_ first: Unicode.Scalar, _ second: Unicode.Scalar) -> Unicode.Scalar? {
        Hangul.composition(first, second) ?? TextTables.compositions[UInt64(first.value) << 32 | UInt64(second.value)]
    }

    private static func combiningClass(_ scalar: Unicode.Scalar) -> UInt8 {
        scalar.value < 0x300 ? 0 : scalar.properties.canonicalCombiningClass.rawValue
    }
}

/// Hangul syllables are composed by arithmetic (The Unicode Standard, section 3.12).
private enum Hangul {
    static let syllables: ClosedRange<UInt32> = 0xac00...0xd7a3
    static let leads: ClosedRange<UInt32> = 0x1100...0x1112
    static let vowels: ClosedRange<UInt32> = 0x1161...0x1175
    /// The number before that of the first final consonant means "none".
    static let noFinal: UInt32 = 0x11a7
    static let finals: ClosedRange<UInt32> = 0x11a8...0x11c2

    static func parts(of scalar: Unicode.Scalar) -> [Unicode.Scalar]? {
        guard syllables ~= scalar.value else { return nil }
        let place = scalar.value - syllables.lowerBound
        let numbers = [leads.lowerBound + place / 588, vowels.lowerBound + place % 588 / 28, noFinal + place % 28]
        return numbers.filter { $0 != noFinal }.compactMap(Unicode.Scalar.init)
    }

    static func composition(_ first: Unicode.Scalar, _ second: Unicode.Scalar) -> Unicode.Scalar? {
        if leads ~= first.value, vowels ~= second.value {
            let place = (first.value - leads.lowerBound) * 588 + (second.value - vowels.lowerBound) * 28
            return Unicode.Scalar(syllables.lowerBound + place)
        }
        if syllables ~= first.value, (first.value - syllables.lowerBound) % 28 == 0, finals ~= second.value {
            return Unicode.Scalar(first.value + second.value - noFinal)
        }
        return nil
    }
}
