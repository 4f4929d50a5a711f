import Foundation
import Testing

@testable import MobileCLIPCore

/// What `tests/golden/confidences.py` has written.
struct GoldenConfidences: Decodable {
    struct Query: Decodable {
        var text: String
        var vector: [Float]
        /// Of the hits, best first.
        var rows: [Int]
        var features: [[Double]]
        var confidences: [Double]
        var certain: Int
    }

    var far: [Float]
    var queries: [Query]

    static let folder = Golden.folder.appendingPathComponent("confidence")
    static let backgroundURL = folder.appendingPathComponent("background.safetensors")

    static func read() throws -> GoldenConfidences { try Golden.read("confidence/confidences.json", as: GoldenConfidences.self) }
    static func index() throws -> FlatIndex { try FlatIndex(contentsOf: folder.appendingPathComponent("library.mckitidx")) }
}

@Suite struct ConfidenceTests {
    private let golden: GoldenConfidences
    private let background: TextBackground
    private let index: FlatIndex

    init() throws {
        golden = try GoldenConfidences.read()
        background = try #require(TextBackground(contentsOf: GoldenConfidences.backgroundURL))
        index = try GoldenConfidences.index()
    }

    @Test func confidencesArePythons() throws {
        let scorer = ConfidenceScorer(background: background)
        for query in golden.queries {
            let hits = query.rows.map(index.vector)
            let features = try #require(scorer.features(of: query.vector, Array(hits.prefix(query.features.count))))
            for (found, expected) in zip(features, query.features) {
                // The last digits of single precision, of logarithms of small sums too.
                for (a, b) in zip(found, expected) { #expect(abs(a - b) < 2e-3 * max(1, abs(b)), "\(query.text)") }
            }
            let found = try #require(scorer.confidences(of: query.vector, hits))
            for (a, b) in zip(found, query.confidences) { #expect(abs(a - b) < 1e-3, "\(query.text)") }
            #expect(scorer.certainHits(of: query.vector, hits) == query.certain)
        }
        #expect(golden.queries.contains { $0.certain == 0 } && golden.queries.contains { $0.certain > 0 })
    }

    @Test func aQueryFarFromEveryTextHasNoConfidence() {
        let scorer = ConfidenceScorer(background: background)
        #expect(scorer.confidences(of: golden.far, [index.vector(ofRow: 0)]) == nil)
        #expect(scorer.certainHits(of: golden.queries[0].vector, []) == 0)
        #expect(scorer.confidences(of: [1], [[1]]) == nil)
    }

    @Test func theLibraryIsMeasuredAsPythonMeasuresIt() throws {
        let measured = try #require(background.measured(on: index)).statistics
        let stored = background.statistics
        #expect((measured.images, measured.rows) == (240, 240))
        for (found, expected) in [
            (measured.best, stored.best), (measured.mean, stored.mean), (measured.deviation, stored.deviation),
            (measured.imageMean, stored.imageMean), (measured.imageCovariance, stored.imageCovariance),
        ] {
            #expect(found.count == expected.count)
            #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 1e-5 })
        }
    }

    @Test func aDamagedBackgroundIsNoBackground() throws {
        let scratch = try Scratch()
        let whole = try Data(contentsOf: GoldenConfidences.backgroundURL)
        let url = scratch.file("background.safetensors")
        let header = 8 + whole.withUnsafeBytes { Int(UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self))) }
        func damaged(_ place: Int) throws -> TextBackground? {
            var copy = whole
            copy[place] ^= 0x10
            try copy.write(to: url)
            return TextBackground(contentsOf: url)
        }
        for size in (0..<whole.count).filter({ $0 < 40 || $0 % 997 == 0 }) {
            try whole.prefix(size).write(to: url)
            #expect(TextBackground(contentsOf: url) == nil)
        }
        for place in stride(from: header, to: whole.count, by: 1999) { #expect(try damaged(place) == nil) }
        // A changed header names another model, other texts, or nothing; it must not end the app.
        for place in stride(from: 0, to: header, by: 13) { _ = try damaged(place) }
        #expect(TextBackground(contentsOf: scratch.file("missing")) == nil)
        try whole.write(to: url)
        #expect(TextBackground(contentsOf: url) == background)
    }

    @Test(arguments: [
        #"{"__metadata__": {}, "texts": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 4]}}"#,
        #"{"__metadata__": {}, "texts": {"dtype": "F32", "shape": [1, 2], "data_offsets": [-8, 0]}}"#,
        #"{"__metadata__": {}, "texts": {"dtype": "F32", "shape": [1, 2], "data_offsets": [8, 16]}}"#,
        #"{"__metadata__": {}, "texts": {"dtype": "I64", "shape": [1, 2], "data_offsets": [0, 16]}}"#,
        #"{"__metadata__": {}, "texts": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}}"#,
        #"{"__metadata__": {}, "texts": {"dtype": "F32", "shape": [9223372036854775807, 2], "data_offsets": [0, 8]}}"#,
    ])
    func arraysThatDoNotFitTheFileAreRefused(header: String) throws {
        let length = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian, Array.init)
        let file = try #require(SafetensorsFile(Data(length + header.utf8) + Data(count: 8)))
        #expect(file.numbers(of: "texts", shape: try #require(file.shape(of: "texts"))) == nil)
    }

    @Test func statisticsAreMeasuredAgainAfterMuchHasChanged() async throws {
        let scratch = try Scratch()
        let json = #"{"name": "m", "embedding_dim": 64, "logit_scale": 1, "model_hash": "\#(background.modelHash)"}"#
        let model = try JSONDecoder().decode(ModelSpec.self, from: Data(json.utf8))
        let files = try #require(LibraryIndex(folder: scratch.url, model: model))
        func add(_ rows: Range<Int>) throws {
            var writer = try files.openWriter()
            try writer.append(rows.map { FlatIndexItem(key: "\($0)", vector: index.vector(ofRow: $0)) })
        }
        try add(0..<3)
        #expect(try await files.measuredBackground(background) == nil)
        try add(3..<200)
        #expect(files.storedBackground(background) == nil)
        let first = try #require(try await files.measuredBackground(background))
        #expect(first.statistics.images == 200)
        #expect(files.storedBackground(background) == first)
        try add(200..<215)
        #expect(try await files.measuredBackground(background) == first)
        try add(215..<240)
        #expect(try await files.measuredBackground(background)?.statistics.images == 240)
        try Data("{}".utf8).write(to: files.backgroundURL)
        #expect(files.storedBackground(background) == nil)
        #expect(try await files.measuredBackground(background)?.statistics.images == 240)
    }

    @Test func aCancelledMeasurementLeavesNothing() async throws {
        let (background, index) = (background, index)
        let task = Task { () -> Bool in
            withUnsafeCurrentTask { $0?.cancel() }
            return background.measured(on: index) == nil
        }
        #expect(await task.value)
    }
}
