import Foundation
import Testing

@testable import MobileCLIPCore

@Suite struct ChecksumTests {
    /// The examples of FIPS 180-4's companion documents.
    @Test func sha256OfKnownMessages() {
        #expect(
            FileDigest.hex(of: Data("abc".utf8)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(FileDigest.hex(of: Data()) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(
            FileDigest.hex(of: Data(repeating: UInt8(ascii: "a"), count: 1_000_000))
                == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    #if !canImport(CryptoKit)
        @Test(arguments: [0, 1, 54, 55, 56, 63, 64, 65, 127, 128, 1000])
        func piecesHashLikeTheWhole(length: Int) {
            let data = Data((0..<length).map { UInt8(truncatingIfNeeded: $0 &* 7) })
            var hash = PortableSHA256()
            for start in stride(from: 0, to: length, by: 37) {
                data[start..<min(start + 37, length)].withUnsafeBytes { hash.update($0) }
            }
            #expect(FileDigest.hex(hash.finalize()) == FileDigest.hex(of: data))
        }
    #endif

    @Test func crcOfTheCheckString() {
        #expect(Data("123456789".utf8).withUnsafeBytes { CRC32.checksum($0) } == 0xcbf4_3926)
        #expect(Data().withUnsafeBytes { CRC32.checksum($0) } == 0)
    }

    @Test func everyHalfSurvivesTheWayToFloatAndBack() {
        for bits in UInt16.min...UInt16.max where bits & 0x7c00 != 0x7c00 || bits & 0x3ff == 0 {
            #expect(Half.bits(Half.float(bits)) == bits)
        }
        #expect(Half.float(Half.bits(.nan)).isNaN)
    }

    @Test func halvesBetweenTwoRoundToTheEvenOne() {
        #expect(Half.bits(1 + 0x1p-11) == 0x3c00)
        #expect(Half.bits(1 + 3 * 0x1p-11) == 0x3c02)
        #expect(Half.bits(0x1p-25) == 0)
        #expect(Half.bits(0x1.8p-24) == 2)
        #expect(Half.bits(65519) == 0x7bff)
        #expect(Half.bits(65520) == 0x7c00)
    }
}
