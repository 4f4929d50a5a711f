import Foundation
import Testing

@testable import MobileCLIPCore

/// Words and images of the golden index.
private actor Words: QueryEncoder {
    private let known: [String: [Float]]
    init(_ golden: GoldenConfidences) {
        known = Dictionary(uniqueKeysWithValues: golden.queries.map { ($0.text, $0.vector) })
    }

    func encode(_ text: String) throws -> [Float] {
        guard let vector = known[text] else { throw QueryError.empty }
        return vector
    }
}

private actor Images: ImageEncoding {
    private let index: FlatIndex
    init(_ index: FlatIndex) { self.index = index }
    func vectors(of images: [String]) throws -> [[Float]?] { try images.map { try index.row(ofKey: $0).map(index.vector) } }
    func unload() {}
}

@MainActor
private final class Phone: AppServices {
    let source: FakeLibrary
    let indexFolder: URL
    var settings = AppSettings()
    let isLimited = false
    var found: [BundleList.Entry] = []
    private let golden: GoldenConfidences
    private let index: FlatIndex

    init(_ folder: URL, photos: Int) throws {
        indexFolder = folder
        golden = try GoldenConfidences.read()
        index = try GoldenConfidences.index()
        source = FakeLibrary(Array(try index.items().map(\.key).prefix(photos)))
    }

    func bundles() async -> [BundleList.Entry] { found }
    func encoders(of bundle: ModelBundle) async throws -> (images: Images, words: Words) { (Images(index), Words(golden)) }
    func requestAccess() async -> Bool { true }
    func libraryChanges() -> AsyncStream<Void> { AsyncStream { $0.finish() } }
    func machine() -> (thermalState: IndexingPace.ThermalState, isLowPower: Bool) { (.nominal, false) }
    func sleep(for duration: Duration) async throws { await Task.yield() }
}

@MainActor
@Suite struct CutOffTests {
    private let scratch: Scratch

    init() throws { scratch = try Scratch() }

    /// A bundle of a model with 64 numbers, with or without background texts.
    private func makeBundle(background: Data?) throws -> BundleList.Entry {
        let url = scratch.file("mine")
        try FileManager.default.copyItem(at: Golden.folder.appendingPathComponent("bundle"), to: url)
        let place = url.appendingPathComponent(BundlePart.manifestName)
        var manifest = try #require(try JSONSerialization.jsonObject(with: Data(contentsOf: place)) as? [String: Any])
        var model = try #require(manifest["model"] as? [String: Any])
        let index = try GoldenConfidences.index()
        model["embedding_dim"] = index.header.dim
        model["model_hash"] = index.header.modelHash
        manifest["model"] = model
        var files = try #require(manifest["files"] as? [String: Any])
        for part in ["textness", "index", "samples"] { files[part] = nil }
        if let background {
            try background.write(to: url.appendingPathComponent(BundlePart.background.fileName))
            files["background"] = [
                "file": BundlePart.background.fileName, "size_bytes": background.count, "sha256": FileDigest.hex(of: background),
            ]
        }
        manifest["files"] = files
        try JSONSerialization.data(withJSONObject: manifest).write(to: place)
        return BundleList.Entry(url: url, result: .success(try ModelBundle(contentsOf: url)))
    }

    /// An app that has indexed some photos.
    private func open(background: Data?, photos: Int = 240) async throws -> AppSession<Phone> {
        let phone = try Phone(scratch.file("indexes"), photos: photos)
        phone.found = [try makeBundle(background: background)]
        let session = AppSession(services: phone)
        await session.start()
        _ = await session.indexInBackground()
        #expect(session.state.progress?.indexed == photos)
        return session
    }

    private func ask(_ words: String, _ session: AppSession<Phone>) async {
        session.ask(.words(words))
        while session.state.answered != .words(words) { await Task.yield() }
    }

    private func golden() throws -> Data { try Data(contentsOf: GoldenConfidences.backgroundURL) }

    @Test func resultsEndWhereHitsBecomeUncertain() async throws {
        let session = try await open(background: golden())
        await ask("a dog", session)
        #expect(session.state.hits.count == 200)
        // 40 photos show dogs; the index of bytes moves some confidences across the line.
        let certain = try #require(session.state.certain)
        #expect((30...40).contains(certain))
        #expect(session.state.shownHits.allSatisfy { $0.key.hasPrefix("dog/") })
        #expect(session.state.hiddenHits == 200 - certain)
        session.showUncertain()
        #expect(session.state.shownHits.count == 200)
        #expect(session.state.hiddenHits == 0)
    }

    @Test func nothingLikeThatIsSaidAndTheHitsAreThereOnRequest() async throws {
        let session = try await open(background: golden())
        await ask("a banana", session)
        #expect(session.state.shownHits.isEmpty)
        #expect(session.state.emptyReason == .nothingLikeThat)
        session.showUncertain()
        #expect(session.state.emptyReason == nil)
        #expect(session.state.shownHits.count == 200)
        // Only for this request.
        await ask("a piano", session)
        #expect(session.state.emptyReason == .nothingLikeThat)
    }

    @Test func wordsToAvoidChangeTheOrderAndNotWhatIsCertain() async throws {
        let session = try await open(background: golden())
        await ask("a dog -a horse", session)
        let certain = try #require(session.state.certain)
        #expect((30...40).contains(certain))
        #expect(session.state.shownHits.allSatisfy { $0.key.hasPrefix("dog/") })
        await ask("a banana -a horse", session)
        #expect(session.state.emptyReason == .nothingLikeThat)
        await ask("-a horse", session)
        #expect(session.state.certain == nil)
    }

    @Test func similarPhotosAreNotCut() async throws {
        let session = try await open(background: golden())
        let like = SearchRequest.like(key: "dog/000.png")
        session.ask(like)
        while session.state.answered != like { await Task.yield() }
        #expect(session.state.certain == nil)
        #expect(session.state.shownHits.count == 200)
    }

    @Test func aBundleWithoutBackgroundShowsAllHits() async throws {
        let session = try await open(background: nil)
        await ask("a banana", session)
        #expect(session.state.shownHits.count == 200)
        #expect(session.state.confidenceProblem == nil)
    }

    @Test func aDamagedBackgroundShowsAllHitsAndSaysWhy() async throws {
        let session = try await open(background: golden().dropLast(100))
        await ask("a banana", session)
        #expect(session.state.shownHits.count == 200)
        #expect(session.state.confidenceProblem == AppProblem(ManifestError.unreadable(name: "background.safetensors")))
    }

    @Test func aLibraryOfThreePhotosIsNotCut() async throws {
        let session = try await open(background: golden(), photos: 3)
        await ask("a banana", session)
        #expect(session.state.shownHits.count == 3)
        #expect(session.state.certain == nil)
    }

    @Test func theCutIsThereAgainWhenTheAppStartsPaused() async throws {
        let first = try await open(background: golden())
        #expect(first.state.progress?.state == .done)
        let phone = try Phone(scratch.file("indexes"), photos: 240)
        phone.found = [BundleList.Entry(url: scratch.file("mine"), result: .success(try ModelBundle(contentsOf: scratch.file("mine"))))]
        phone.settings.isPaused = true
        let later = AppSession(services: phone)
        await later.start()
        await ask("a banana", later)
        #expect(later.state.emptyReason == .nothingLikeThat)
    }
}
