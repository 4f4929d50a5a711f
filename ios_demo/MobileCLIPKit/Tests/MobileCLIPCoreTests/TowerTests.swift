import Foundation
import Testing

@testable import MobileCLIPCore

private struct Broken: Error {}

/// A tower whose vectors are known.
private actor FakeTower: Tower {
    nonisolated let place: TowerPlace
    private var vector: [Float]?
    private(set) var loads = 0
    private(set) var unloads = 0
    private(set) var predictions = 0
    private var isLoaded = false

    init(_ place: TowerPlace, _ vector: [Float]?) {
        self.place = place
        self.vector = vector
    }

    func load() throws {
        guard vector != nil else { throw Broken() }
        if !isLoaded { loads += 1 }
        isLoaded = true
    }

    func predict(_ inputs: [TowerInput]) throws -> [[Float]?] {
        try load()
        predictions += 1
        return inputs.map { _ in vector }
    }

    func mend(_ vector: [Float]) { self.vector = vector }

    func unload() {
        if isLoaded { unloads += 1 }
        isLoaded = false
    }
}

@Suite struct TowerTests {
    private let scratch: Scratch
    private let right: [Float] = [0.6, 0.8]
    private let samples = TowerSamples(leastCosine: 0.97, samples: [TowerSample(input: .tokens([1, 2]), vector: [0.6, 0.8])])

    init() throws { scratch = try Scratch() }

    private func log(_ subject: String = "bundle, system") -> ParityLog {
        ParityLog(url: scratch.file("parity.json"), subject: subject)
    }

    @Test func aPlaceThatComputesWronglyIsPassedOver() async throws {
        let wrong = FakeTower(TowerPlace(.coreAI, .all), [0.8, -0.6])
        let missing = FakeTower(TowerPlace(.coreAI, .cpu), nil)
        let good = FakeTower(TowerPlace(.coreML, .neuralEngine), right)
        let unused = FakeTower(TowerPlace(.coreML, .cpu), right)
        let log = log()
        let tower = CheckedTower(.text, candidates: [wrong, missing, good, unused], samples: samples, log: log)
        #expect(try await tower.predict([.tokens([7])]) == [right])
        #expect(await tower.place() == TowerPlace(.coreML, .neuralEngine))
        #expect(await wrong.unloads == 1)
        #expect(await unused.loads == 0)
        let rows = await log.rows
        #expect(rows.map(\.passes) == [false, false, true])
        #expect(rows[0].cosine == 0)
        #expect(rows[1].reason == "Broken()")
    }

    @Test func aComparisonIsMadeOnceForABundleAndASystem() async throws {
        let place = TowerPlace(.coreML, .neuralEngine)
        for (subject, predictions) in [("first", 2), ("first", 1), ("system update", 2)] {
            let tower = FakeTower(place, right)
            let checked = CheckedTower(.text, candidates: [tower], samples: samples, log: log(subject))
            _ = try await checked.predict([.tokens([7])])
            #expect(await tower.predictions == predictions)
        }
    }

    @Test func manyCallersLoadTheModelOnceAndItCanBeReleased() async throws {
        let tower = FakeTower(TowerPlace(.coreML, .cpu), right)
        let checked = CheckedTower(.image, candidates: [tower], samples: .none, log: log())
        await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<20 { group.addTask { _ = try await checked.predict([.tokens([1])]) } }
        }
        #expect(await tower.loads == 1)
        await checked.unload()
        #expect(await tower.unloads == 1)
        _ = try await checked.predict([.tokens([1])])
        #expect(await tower.loads == 2)
    }

    @Test func ifNoPlaceWorksTheReasonsAreGivenAndTheNextCallTriesAgain() async throws {
        let wrong = FakeTower(TowerPlace(.coreAI, .all), [0.8, -0.6])
        let checked = CheckedTower(.text, candidates: [wrong], samples: samples, log: log())
        await #expect(throws: CheckedTowerError.self) { try await checked.predict([.tokens([7])]) }
        await #expect(throws: CheckedTowerError.self) { try await checked.predict([.tokens([7])]) }
    }

    @Test func aPlaceThatDidNotRunIsTriedAgainAtTheNextCallAndAfterTheNextStart() async throws {
        let (first, second) = (FakeTower(TowerPlace(.coreML, .neuralEngine), nil), FakeTower(TowerPlace(.coreML, .cpu), nil))
        let checked = CheckedTower(.text, candidates: [first, second], samples: samples, log: log())
        await #expect(throws: CheckedTowerError.self) { try await checked.predict([.tokens([7])]) }
        await second.mend(right)
        #expect(try await checked.predict([.tokens([7])]) == [right])
        await first.mend(right)
        let later = CheckedTower(.text, candidates: [first, second], samples: samples, log: log())
        _ = try await later.predict([.tokens([7])])
        #expect(await later.place() == first.place)
    }

    @Test func allPlacesAreComparedForTheParityScreen() async throws {
        let towers = [
            FakeTower(TowerPlace(.coreAI, .all), [.nan, 1]), FakeTower(TowerPlace(.coreML, .cpu), right),
            FakeTower(TowerPlace(.coreML, .all), [1]),
        ]
        let rows = await CheckedTower(.text, candidates: towers, samples: samples, log: log()).compareAll()
        #expect(rows.map(\.cosine) == [-1, rows[1].cosine, -1])
        #expect(rows.map(\.passes) == [false, true, false])
        for tower in towers { #expect(await tower.unloads == 1) }
    }

    // MARK: Samples

    @Test func aBundleHasSamplesOfBothTowers() throws {
        let folder = scratch.file("bundle")
        try FileManager.default.copyItem(at: Golden.folder.appendingPathComponent("bundle"), to: folder)
        #expect(try ModelBundle(contentsOf: folder).samples(of: .image) == .none)
        let document = #"""
            {"least_cosine": 0.99, "image_height": 1, "image_width": 2,
             "images": [{"rgb_base64": "AQIDBAUG", "vector": [0.6, 0.8]}], "texts": [{"ids": [3, 4], "vector": [1, 0]}]}
            """#
        let url = folder.appendingPathComponent("samples.json")
        try Data(document.utf8).write(to: url)
        let manifest = folder.appendingPathComponent("manifest.json")
        let text = try String(contentsOf: manifest, encoding: .utf8)
        let entry = #""samples": {"file": "samples.json", "size_bytes": \#(document.utf8.count), "sha256": ""},"#
        try Data(text.replacingOccurrences(of: #""files": {"#, with: #""files": {"# + entry).utf8).write(to: manifest)
        let bundle = try ModelBundle(contentsOf: folder)
        let image = try #require(PixelImage(width: 2, height: 1, bytes: [1, 2, 3, 255, 4, 5, 6, 255]))
        let images = TowerSamples(leastCosine: 0.99, samples: [TowerSample(input: .image(image), vector: [0.6, 0.8])])
        #expect(try bundle.samples(of: .image) == images)
        #expect(try bundle.samples(of: .text).samples == [TowerSample(input: .tokens([3, 4]), vector: [1, 0])])
        try Data(document.replacingOccurrences(of: "AQID", with: "    ").utf8).write(to: url)
        #expect(throws: ManifestError.unreadable(name: "samples.json")) { try bundle.samples(of: .image) }
    }

    // MARK: Converted models

    @Test func aConvertedModelThatDoesNotLoadIsConvertedAgain() async throws {
        let kept = scratch.file("cache/model.mlmodelc")
        var conversions = 0
        func load() async throws -> String {
            try await loadConverted(
                at: kept,
                convert: {
                    conversions += 1
                    let fresh = scratch.file("fresh")
                    try Data("good".utf8).write(to: fresh)
                    return fresh
                },
                load: { url in
                    let text = try String(contentsOf: url, encoding: .utf8)
                    guard text == "good" else { throw Broken() }
                    return text
                })
        }
        #expect(try await load() == "good")
        #expect(try await load() == "good")
        #expect(conversions == 1)
        try Data("truncated".utf8).write(to: kept)
        #expect(try await load() == "good")
        #expect(conversions == 2)
    }

    @Test func aModelThatNeverLoadsIsAnErrorAndConvertedOnce() async throws {
        var conversions = 0
        await #expect(throws: Broken.self) {
            try await loadConverted(
                at: scratch.file("model"),
                convert: {
                    conversions += 1
                    try Data().write(to: scratch.file("fresh"))
                    return scratch.file("fresh")
                }, load: { _ in throw Broken() })
        }
        #expect(conversions == 1)
    }
}
