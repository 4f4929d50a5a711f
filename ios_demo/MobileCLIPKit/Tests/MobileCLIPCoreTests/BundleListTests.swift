import Foundation
import MobileCLIPCore
import Testing

@Suite struct BundleListTests {
    @Test func bundlesAreFoundAndBrokenOnesExplained() throws {
        let golden = URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("tests/golden")
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("bundleEntries-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.copyItem(at: golden.appendingPathComponent("bundle"), to: folder.appendingPathComponent("b"))
        try FileManager.default.copyItem(at: golden.appendingPathComponent("bundle"), to: folder.appendingPathComponent("a"))
        try FileManager.default.removeItem(at: folder.appendingPathComponent("a/merges.txt"))
        let entries = BundleList(folders: [folder, folder.appendingPathComponent("nowhere")]).entries()
        #expect(entries.map(\.url.lastPathComponent) == ["a", "b"])
        #expect(throws: ManifestError.fileMissing(name: "merges.txt")) { try entries[0].result.get() }
        #expect(try entries[1].result.get().model.name == "tiny")
    }
}
