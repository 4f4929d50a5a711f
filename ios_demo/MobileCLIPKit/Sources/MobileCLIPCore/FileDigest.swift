import Foundation

#if canImport(CryptoKit)
    import CryptoKit

    private typealias Hash = CryptoKit.SHA256

    extension CryptoKit.SHA256 {
        fileprivate mutating func update(_ bytes: UnsafeRawBufferPointer) { update(bufferPointer: bytes) }
    }
#else
    private typealias Hash = PortableSHA256
#endif

/// SHA-256 of data and files, as 64 lower-case hex digits.
public enum FileDigest {
    /// The digest of some bytes.
    public static func hex(of data: Data) -> String {
        var hash = Hash()
        data.withUnsafeBytes { hash.update($0) }
        return hex(Array(hash.finalize()))
    }

    /// The digest of a file, which is read in chunks.
    public static func hex(ofFile url: URL) throws -> String {
        let handle = try FileHandle(forReadingFrom: url)
        defer { try? handle.close() }
        var hash = Hash()
        while let piece = try handle.read(upToCount: 1 << 20), !piece.isEmpty { piece.withUnsafeBytes { hash.update($0) } }
        return hex(Array(hash.finalize()))
    }

    /// Bytes as hex digits.
    static func hex(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
