import Foundation
import Testing

@testable import MobileCLIPCore

/// Knows a few words and counts its calls.
private actor FakeWords: QueryEncoder {
    var asked: [String] = []
    private let known: [String: [Float]]

    init(_ known: [String: [Float]]) { self.known = known }

    func encode(_ text: String) -> [Float] {
        asked.append(text)
        return known[text] ?? axis(15)
    }
}

private func axis(_ place: Int) -> [Float] { (0..<16).map { $0 == place ? 1 : 0 } }

@Suite struct PhotoSearchTests {
    private let scratch: Scratch
    private let files: LibraryIndex
    private let words = FakeWords(["dog": axis(0), "beach": axis(1), "people": axis(2)])

    init() throws {
        scratch = try Scratch()
        let bundle = try ModelBundle(contentsOf: Golden.folder.appendingPathComponent("bundle"))
        files = try #require(LibraryIndex(folder: scratch.url, model: bundle.model))
        var writer = try files.openWriter()
        let mixed = (0..<16).map { Float($0 == 1 ? 0.8 : $0 == 2 ? 0.6 : 0) }
        let read = (0..<16).map { Float($0 == 0 ? 0.6 : $0 == 7 ? 0.8 : 0) }
        try writer.append([
            FlatIndexItem(key: "dog", vector: axis(0)), FlatIndexItem(key: "beach", vector: axis(1)),
            FlatIndexItem(key: "crowded beach", vector: mixed), FlatIndexItem(key: "the word dog", vector: read),
        ])
    }

    private func found(_ request: SearchRequest, scale: Float = 0, textness: [Float]? = nil) async throws -> [String] {
        let search = try PhotoSearch(files: files, encoder: words, textness: textness)
        return try await search.search(request, textnessScale: scale, limit: 2).hits.map(\.key)
    }

    @Test func wordsFindTheNearestPhotos() async throws {
        #expect(try await found(.words("dog")) == ["dog", "the word dog"])
        #expect(try await found(.words("beach")) == ["beach", "crowded beach"])
    }

    @Test func signedWordsAreKeptOut() async throws {
        let search = try PhotoSearch(files: files, encoder: words, textness: nil)
        let hits = try await search.search(.words("beach -people"), textnessScale: 0, limit: 4).hits
        #expect(hits.first?.key == "beach")
        #expect(hits.first { $0.key == "crowded beach" }.map { $0.score < 0.2 } == true)
    }

    @Test func textnessMovesTheAnswerBothWays() async throws {
        #expect(try await found(.words("dog"), scale: 1, textness: axis(7)).first == "the word dog")
        #expect(try await found(.words("dog"), scale: -1, textness: axis(7)).first == "dog")
        #expect(try await found(.words("dog"), scale: 1, textness: nil).first == "dog")
    }

    @Test func moreLikeAPhotoLeavesItOut() async throws {
        #expect(try await found(.like(key: "crowded beach")).first == "beach")
        #expect(try await found(.like(key: "not there")).isEmpty)
    }

    @Test func nothingToLookForFindsNothingAndAsksNobody() async throws {
        #expect(try await found(.words("  ")).isEmpty)
        #expect(await words.asked.isEmpty)
    }

    @Test func wordsAreEncodedOnce() async throws {
        let search = try PhotoSearch(files: files, encoder: words, textness: nil)
        for _ in 0..<3 { _ = try await search.search(.words("dog -people"), textnessScale: 0.5, limit: 1) }
        #expect(await words.asked == ["dog", "people"])
    }

    @Test func newPhotosAreFoundAfterARefresh() async throws {
        let search = try PhotoSearch(files: files, encoder: words, textness: nil)
        do {
            var writer = try files.openWriter()
            try writer.append([FlatIndexItem(key: "another dog", vector: axis(0))])
        }
        #expect(try await search.search(.words("dog"), textnessScale: 0, limit: 2).hits.map(\.key) == ["dog", "the word dog"])
        try await search.refresh()
        #expect(try await search.search(.words("dog"), textnessScale: 0, limit: 2).hits.map(\.key) == ["dog", "another dog"])
    }
}
