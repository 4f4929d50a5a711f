import Foundation

/// IEEE 754 half precision as bits, because Swift's `Float16` does not exist on Intel Macs.
enum Half {
    /// The nearest half, rounding half to even.
    static func bits(_ value: Float) -> UInt16 {
        let sign = UInt16(truncatingIfNeeded: value.bitPattern >> 16) & 0x8000
        let magnitude = value.magnitude
        if magnitude.isNaN { return sign | 0x7e00 }
        if magnitude >= 65520 { return sign | 0x7c00 }
        if magnitude < 0x1p-14 {
            // Multiples of 2⁻²⁴, 1024 of which are the least normal number.
            return sign | UInt16((magnitude * 0x1p24).rounded(.toNearestOrEven))
        }
        // Thirteen bits are dropped; adding just under half of the last kept bit, plus that bit, rounds half to even.
        let kept = magnitude.bitPattern &- 112 << 23
        return sign | UInt16(truncatingIfNeeded: (kept &+ 0xfff &+ (kept >> 13 & 1)) >> 13)
    }

    static func float(_ bits: UInt16) -> Float {
        let sign = UInt32(bits & 0x8000) << 16
        if bits & 0x7c00 == 0x7c00 { return Float(bitPattern: sign | 0x7f80_0000 | UInt32(bits & 0x3ff) << 13) }
        let scaled = Float(bitPattern: UInt32(bits & 0x7fff) << 13) * 0x1p112
        return Float(bitPattern: sign | scaled.bitPattern)
    }
}
