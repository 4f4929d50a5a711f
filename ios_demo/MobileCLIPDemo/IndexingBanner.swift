import MobileCLIPCore
import SwiftUI

/// The button for recovering from a problem.
struct RecoveryButton: View {
    let problem: AppProblem

    @Environment(AppModel.self) private var model

    var body: some View {
        if problem.callsForRebuilding {
            Button("Rebuild the index") { Task { await model.session.rebuildIndex() } }
        } else {
            Button("Try again") { Task { await model.session.tryAgain() } }
        }
    }
}

/// The progress of indexing, with a pause button.
struct IndexingBanner: View {
    @Environment(AppModel.self) private var model

    var body: some View {
        VStack(alignment: .leading, spacing: 6) {
            if let problem = model.state.indexingProblem {
                Label(model.text(problem), systemImage: "exclamationmark.triangle")
                RecoveryButton(problem: problem)
            }
            if model.state.isLimited {
                ViewThatFits(in: .horizontal) {
                    HStack {
                        limitedLabel
                        Spacer()
                        pickButton
                    }
                    // Large text.
                    VStack(alignment: .leading) {
                        limitedLabel
                        pickButton
                    }
                }
                .font(.footnote)
            }
            if let progress = model.state.progress {
                ProgressRow(progress: progress, isPaused: model.isPaused) { model.isPaused.toggle() }
                Notes(progress: progress)
            }
            if let problem = model.state.confidenceProblem {
                Text("All results are shown, however uncertain: \(model.text(problem))")
                    .font(.footnote)
                    .foregroundStyle(.secondary)
            }
        }
    }

    private var limitedLabel: some View { Label("Only the photos that you picked are searched.", systemImage: "lock") }
    private var pickButton: some View { Button("Pick more") { LimitedLibraryPicker.present() } }
}

private struct ProgressRow: View {
    let progress: IndexingProgress
    let isPaused: Bool
    let toggle: @MainActor () -> Void

    var body: some View {
        if progress.state != .done {
            HStack {
                ProgressView(value: progress.fraction) { Text(title) }
                Button(isPaused ? "Resume" : "Pause", systemImage: isPaused ? "play.fill" : "pause.fill", action: toggle)
                    .labelStyle(.iconOnly)
            }
            .font(.footnote)
        }
    }

    private var title: LocalizedStringKey {
        switch progress.state {
        case .preparing: "Looking through your photos"
        case .paused: "Paused, \(progress.remaining) photos left"
        case .waitingForCooling: "Waiting for the phone to cool down"
        case .working, .done: "Indexing, \(progress.remaining) photos left"
        }
    }
}

/// Photos that cannot be found, or only by their thumbnails.
private struct Notes: View {
    let progress: IndexingProgress

    var body: some View {
        VStack(alignment: .leading, spacing: 6) {
            if let count = progress.failures[.notDownloaded], count > 0 {
                Text("\(count) photos are only in iCloud. Allow downloads in Settings to search them.")
            }
            if progress.provisional > 0 {
                Text("\(progress.provisional) photos were read from their thumbnails. Allow downloads in Settings for better results.")
            }
            if unreadable > 0 { Text("\(unreadable) photos cannot be read.") }
            if let problem = progress.readyIndexProblem {
                Text("The bundle's ready-made index cannot be used: \(ErrorText.describe(problem))")
            }
        }
        .font(.footnote)
        .foregroundStyle(.secondary)
    }

    private var unreadable: Int {
        (progress.failures[.undecodable] ?? 0) + (progress.failures[.notEncoded] ?? 0)
    }
}

#if DEBUG
    #Preview("Working") {
        IndexingBanner().environment(AppModel.sample(.sample(.ready, progress: IndexingProgress(state: .working, indexed: 30, remaining: 70))))
    }
    #Preview("Limited, with notes") {
        let progress = IndexingProgress(
            state: .done, indexed: 30, provisional: 2, failures: [.notDownloaded: 3, .undecodable: 1], readyIndexProblem: .busy)
        IndexingBanner().environment(AppModel.sample(.sample(.ready, progress: progress, isLimited: true)))
    }
#endif
