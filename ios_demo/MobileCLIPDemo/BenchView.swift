import MobileCLIPCore
import MobileCLIPKit
import SwiftUI

/// Measures the model on this phone and shares the report as JSON.
struct BenchView: View {
    let bundle: ModelBundle

    @Environment(AppModel.self) private var model
    @State private var bench: PhoneBench?
    @State private var json: String?
    @State private var problem: String?
    @State private var isRunning = false

    var body: some View {
        List {
            if let problem { Label(problem, systemImage: "exclamationmark.triangle") }
            if let bench {
                ForEach(bench.rows) { row in
                    Section(row.units.title) {
                        LabeledContent("Loading") { milliseconds(row.image.loadMilliseconds + row.text.loadMilliseconds) }
                        LabeledContent("Image") { milliseconds(row.image.latency.p50) }
                        LabeledContent("Text") { milliseconds(row.text.latency.p50) }
                        LabeledContent("Photos per second") {
                            Text(row.photosPerSecond.formatted(.number.precision(.fractionLength(0))))
                        }
                        LabeledContent("Memory") { Text(Int64(row.memoryBytes).formatted(.byteCount(style: .memory))) }
                    }
                }
                ForEach(bench.failed) { failure in
                    Section(failure.units.title) { Label(failure.reason, systemImage: "exclamationmark.triangle") }
                }
            }
            Button("Measure") { Task { await run() } }
                .disabled(isRunning)
            if isRunning { ProgressView() }
        }
        .navigationTitle(Text("Bench"))
        .toolbar {
            if let json { ShareLink(item: json, preview: SharePreview(Text("Bench of \(bundle.model.name)"))) }
        }
    }

    private func milliseconds(_ value: Double) -> Text {
        Text("\(value.formatted(.number.precision(.fractionLength(1)))) ms")
    }

    private func run() async {
        isRunning = true
        defer { isRunning = false }
        do {
            let parity = await model.services.parity?.rows ?? []
            let bench = EncoderBench(
                bundle: bundle, folder: AppFolders.compiledModels, device: Device.model, parity: parity)
            let result = try await bench.run { ErrorText.describe($0) }
            json = String(decoding: try result.json(), as: UTF8.self)
            self.bench = result
            problem = nil
        } catch {
            problem = ErrorText.describe(error)
        }
    }
}

extension ComputeUnits {
    var title: LocalizedStringKey {
        switch self {
        case .all: "All compute units"
        case .neuralEngine: "Neural Engine and processor"
        case .gpu: "Graphics and processor"
        case .cpu: "Processor alone"
        }
    }
}

/// The name of the phone's model, such as "iPhone15,2".
enum Device {
    static var model: String {
        var information = utsname()
        uname(&information)
        return withUnsafeBytes(of: &information.machine) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }
}
