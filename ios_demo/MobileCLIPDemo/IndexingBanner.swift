import MobileCLIPCore
import SwiftUI

/// The button for recovering from a problem.
struct RecoveryButton: View {
    let problem: AppModel.Problem

    @Environment(AppModel.self) private var model

    var body: some View {
        if problem.callsForRebuilding {
            Button("Rebuild the index") { Task { await model.rebuildIndex() } }
        } else {
            Button("Try again") { Task { await model.tryAgain() } }
        }
    }
}

/// The progress of indexing, with a pause button.
struct IndexingBanner: View {
    @Environment(AppModel.self) private var model

    var body: some View {
        VStack(alignment: .leading, spacing: 6) {
            if let problem = model.indexingProblem {
                Label(problem.text, systemImage: "exclamationmark.triangle")
                RecoveryButton(problem: problem)
            }
            if model.isLimited {
                Label("Only the photos that you picked are searched.", systemImage: "lock")
                    .font(.footnote)
            }
            if let progress = model.progress, progress.state != .done {
                HStack {
                    ProgressView(value: progress.fraction) {
                        Text(title(progress))
                    }
                    Button(model.isPaused ? "Resume" : "Pause", systemImage: model.isPaused ? "play.fill" : "pause.fill") {
                        model.isPaused.toggle()
                    }
                    .labelStyle(.iconOnly)
                }
                .font(.footnote)
            }
            if let count = model.progress?.failures[.notDownloaded], count > 0 {
                Text("\(count) photos are only in iCloud. Allow downloads in Settings to search them.")
                    .font(.footnote)
                    .foregroundStyle(.secondary)
            }
            let unreadable = (model.progress?.failures[.undecodable] ?? 0) + (model.progress?.failures[.notEncoded] ?? 0)
            if unreadable > 0 {
                Text("\(unreadable) photos cannot be read.")
                    .font(.footnote)
                    .foregroundStyle(.secondary)
            }
        }
    }

    private func title(_ progress: IndexingProgress) -> LocalizedStringKey {
        switch progress.state {
        case .paused: "Paused, \(progress.remaining) photos left"
        case .waitingForCooling: "Waiting for the phone to cool down"
        case .working, .done: "Indexing, \(progress.remaining) photos left"
        }
    }
}
