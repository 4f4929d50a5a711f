import MobileCLIPCore
import MobileCLIPKit
import SwiftUI

/// Compares the model on this phone with the bundle's samples, in each place.
struct ParityView: View {
    let bundle: ModelBundle

    @Environment(AppModel.self) private var model
    @State private var rows: [ParityRow] = []
    @State private var problem: String?
    @State private var isRunning = false

    var body: some View {
        List {
            if let problem { Label(problem, systemImage: "exclamationmark.triangle") }
            Section {
                ForEach(rows) { row in ParityRowView(row: row) }
            } footer: {
                Text("Cosine between this phone's vectors and those of the model in full precision. The app uses the first that is right.")
            }
            Button("Compare") { Task { await run() } }
                .disabled(isRunning)
            if isRunning { ProgressView() }
        }
        .navigationTitle(Text("Comparison"))
        .task { rows = await model.services.parity?.rows ?? [] }
    }

    private func run() async {
        isRunning = true
        defer { isRunning = false }
        do {
            let towers = try model.services.towers(of: bundle)
            rows = await towers.image.compareAll() + towers.text.compareAll()
            problem = nil
        } catch {
            problem = ErrorText.describe(error)
        }
    }
}

private struct ParityRowView: View {
    let row: ParityRow

    var body: some View {
        LabeledContent {
            if let cosine = row.cosine {
                Text(cosine.formatted(.number.precision(.fractionLength(4))))
            } else {
                Text(row.reason ?? "")
            }
        } label: {
            VStack(alignment: .leading) {
                Label(row.tower == .image ? "Image" : "Text", systemImage: row.passes ? "checkmark.circle" : "xmark.circle")
                Text(row.place.runtime == .coreAI ? "Core AI" : "Core ML").font(.caption)
                Text(row.place.units.title).font(.caption).foregroundStyle(.secondary)
            }
        }
    }
}
