import Foundation
import Testing

@testable import MobileCLIPCore

@Suite struct ModelBundleTests {
    private let scratch: Scratch
    private let url: URL

    init() throws {
        scratch = try Scratch()
        url = scratch.file("bundle")
        try FileManager.default.copyItem(at: Golden.folder.appendingPathComponent("bundle"), to: url)
    }

    @Test func aBundleOfPythonOpensWithAllItsParts() throws {
        let bundle = try ModelBundle(contentsOf: url, check: .hashes)
        #expect(bundle.model.name == "tiny")
        #expect(bundle.model.image?.width == 32)
        // The golden bundle is older than the other parts.
        let parts: Set<BundlePart> = [.image, .text, .merges, .textness, .index]
        #expect(Set(bundle.manifest.files.keys) == parts)
        for part in parts { #expect(bundle.manifest.files[part]?.file == part.fileName) }

        let tokenizer = try CLIPTokenizer(merges: bundle.requiredURL(of: .merges), spec: #require(bundle.model.text))
        #expect(tokenizer("a photo of a dog").count == 12)
        let index = try FlatIndex(contentsOf: bundle.requiredURL(of: .index), modelHash: bundle.model.modelHash)
        #expect(try index.items().map(\.key) == (0..<5).map { "photo \($0).jpg" })
        #expect(index.stamp(ofRow: 3) == 3000)
        let textness = try #require(try bundle.textness())
        let query = try QueryVector(index.vector(ofRow: 2)).adding(textness: textness, scale: 0)
        #expect(try index.search(query.vector, limit: 1).map(\.row) == [2])
    }

    @Test func aFileThatIsMissingShortOrAlteredIsNamed() throws {
        let merges = url.appendingPathComponent("merges.txt")
        var bytes = try Data(contentsOf: merges)
        bytes[100] ^= 1
        try bytes.write(to: merges)
        _ = try ModelBundle(contentsOf: url, check: .sizes)
        #expect(throws: ManifestError.altered(name: "merges.txt")) { try ModelBundle(contentsOf: url, check: .hashes) }
        try bytes.dropLast().write(to: merges)
        #expect(throws: ManifestError.wrongSize(name: "merges.txt", found: bytes.count - 1, expected: bytes.count)) {
            try ModelBundle(contentsOf: url)
        }
        try FileManager.default.removeItem(at: merges)
        #expect(throws: ManifestError.fileMissing(name: "merges.txt")) { try ModelBundle(contentsOf: url) }
    }

    @Test func aManifestThatLacksANeededPartIsRefused() throws {
        let place = url.appendingPathComponent(BundlePart.manifestName)
        let whole = try Data(contentsOf: place)
        for part in BundlePart.allCases {
            var document = try #require(try JSONSerialization.jsonObject(with: whole) as? [String: Any])
            var files = try #require(document["files"] as? [String: Any])
            files[part.rawValue] = nil
            document["files"] = files
            try JSONSerialization.data(withJSONObject: document).write(to: place)
            if part.isRequired {
                #expect(throws: ManifestError.partMissing(part)) { try ModelBundle(contentsOf: url) }
            } else {
                #expect(try ModelBundle(contentsOf: url).url(of: part) == nil)
            }
        }
    }

    @Test func aFileAddedToAPackageIsNoticed() throws {
        try Data([1]).write(to: url.appendingPathComponent("image.mlpackage/extra"))
        #expect(throws: ManifestError.self) { try ModelBundle(contentsOf: url) }
    }

    @Test func manifestsThatCannotBeReadAreRefused() throws {
        let place = url.appendingPathComponent(BundlePart.manifestName)
        let text = try String(contentsOf: place, encoding: .utf8)
        func refusal(_ text: String) throws -> ManifestError? {
            try Data(text.utf8).write(to: place)
            do throws(ManifestError) {
                _ = try ModelBundle(contentsOf: url)
                return nil
            } catch {
                return error
            }
        }
        #expect(try refusal(text.replacingOccurrences(of: "\"format_version\": 1,\n  \"kind\"", with: "\"format_version\": 7,\n  \"kind\"")) == .otherVersion(7))
        #expect(try refusal(text.replacingOccurrences(of: "\"format_version\": 1,\n    \"towers\"", with: "\"format_version\": 8,\n    \"towers\"")) == .otherVersion(8))
        let other = try refusal(text.replacingOccurrences(of: "\"kind\": \"bundle\"", with: "\"kind\": \"cache\""))
        #expect(other == .damaged(reason: "kind: cache"))
        #expect(try refusal(text.replacingOccurrences(of: "merges.txt", with: "../merges.txt")) == .outsideBundle(name: "../merges.txt"))
        let broken = try refusal(String(text.dropLast(20)))
        if case .damaged = broken {} else { Issue.record("\(String(describing: broken))") }
        try FileManager.default.removeItem(at: place)
        #expect(throws: ManifestError.missing(path: place.path)) { try ModelBundle(contentsOf: url) }
    }

    @Test func aTextnessVectorOfAnotherModelIsRefused() throws {
        let place = url.appendingPathComponent("textness.json")
        let text = try String(contentsOf: place, encoding: .utf8)
        let bundle = try ModelBundle(contentsOf: url)
        let other = text.replacingOccurrences(of: bundle.model.modelHash, with: String(repeating: "0", count: 64))
        try Data(other.utf8).write(to: place)
        #expect(throws: ManifestError.otherModel(.textness)) { try bundle.textness() }
    }
}
