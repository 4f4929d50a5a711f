import MobileCLIPCore
import MobileCLIPKit
import SwiftUI

/// One photo in full, with buttons to share it or to search by it.
struct PhotoView: View {
    let hit: FlatIndex.Hit
    let findSimilar: () -> Void

    @Environment(AppModel.self) private var model
    @Environment(\.dismiss) private var dismiss
    @State private var image: Image?
    @State private var hasFailed = false

    var body: some View {
        NavigationStack {
            Group {
                if let image {
                    image.resizable().scaledToFit().accessibilityLabel(Text("The photo in full"))
                } else if hasFailed {
                    ContentUnavailableView("The photo cannot be shown", systemImage: "photo")
                } else {
                    ProgressView()
                }
            }
            .frame(maxWidth: .infinity, maxHeight: .infinity)
            .toolbar {
                ToolbarItem(placement: .cancellationAction) { Button("Done") { dismiss() } }
                ToolbarItemGroup(placement: .bottomBar) {
                    Button("More like this", systemImage: "square.stack") {
                        findSimilar()
                        dismiss()
                    }
                    Spacer()
                    if let image { ShareLink(item: image, preview: SharePreview(Text("Photo"), image: image)) }
                }
            }
        }
        .task {
            switch await model.library.image(of: hit.key, side: 2048, allowsDownload: true) {
            case .success(let upright): image = Image(decorative: upright.image, scale: 1)
            case .failure: hasFailed = true
            }
        }
    }
}
