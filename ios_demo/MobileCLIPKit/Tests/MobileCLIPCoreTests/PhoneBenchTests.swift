import Foundation
import Testing

@testable import MobileCLIPCore

@Suite struct PhoneBenchTests {
    /// This type writes the same bytes as Python's sample.
    @Test func theSampleIsReadAndWrittenUnchanged() throws {
        let data = try Data(contentsOf: Golden.folder.appendingPathComponent("phone-bench.json"))
        let bench = try JSONDecoder().decode(PhoneBench.self, from: data)
        #expect(bench.kind == PhoneBench.kind)
        #expect(bench.formatVersion == PhoneBench.formatVersion)
        #expect(bench.rows.map(\.units) == [.all, .neuralEngine, .cpu])
        #expect(bench.failed.map(\.units) == [.gpu])
        #expect(bench.rows[0].image.latency.p50 == 2.5)
        #expect(bench.machine.thermalStateAfter == .fair)
        #expect(bench.model.sizeBytes == [.image: 1000, .text: 2000])
        let written = try JSONSerialization.jsonObject(with: bench.json()) as? NSDictionary
        #expect(try written == JSONSerialization.jsonObject(with: data) as? NSDictionary)
    }

    @Test func theModelIsTheBundles() throws {
        let bundle = try ModelBundle(contentsOf: Golden.folder.appendingPathComponent("bundle"))
        let model = PhoneBench.Model(of: bundle)
        #expect(model.modelHash == bundle.model.modelHash)
        #expect(Set(model.sizeBytes.keys) == [.image, .text])
        #expect(model.sizeBytes[.image] == bundle.manifest.files[.image]?.sizeBytes)
    }

    @Test func quantilesLieBetweenMeasurements() {
        let latency = PhoneBench.Latency(milliseconds: [4, 1, 3, 2])
        #expect(latency.p50 == 2.5)
        #expect(abs(latency.p95 - 3.85) < 1e-12)
        #expect(latency.runs == 4)
        #expect(PhoneBench.Latency(milliseconds: [7]).p95 == 7)
        #expect(PhoneBench.Latency(milliseconds: []).runs == 0)
    }
}
