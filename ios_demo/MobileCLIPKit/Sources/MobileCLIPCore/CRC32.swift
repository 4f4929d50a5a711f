import Foundation

/// CRC-32 as in zlib (polynomial 0xEDB88320), eight bytes a step.
enum CRC32 {
    /// Eight tables of 256 words: table `k` advances a byte by `k` more zero bytes.
    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var value = UInt32(byte)
            for _ in 0..<8 { value = value & 1 == 1 ? (value >> 1) ^ 0xedb8_8320 : value >> 1 }
            tables[byte] = value
        }
        for k in 1..<8 {
            for byte in 0..<256 {
                let previous = tables[(k - 1) * 256 + byte]
                tables[k * 256 + byte] = (previous >> 8) ^ tables[Int(previous & 0xff)]
            }
        }
        return tables
    }()

    static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        tables.withUnsafeBufferPointer { t in
            var crc: UInt32 = 0xffff_ffff
            var offset = 0
            while offset &+ 8 <= bytes.count {
                let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) ^ UInt64(crc)
                crc = t[1792 &+ Int(word & 0xff)] ^ t[1536 &+ Int((word >> 8) & 0xff)]
                    ^ t[1280 &+ Int((word >> 16) & 0xff)] ^ t[1024 &+ Int((word >> 24) & 0xff)]
                    ^ t[768 &+ Int((word >> 32) & 0xff)] ^ t[512 &+ Int((word >> 40) & 0xff)]
                    ^ t[256 &+ Int((word >> 48) & 0xff)] ^ t[Int(word >> 56)]
                offset &+= 8
            }
            while offset < bytes.count {
                crc = (crc >> 8) ^ t[Int((crc ^ UInt32(bytes[offset])) & 0xff)]
                offset &+= 1
            }
            return ~crc
        }
    }
}
