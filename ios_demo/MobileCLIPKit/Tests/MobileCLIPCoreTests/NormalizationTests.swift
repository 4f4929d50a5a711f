import Foundation
import Testing

@testable import MobileCLIPCore

@Suite struct NormalizationTests {
    /// MCKIT_NORMALIZATION_LIST: lines of code points in hex, a semicolon, and their form C; absent in an ordinary run.
    @Test(.enabled(if: ProcessInfo.processInfo.environment["MCKIT_NORMALIZATION_LIST"] != nil))
    func formCEqualsAList() throws {
        let path = try #require(ProcessInfo.processInfo.environment["MCKIT_NORMALIZATION_LIST"])
        var different: [Substring] = []
        for line in try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n") {
            let sides = line.split(separator: ";", omittingEmptySubsequences: false).map { side in
                side.split(separator: " ").compactMap { UInt32($0, radix: 16) }.compactMap(Unicode.Scalar.init)
            }
            if Normalization.composed(sides[0]) != sides[1] { different.append(line) }
        }
        #expect(different.isEmpty, "\(different.count): \(different.prefix(10))")
    }

    @Test func marksAreOrderedAndBlockedAsTheStandardSays() {
        func composed(_ text: String) -> [UInt32] { Normalization.composed(Array(text.unicodeScalars)).map(\.value) }
        #expect(composed("e\u{301}") == [0xe9])
        #expect(composed("q\u{307}\u{323}") == [0x71, 0x323, 0x307])
        #expect(composed("a\u{328}\u{301}\u{301}") == [0x105, 0x301, 0x301])
        #expect(composed("\u{1100}\u{1161}\u{11a8}") == [0xac01])
        #expect(composed("\u{ac00}\u{11a8}") == [0xac01])
        #expect(composed("\u{10041}\u{301}") == [0x10041, 0x301])
        #expect(composed("\u{212b}\u{958}") == [0xc5, 0x915, 0x93c])
    }
}
