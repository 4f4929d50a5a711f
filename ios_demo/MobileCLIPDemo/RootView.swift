import MobileCLIPCore
import SwiftUI
import UIKit

/// Shows the screen for the app's phase.
struct RootView: View {
    @Environment(AppModel.self) private var model

    var body: some View {
        switch model.state.phase {
        case .starting:
            ProgressView("Opening the model…")
        case .noBundle:
            NoBundleView()
        case .needsPhotos:
            ContentUnavailableView {
                Label("Your photos stay on this phone", systemImage: "photo.on.rectangle.angled")
            } description: {
                Text("To search your photos by words, the app has to look at them once. Nothing leaves the phone.")
            } actions: {
                Button("Allow access to photos") { Task { await model.usePhotos() } }
                    .buttonStyle(.borderedProminent)
                if let settings = URL(string: UIApplication.openSettingsURLString) {
                    Link("Open Settings", destination: settings)
                }
            }
        case .ready:
            SearchView()
        case .failed(let problem):
            ContentUnavailableView {
                Label("The model cannot be opened", systemImage: "exclamationmark.triangle")
            } description: {
                Text(model.text(problem))
            } actions: {
                RecoveryButton(problem: problem)
                ChooseModelButton()
            }
        }
    }
}

/// Shown when there is no usable bundle, with the problem of each bundle.
struct NoBundleView: View {
    @Environment(AppModel.self) private var model

    var body: some View {
        ContentUnavailableView {
            Label("No model yet", systemImage: "shippingbox")
        } description: {
            VStack(alignment: .leading, spacing: 8) {
                Text("Connect the phone to a computer, open its files in Finder, and drop a folder made by “mckit bundle” on this app.")
                ForEach(model.state.entries) { entry in
                    if case .failure(let error) = entry.result {
                        Text("\(entry.url.lastPathComponent): \(ErrorText.describe(error))")
                    }
                }
            }
        } actions: {
            Button("Look again") { Task { await model.session.becomeActive() } }
                .buttonStyle(.borderedProminent)
        }
    }
}

private struct ChooseModelButton: View {
    @State private var isShown = false

    var body: some View {
        Button("Choose another model") { isShown = true }
            .sheet(isPresented: $isShown) { SettingsView() }
    }
}

#if DEBUG
    #Preview("No model") { RootView().environment(AppModel.sample(.sample(.noBundle))) }
    #Preview("No access") { RootView().environment(AppModel.sample(.sample(.needsPhotos))) }
    #Preview("Failed") { RootView().environment(AppModel.sample(.sample(.failed(AppProblem(FlatIndexError.busy))))) }
#endif
