import MobileCLIPCore
import MobileCLIPKit
import SwiftUI

/// The search field, the textness slider and the results.
struct SearchView: View {
    @Environment(AppModel.self) private var model
    @State private var words = ""
    @State private var showsSettings = false

    var body: some View {
        @Bindable var model = model
        NavigationStack {
            ScrollView {
                VStack(alignment: .leading, spacing: 12) {
                    IndexingBanner()
                    if model.state.hasTextness { TextnessSlider(scale: $model.textnessScale) }
                    if case .like = model.state.request {
                        Button("Back to the words", systemImage: "xmark.circle") { model.words = words }
                    }
                    if let problem = model.state.searchProblem {
                        Label(model.text(problem), systemImage: "exclamationmark.triangle")
                    }
                }
                .padding(.horizontal)
                ResultGrid()
                if let reason = model.state.emptyReason { EmptyResults(reason: reason, words: $words) }
                if model.state.hiddenHits > 0 {
                    Button("Show \(model.state.hiddenHits) less certain photos") { model.session.showUncertain() }
                        .padding()
                }
            }
            .searchable(text: $words, prompt: Text("a red bicycle, beach -people"))
            .onChange(of: words) { _, words in model.words = words }
            .navigationTitle(Text("Photos"))
            .toolbar {
                Button("Settings", systemImage: "gearshape") { showsSettings = true }
            }
            .sheet(isPresented: $showsSettings) { SettingsView() }
            // Another model may have taken over, with the words of the field still in it.
            .task { model.words = words }
        }
    }
}

/// The results, best first.
private struct ResultGrid: View {
    @Environment(AppModel.self) private var model
    @State private var opened: FlatIndex.Hit?
    @State private var dates: [String: Date] = [:]

    /// Thumbnails grow with the text size.
    @ScaledMetric private var side = 104.0

    var body: some View {
        LazyVGrid(columns: [GridItem(.adaptive(minimum: side), spacing: 2)], spacing: 2) {
            ForEach(Array(model.state.shownHits.enumerated()), id: \.element.key) { place, hit in
                ThumbnailView(key: hit.key)
                    .onTapGesture { opened = hit }
                    .contextMenu {
                        Button("More like this", systemImage: "square.stack") { findSimilar(hit) }
                    }
                    .accessibilityElement()
                    .accessibilityLabel(label(hit, place: place))
                    .accessibilityAddTraits([.isButton, .isImage])
                    .accessibilityAction { opened = hit }
                    .accessibilityAction(named: Text("More like this")) { findSimilar(hit) }
            }
        }
        .task(id: model.state.shownHits.map(\.key)) {
            // All in one request, away from the main thread.
            let (keys, library) = (model.state.shownHits.map(\.key), model.library)
            let found = await Task.detached { library.dates(of: keys) }.value
            if !Task.isCancelled { dates = found }
        }
        .sheet(item: $opened) { hit in
            PhotoView(hit: hit, date: dates[hit.key]) { findSimilar(hit) }
        }
    }

    private func findSimilar(_ hit: FlatIndex.Hit) { model.session.ask(.like(key: hit.key)) }

    /// The accessibility label of a photo: its rank, date and score.
    private func label(_ hit: FlatIndex.Hit, place: Int) -> Text {
        let score = hit.score.formatted(.number.precision(.fractionLength(2)))
        guard let date = dates[hit.key] else { return Text("Result \(place + 1), score \(score)") }
        let day = date.formatted(date: .long, time: .omitted)
        return Text("Result \(place + 1), photo of \(day), score \(score)")
    }
}

extension FlatIndex.Hit: @retroactive Identifiable {
    public var id: String { key }
}

/// Why there is nothing to see, and what can be done about it.
private struct EmptyResults: View {
    let reason: AppState.EmptyReason
    @Binding var words: String

    private static var examples: [LocalizedStringResource] { ["a dog on the beach", "a birthday cake", "a receipt"] }

    var body: some View {
        switch reason {
        case .nothingAsked:
            ContentUnavailableView {
                Label("Search your photos by words", systemImage: "text.magnifyingglass")
            } description: {
                Text("Say what is in the image. A minus sign keeps something out.")
            } actions: {
                ForEach(Self.examples, id: \.key) { example in
                    Button(String(localized: example)) { words = String(localized: example) }
                }
            }
        case .nothingIndexed:
            ContentUnavailableView(
                "No photo is indexed yet", systemImage: "hourglass", description: Text("Results appear while your photos are indexed."))
        case .noResults:
            ContentUnavailableView.search(text: words)
        case .nothingLikeThat:
            ContentUnavailableView(
                "Nothing like that here", systemImage: "questionmark.folder",
                description: Text("No photo is likely to show this. Other words may find it."))
        }
    }
}

/// Promotes or demotes images with written words.
private struct TextnessSlider: View {
    @Binding var scale: Float

    var body: some View {
        VStack(alignment: .leading) {
            Slider(value: $scale, in: -1...1, step: 0.05) {
                Text("Written words")
            } minimumValueLabel: {
                Image(systemName: "photo").accessibilityLabel(Text("Fewer written words"))
            } maximumValueLabel: {
                Image(systemName: "textformat").accessibilityLabel(Text("More written words"))
            }
            .accessibilityValue(Text(scale.formatted(.number.precision(.fractionLength(2)))))
            Text("Written words: \(scale.formatted(.number.precision(.fractionLength(2)).sign(strategy: .always())))")
                .font(.caption)
                .foregroundStyle(.secondary)
        }
    }
}

#if DEBUG
    #Preview("Nothing asked") { SearchView().environment(AppModel.sample(.sample(.ready))) }
    #Preview("Results") {
        SearchView().environment(AppModel.sample(.sample(.ready, words: "dog", keys: ["a", "b", "c"], certain: 2)))
    }
    #Preview("Nothing like that") {
        SearchView().environment(AppModel.sample(.sample(.ready, words: "dog", keys: ["a"], certain: 0)))
    }
    #Preview("Nothing indexed") { EmptyResults(reason: .nothingIndexed, words: .constant("dog")) }
    #Preview("Textness") { TextnessSlider(scale: .constant(-0.4)) }
#endif
