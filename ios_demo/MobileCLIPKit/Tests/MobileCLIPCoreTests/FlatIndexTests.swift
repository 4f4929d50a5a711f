import Foundation
import Testing

@testable import MobileCLIPCore

private struct Cases: Decodable {
    struct Search: Decodable {
        var query: [Float]
        var k: Int
        var hits: [Hit]
    }

    struct Hit: Decodable {
        var row: Int
        var key: String
        var score: Float

        init(from decoder: any Decoder) throws {
            var values = try decoder.unkeyedContainer()
            row = try values.decode(Int.self)
            key = try values.decode(String.self)
            score = try values.decode(Float.self)
        }
    }

    struct Case: Decodable {
        var name: String
        var dim: Int
        var numbers: String
        var operations: String
        var searches: [Search]

        var header: FlatIndexHeader? {
            FlatIndexHeader(dim: dim, numbers: numbers == "int8" ? .int8 : .float16, modelHash: Golden.modelHash)
        }
    }

    struct OneHot: Decodable {
        var count: Int
        var dim: Int
        var sha256: String
    }

    var model_hash: String
    var cases: [Case]
    var one_hot: OneHot
}

private struct Operations: Decodable {
    struct Item: Decodable {
        var key: String
        var stamp: Int64
        var vector: [Float]
    }

    struct Operation: Decodable {
        var append: [Item]?
        var remove: [String]?
    }

    var operations: [Operation]
}

extension Golden {
    static let modelHash = FileDigest.hex(of: Data("golden".utf8))

    static func index(_ name: String) -> URL { folder.appendingPathComponent("index/\(name).mckitidx") }
}

private func replay(_ entry: Cases.Case, at url: URL) throws {
    try FlatIndexWriter.create(at: url, header: #require(entry.header))
    var writer = try FlatIndexWriter(opening: url, modelHash: Golden.modelHash)
    for operation in try Golden.read("index/\(entry.operations)", as: Operations.self).operations {
        if let items = operation.append {
            try writer.append(items.map { FlatIndexItem(key: $0.key, stamp: $0.stamp, vector: $0.vector) })
        }
        if let keys = operation.remove { try writer.remove(keys) }
    }
}

@Suite struct FlatIndexGoldenTests {
    private let golden: Cases

    init() throws { golden = try Golden.read("index/cases.json", as: Cases.self) }

    @Test func writingGivesPythonsBytes() throws {
        let scratch = try Scratch()
        for entry in golden.cases {
            let url = scratch.file(entry.name)
            try replay(entry, at: url)
            #expect(try Data(contentsOf: url) == Data(contentsOf: Golden.index(entry.name)), "\(entry.name)")
        }
    }

    @Test func compactingGivesPythonsBytes() throws {
        let scratch = try Scratch()
        for entry in golden.cases {
            let url = scratch.file(entry.name)
            try FileManager.default.copyItem(at: Golden.index(entry.name), to: url)
            try FlatIndexWriter.compact(url, modelHash: Golden.modelHash)
            #expect(try Data(contentsOf: url) == Data(contentsOf: Golden.index("\(entry.name)-compacted")), "\(entry.name)")
            #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.url.path).count == 1)
            try FileManager.default.removeItem(at: url)
        }
    }

    @Test func manyItemsAreSplitIntoBatchesAsInPython() throws {
        let scratch = try Scratch()
        let url = scratch.file("one-hot")
        let dim = golden.one_hot.dim
        try FlatIndexWriter.create(at: url, header: #require(FlatIndexHeader(dim: dim, numbers: .int8, modelHash: Golden.modelHash)))
        var writer = try FlatIndexWriter(opening: url, modelHash: Golden.modelHash)
        try writer.append(
            (0..<golden.one_hot.count).map { number in
                FlatIndexItem(key: "item \(number)", stamp: Int64(number), vector: (0..<dim).map { $0 == number % dim ? 1 : 0 })
            })
        #expect(try FileDigest.hex(ofFile: url) == golden.one_hot.sha256)
    }

    /// The arithmetic is specified to the bit, so scores must be equal.
    @Test func searchesGivePythonsHits() throws {
        for entry in golden.cases {
            for name in [entry.name, "\(entry.name)-compacted"] {
                let index = try FlatIndex(contentsOf: Golden.index(name), modelHash: Golden.modelHash)
                for search in entry.searches {
                    let hits = try index.search(search.query, limit: search.k)
                    #expect(hits.map { Array($0.key.utf8) } == search.hits.map { Array($0.key.utf8) }, "\(name)")
                    #expect(hits.map(\.score) == search.hits.map(\.score), "\(name)")
                    if name == entry.name { #expect(hits.map(\.row) == search.hits.map(\.row)) }
                }
            }
        }
    }

    @Test func filesOfPythonAreSound() throws {
        for entry in golden.cases {
            let index = try FlatIndex(contentsOf: Golden.index(entry.name))
            try index.verify()
            #expect(index.header == entry.header)
            #expect(index.count < index.rows)
            #expect(try index.items().count == index.count)
        }
    }
}

/// A small index with three dimensions.
private func makeIndex(_ url: URL, _ keys: [String], numbers: FlatIndexHeader.Numbers = .int8) throws {
    try FlatIndexWriter.create(at: url, header: #require(FlatIndexHeader(dim: 3, numbers: numbers, modelHash: Golden.modelHash)))
    var writer = try FlatIndexWriter(opening: url, modelHash: Golden.modelHash)
    for key in keys { try writer.append([item(key)]) }
}

private func item(_ key: String, _ vector: [Float] = [0, 0.6, 0.8]) -> FlatIndexItem {
    FlatIndexItem(key: key, stamp: 7, vector: vector)
}

private func keys(_ url: URL) throws -> [String] {
    try FlatIndex(contentsOf: url, modelHash: Golden.modelHash).items().map(\.key)
}

@Suite struct FlatIndexTests {
    private let scratch: Scratch
    private let url: URL

    init() throws {
        scratch = try Scratch()
        url = scratch.file("index")
    }

    @Test func anEmptyIndexFindsNothing() throws {
        try makeIndex(url, [])
        let index = try FlatIndex(contentsOf: url)
        #expect(index.count == 0)
        #expect(try index.search([1, 0, 0], limit: 10).isEmpty)
    }

    @Test func fewerItemsThanAskedForAreAllFound() throws {
        try makeIndex(url, ["a", "b"])
        let index = try FlatIndex(contentsOf: url)
        #expect(try index.search([0, 0.6, 0.8], limit: 10).map(\.key) == ["a", "b"])
        #expect(try index.search([0, 0.6, 0.8], limit: 0).isEmpty)
        #expect(try index.search([0, 0.6, 0.8], limit: 10, excluding: 0).map(\.key) == ["b"])
    }

    /// Wherever a crash truncates the file, complete batches are kept, and the next writer continues after them.
    @Test func aCutAnywhereLosesAtMostTheLastBatch() throws {
        try makeIndex(url, ["a", "b", "c"])
        let whole = try Data(contentsOf: url)
        let batchBytes = (whole.count - 64) / 3
        for length in stride(from: 64, through: whole.count, by: 7) {
            try whole.prefix(length).write(to: url)
            let expected = Array(["a", "b", "c"].prefix((length - 64) / batchBytes))
            #expect(try keys(url) == expected)
            var writer = try FlatIndexWriter(opening: url, modelHash: Golden.modelHash)
            try writer.append([item("d")])
            #expect(try keys(url) == expected + ["d"])
        }
    }

    @Test func garbageAfterTheLastBatchIsOverwritten() throws {
        try makeIndex(url, ["a"])
        let sound = try Data(contentsOf: url)
        for garbage in [Data(count: 500), Data(repeating: 0xff, count: 64), Data("mckitbat".utf8)] {
            try (sound + garbage).write(to: url)
            #expect(try keys(url) == ["a"])
            var writer = try FlatIndexWriter(opening: url, modelHash: Golden.modelHash)
            try writer.append([item("b")])
            #expect(try keys(url) == ["a", "b"])
        }
    }

    @Test func anAlteredLastBatchDoesNotCount() throws {
        try makeIndex(url, ["a", "b"])
        var bytes = try Data(contentsOf: url)
        bytes[bytes.count - 64] ^= 1
        try bytes.write(to: url)
        #expect(try keys(url) == ["a"])
    }

    @Test func damageBeforeSoundBatchesIsRefusedAndNothingIsCutOff() throws {
        try makeIndex(url, ["a", "b", "c"])
        var bytes = try Data(contentsOf: url)
        let second = 64 + (bytes.count - 64) / 3
        bytes[second + 9] ^= 1
        try bytes.write(to: url)
        #expect(throws: FlatIndexError.damaged(byte: second)) { try FlatIndex(contentsOf: url) }
        #expect(throws: FlatIndexError.damaged(byte: second)) {
            _ = try FlatIndexWriter(opening: url, modelHash: Golden.modelHash).rows
        }
        #expect(try Data(contentsOf: url) == bytes)
    }

    @Test func damageInsideABatchIsFoundByVerifying() throws {
        try makeIndex(url, ["a", "b"])
        var bytes = try Data(contentsOf: url)
        bytes[64 + 64] ^= 1
        try bytes.write(to: url)
        let index = try FlatIndex(contentsOf: url)
        #expect(throws: FlatIndexError.damaged(byte: 64)) { try index.verify() }
    }

    @Test func whatIsNoIndexIsRefused() throws {
        #expect(throws: FlatIndexError.missing(path: url.path)) { try FlatIndex(contentsOf: url) }
        try Data().write(to: url)
        #expect(throws: FlatIndexError.notAnIndex) { try FlatIndex(contentsOf: url) }
        try makeIndex(scratch.file("other"), [])
        var bytes = try Data(contentsOf: scratch.file("other"))
        try bytes.prefix(63).write(to: url)
        #expect(throws: FlatIndexError.notAnIndex) { try FlatIndex(contentsOf: url) }
        bytes[12] ^= 1
        try bytes.write(to: url)
        #expect(throws: FlatIndexError.headerDamaged) { try FlatIndex(contentsOf: url) }
        bytes[8] = 9
        try bytes.write(to: url)
        #expect(throws: FlatIndexError.otherVersion(9)) { try FlatIndex(contentsOf: url) }
    }

    @Test func anotherModelsIndexIsRefused() throws {
        try makeIndex(url, ["a"])
        let other = String(repeating: "0", count: 64)
        #expect(throws: FlatIndexError.otherModel(found: Golden.modelHash, expected: other)) {
            try FlatIndex(contentsOf: url, modelHash: other)
        }
    }

    @Test func aFullDiskLosesNothing() throws {
        try makeIndex(url, ["a"])
        let before = try Data(contentsOf: url)
        var writer = try FlatIndexWriter(opening: url, modelHash: Golden.modelHash, capacity: before.count + 100)
        do throws(FlatIndexError) {
            try writer.append([item("b")])
            Issue.record("there was no room")
        } catch {
            #expect(error == .diskFull)
        }
        #expect(try Data(contentsOf: url) == before)
        #expect(writer.row(ofKey: "a") == 0)
        #expect(writer.row(ofKey: "b") == nil)
    }

    @Test func aSecondWriterIsRefused() throws {
        try makeIndex(url, [])
        let first = try FlatIndexWriter(opening: url, modelHash: Golden.modelHash)
        #expect(throws: FlatIndexError.busy) { _ = try FlatIndexWriter(opening: url, modelHash: Golden.modelHash).rows }
        #expect(first.rows == 0)
    }

    @Test func anOpenReaderKeepsWhatItSaw() throws {
        try makeIndex(url, ["a", "b"])
        let reader = try FlatIndex(contentsOf: url)
        var writer = try FlatIndexWriter(opening: url, modelHash: Golden.modelHash)
        try writer.append([item("a", [1, 0, 0]), item("c")])
        try writer.remove(["b"])
        #expect(try reader.items().map(\.key) == ["a", "b"])
        #expect(reader.vector(ofRow: 0)[0] == 0)
        let later = try FlatIndex(contentsOf: url)
        #expect(try later.items().map(\.key) == ["a", "c"])
        #expect(try later.search([1, 0, 0], limit: 1).map(\.key) == ["a"])
    }

    @Test func badItemsAreRefusedBeforeAnythingIsWritten() throws {
        try makeIndex(url, [])
        var writer = try FlatIndexWriter(opening: url, modelHash: Golden.modelHash)
        let bad: [([FlatIndexItem], FlatIndexError)] = [
            ([item("")], .badKey("")),
            ([item("a"), item("a")], .repeatedKey("a")),
            ([item("a"), item("b", [1, 0])], .wrongShape(expected: 3, found: 2)),
            ([item("a", [0, 0, 0])], .notUnitLength(key: "a")),
            ([item("a", [.nan, 0, 1])], .notUnitLength(key: "a")),
        ]
        for (items, expected) in bad {
            do throws(FlatIndexError) {
                try writer.append(items)
                Issue.record("\(expected)")
            } catch {
                #expect(error == expected)
            }
        }
        #expect(try Data(contentsOf: url).count == 64)
    }

    @Test func aRowIsFoundByItsKey() throws {
        try makeIndex(url, ["a", "b", "e\u{301}"])
        do {
            var writer = try FlatIndexWriter(opening: url, modelHash: Golden.modelHash)
            try writer.append([item("b", [1, 0, 0])])
            try writer.remove(["a"])
        }
        let index = try FlatIndex(contentsOf: url)
        #expect(try index.row(ofKey: "b") == 3)
        #expect(try index.row(ofKey: "a") == nil)
        #expect(try index.row(ofKey: "") == nil)
        // Keys are compared by their bytes; this one only looks the same.
        #expect(try index.row(ofKey: "\u{e9}") == nil)
        #expect(try index.row(ofKey: "e\u{301}") == 2)
    }

    @Test func stampsAndVectorsComeBack() throws {
        for numbers in FlatIndexHeader.Numbers.allCases {
            let place = scratch.file("\(numbers)")
            try makeIndex(place, ["a"], numbers: numbers)
            let index = try FlatIndex(contentsOf: place)
            #expect(index.stamp(ofRow: 0) == 7)
            #expect(zip(index.vector(ofRow: 0), [0, 0.6, 0.8]).allSatisfy { abs($0 - $1) < 0.004 })
        }
    }
}
