import MobileCLIPCore
import MobileCLIPKit
import SwiftUI

/// The search field, the textness slider and the results.
struct SearchView: View {
    @Environment(AppModel.self) private var model
    @State private var words = ""
    @State private var opened: FlatIndex.Hit?
    @State private var showsSettings = false

    /// Thumbnails grow with the text size.
    @ScaledMetric private var side = 104.0

    var body: some View {
        @Bindable var model = model
        NavigationStack {
            ScrollView {
                VStack(alignment: .leading, spacing: 12) {
                    IndexingBanner()
                    if model.hasTextness { TextnessSlider(scale: $model.textnessScale) }
                    if case .like = model.request {
                        Button("Back to the words", systemImage: "xmark.circle") { model.request = .words(words) }
                    }
                    if let problem = model.searchProblem { Label(problem, systemImage: "exclamationmark.triangle") }
                }
                .padding(.horizontal)
                LazyVGrid(columns: [GridItem(.adaptive(minimum: side), spacing: 2)], spacing: 2) {
                    ForEach(Array(model.hits.enumerated()), id: \.element.key) { place, hit in
                        ThumbnailView(key: hit.key)
                            .onTapGesture { opened = hit }
                            .contextMenu {
                                Button("More like this", systemImage: "square.stack") { model.request = .like(key: hit.key) }
                            }
                            .accessibilityElement()
                            .accessibilityLabel(label(hit, place: place))
                            .accessibilityAddTraits([.isButton, .isImage])
                            .accessibilityAction { opened = hit }
                            .accessibilityAction(named: Text("More like this")) { model.request = .like(key: hit.key) }
                    }
                }
                if model.hits.isEmpty { EmptyResults(words: words) }
            }
            .searchable(text: $words, prompt: Text("a red bicycle, beach -people"))
            .onChange(of: words) { _, words in model.request = .words(words) }
            .navigationTitle(Text("Photos"))
            .toolbar {
                Button("Settings", systemImage: "gearshape") { showsSettings = true }
            }
            .sheet(isPresented: $showsSettings) { SettingsView() }
            .sheet(item: $opened) { hit in
                PhotoView(hit: hit) { model.request = .like(key: hit.key) }
            }
        }
    }

    /// The accessibility label of a photo: its rank, date and score.
    private func label(_ hit: FlatIndex.Hit, place: Int) -> Text {
        let score = hit.score.formatted(.number.precision(.fractionLength(2)))
        guard let date = model.library.date(of: hit.key) else { return Text("Result \(place + 1), score \(score)") }
        let day = date.formatted(date: .long, time: .omitted)
        return Text("Result \(place + 1), photo of \(day), score \(score)")
    }
}

extension FlatIndex.Hit: @retroactive Identifiable {
    public var id: String { key }
}

private struct EmptyResults: View {
    let words: String

    var body: some View {
        if words.isEmpty {
            ContentUnavailableView(
                "Search your photos by words", systemImage: "text.magnifyingglass",
                description: Text("Say what is in the image. A minus sign keeps something out."))
        } else {
            ContentUnavailableView.search(text: words)
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
