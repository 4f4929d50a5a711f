import SwiftUI
import UIKit

/// Shows the screen for the app's phase.
struct RootView: View {
    @Environment(AppModel.self) private var model

    var body: some View {
        switch model.phase {
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
                Text(problem.text)
            } actions: {
                RecoveryButton(problem: problem)
                NavigationLinkToBundles()
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
                Text("Drop a folder made by “mckit bundle” into MobileCLIPDemo/Bundles and build again, or copy it to this app's documents.")
                ForEach(model.bundleEntries) { entry in
                    if case .failure(let error) = entry.result {
                        Text("\(entry.url.lastPathComponent): \(ErrorText.describe(error))")
                    }
                }
            }
        }
    }
}

private struct NavigationLinkToBundles: View {
    @State private var isShown = false

    var body: some View {
        Button("Choose another model") { isShown = true }
            .sheet(isPresented: $isShown) { SettingsView() }
    }
}
