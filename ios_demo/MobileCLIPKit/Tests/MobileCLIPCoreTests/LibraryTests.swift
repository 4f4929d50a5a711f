import Foundation
import Testing

@testable import MobileCLIPCore

@Suite struct LibraryTests {
    private let scratch: Scratch
    private let library: LibraryIndex

    init() throws {
        scratch = try Scratch()
        let bundle = try ModelBundle(contentsOf: Golden.folder.appendingPathComponent("bundle"))
        library = try #require(LibraryIndex(folder: scratch.file("indexes"), model: bundle.model))
    }

    private func item(_ key: String, stamp: Int64) -> FlatIndexItem {
        FlatIndexItem(key: key, stamp: stamp, vector: (0..<16).map { $0 == 0 ? 1 : 0 })
    }

    private func photo(_ key: String, _ stamp: Int64) -> LibraryPhoto { LibraryPhoto(key: key, stamp: stamp) }

    @Test func newAndEditedPhotosAreIndexedAndGoneOnesRemoved() throws {
        var writer = try library.openWriter()
        try writer.append([item("kept", stamp: 1), item("edited", stamp: 1), item("gone", stamp: 1)])
        let photos = [photo("new", 5), photo("kept", 1), photo("edited", 2), photo("broken", 3), photo("mended", 4)]
        var failures = FailureLog()
        failures.record(photo("broken", 3), .undecodable)
        failures.record(photo("mended", 3), .undecodable)
        let plan = try LibraryPlan(library: photos, index: library.open(), failures: failures, renewsProvisional: false)
        #expect(plan.toIndex.map(\.key) == ["new", "edited", "mended"])
        #expect(plan.toRemove == ["gone"])
    }

    @Test func failuresSurviveAndMayBeRetried() throws {
        var failures = FailureLog()
        failures.record(photo("a", 1), .notDownloaded)
        failures.record(photo("b", 1), .undecodable)
        try FileManager.default.createDirectory(at: scratch.file("indexes"), withIntermediateDirectories: true)
        try failures.write(to: library.failuresURL)
        var read = FailureLog(contentsOf: library.failuresURL)
        #expect(read == failures)
        #expect(read.counts == [.notDownloaded: 1, .undecodable: 1])
        #expect(read.retry(.notDownloaded) == [photo("a", 1)])
        #expect(!read.hasFailed(photo("a", 1)))
        #expect(read.hasFailed(photo("b", 1)))
        #expect(FailureLog(contentsOf: scratch.file("nowhere")) == FailureLog())
    }

    @Test func manyRemovedRowsAreWorthCompacting() throws {
        do {
            var writer = try library.openWriter()
            try writer.append((0..<1500).map { item("\($0)", stamp: 0) })
            try writer.remove((0..<600).map { "\($0)" })
        }
        try library.compactIfWorthwhile()
        let index = try library.open()
        #expect(index.rows == 900)
        #expect(index.count == 900)
    }

    @Test func aDamagedIndexIsSetAsideAndANewOneBegun() throws {
        _ = try library.open()
        try Data("nonsense".utf8).write(to: library.indexURL)
        #expect(throws: FlatIndexError.notAnIndex) { try library.open() }
        try library.setAside()
        #expect(try library.open().count == 0)
        #expect(FileManager.default.fileExists(atPath: library.indexURL.appendingPathExtension("damaged").path))
    }

    /// Rebuilding discards the index, so it is suggested only for an index that cannot be read.
    @Test func onlyAnUnreadableIndexCallsForRebuilding() {
        let unreadable: [FlatIndexError] = [
            .notAnIndex, .headerDamaged, .damaged(byte: 64), .otherVersion(2), .otherModel(found: "", expected: ""),
        ]
        #expect(unreadable.allSatisfy { $0.callsForRebuilding })
        let passing: [FlatIndexError] = [.diskFull, .busy, .cannotWrite(code: 5), .missing(path: ""), .badKey("")]
        #expect(passing.allSatisfy { !$0.callsForRebuilding })
    }

    @Test func aHotOrSavingPhoneIsWorkedLess() {
        #expect(IndexingPace(thermalState: .nominal, isLowPower: false, isInForeground: true) == .work(photos: 32, restMilliseconds: 0))
        for isInForeground in [true, false] {
            #expect(IndexingPace(thermalState: .critical, isLowPower: false, isInForeground: isInForeground) == .wait(seconds: 60))
        }
        #expect(IndexingPace(thermalState: .serious, isLowPower: true, isInForeground: true) == .wait(seconds: 30))
        #expect(IndexingPace(thermalState: .serious, isLowPower: false, isInForeground: false) == .wait(seconds: 30))
    }
}
