import Foundation
import Testing

@testable import MobileCLIPCore

private struct Tokens: Decodable {
    struct Record: Decodable {
        var `class`: String
        var cleaning: TextSpec.Cleaning
        var text: String
        var ids: [Int32]
        var repaired_ids: [Int32]?
    }

    struct Row: Decodable {
        var text: String
        var context_length: Int
        var row: [Int32]
    }

    var records: [Record]
    var rows: [Row]
}

@Suite struct TokenizerTests {
    private static let merges = Golden.folder.appendingPathComponent("merges.txt")

    @Test func tokensEqualPythonsForEveryHardText() throws {
        let records = try Golden.read("tokens.json", as: Tokens.self).records
        #expect(Set(records.map { Array($0.text.utf8) }).count >= 2000)
        var different: [String] = []
        for cleaning in [TextSpec.Cleaning.lower, .canonicalize, .whitespace] {
            let tokenizer = try CLIPTokenizer(merges: Self.merges, spec: TextSpec(cleaning: cleaning))
            for record in records where record.cleaning == cleaning && tokenizer.encode(record.text) != record.ids {
                different.append("\(record.class) \(cleaning): \(record.text.debugDescription)")
            }
        }
        #expect(different.isEmpty, "\(different.count): \(different.prefix(20).joined(separator: "\n"))")
    }

    /// Only texts that were decoded wrongly give other ids than in Python.
    @Test func onlyWronglyDecodedTextsDifferFromPythons() throws {
        let repaired = try Golden.read("tokens.json", as: Tokens.self).records.filter { $0.repaired_ids != nil }
        #expect(repaired.allSatisfy { $0.class == "mojibake" })
    }

    @Test func rowsAreCutAndPaddedAsInPython() throws {
        for row in try Golden.read("tokens.json", as: Tokens.self).rows {
            let tokenizer = try CLIPTokenizer(merges: Self.merges, spec: TextSpec(contextLength: row.context_length))
            #expect(tokenizer(row.text) == row.row)
        }
    }

    @Test func damagedMergesAreRefused() throws {
        func error(_ text: String) -> TokenizerError? {
            do throws(TokenizerError) {
                _ = try CLIPTokenizer(merges: Data(text.utf8), spec: TextSpec())
                return nil
            } catch {
                return error
            }
        }
        #expect(error("") == .wrongHeader)
        #expect(error("a b\n") == .wrongHeader)
        #expect(error(CLIPTokenizer.header + "\n") == nil)
        #expect(error(CLIPTokenizer.header + "\na b\nc\n") == .badLine(number: 3))
        #expect(error(CLIPTokenizer.header + "\na b c\n") == .badLine(number: 2))
        #expect(error(CLIPTokenizer.header + "\nab c\n") == .impossibleMerge(line: 2))
        #expect(error(CLIPTokenizer.header + "\na b\na b\n") == .impossibleMerge(line: 3))
        #expect(error(CLIPTokenizer.header + "\na</w> b\n") == .impossibleMerge(line: 2))
    }

    @Test func whatTheModelCannotTakeIsRefused() throws {
        #expect(throws: TokenizerError.self) { try CLIPTokenizer(merges: Self.merges, spec: TextSpec(vocabularySize: 600)) }
        #expect(throws: TokenizerError.unsupportedKind("huggingface")) {
            try CLIPTokenizer(merges: Self.merges, spec: TextSpec(tokenizer: .huggingFace))
        }
        #expect(throws: TokenizerError.unreadable(path: "/nowhere")) {
            try CLIPTokenizer(merges: URL(fileURLWithPath: "/nowhere"), spec: TextSpec())
        }
    }

    /// Ten times as many letters take about ten times as long; merging pair by pair would take a hundred times as long.
    @Test func timeGrowsWithTheTextAndNotWithItsSquare() throws {
        let tokenizer = try CLIPTokenizer(merges: Self.merges, spec: TextSpec())
        func work(_ letters: Int) -> Double {
            let text = String(repeating: "x", count: letters)
            return (0..<3).map { _ in
                let started = Self.processorSeconds()
                #expect(tokenizer(text).count == 77)
                return Self.processorSeconds() - started
            }.min() ?? 0
        }
        let short = work(2_000)
        #expect(work(20_000) < 40 * short)
    }

    /// Processor time of this thread, independent of other programs.
    private static func processorSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
}
