import MobileCLIPCore
import MobileCLIPKit
import SwiftUI

/// Settings: the bundle, downloads and the bench.
struct SettingsView: View {
    @Environment(AppModel.self) private var model
    @Environment(\.dismiss) private var dismiss

    var body: some View {
        @Bindable var model = model
        NavigationStack {
            Form {
                Section("Model") {
                    ForEach(model.state.entries) { entry in
                        switch entry.result {
                        case .success(let bundle): row(bundle)
                        case .failure(let error):
                            LabeledContent(entry.url.lastPathComponent) { Text(ErrorText.describe(error)) }
                        }
                    }
                }
                Section {
                    Toggle("Download photos from iCloud", isOn: $model.allowsDownload)
                } footer: {
                    Text("Photos that are only in iCloud are downloaded once, to be indexed.")
                }
                if let bundle = model.state.bundle {
                    Section {
                        NavigationLink("Comparison") { ParityView(bundle: bundle) }
                        NavigationLink("Bench") { BenchView(bundle: bundle) }
                    }
                }
            }
            .navigationTitle(Text("Settings"))
            .task { await model.session.lookForBundles() }
            .toolbar { Button("Done") { dismiss() } }
        }
    }

    private func row(_ bundle: ModelBundle) -> some View {
        Button {
            Task { await model.session.open(bundle) }
        } label: {
            HStack {
                VStack(alignment: .leading) {
                    Text(bundle.url.lastPathComponent)
                    Text(bundle.model.name).font(.caption).foregroundStyle(.secondary)
                }
                Spacer()
                if bundle == model.state.bundle { Image(systemName: "checkmark") }
            }
        }
        .accessibilityAddTraits(bundle == model.state.bundle ? .isSelected : [])
    }
}
