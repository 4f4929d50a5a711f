import MobileCLIPKit
import SwiftUI

/// A square thumbnail of a photo, loaded when it becomes visible.
struct ThumbnailView: View {
    let key: String

    @Environment(AppModel.self) private var model
    @Environment(\.displayScale) private var scale
    @State private var image: Image?

    var body: some View {
        Color.secondary.opacity(0.15)
            .aspectRatio(1, contentMode: .fit)
            .overlay { image?.resizable().scaledToFill() }
            .clipped()
            .contentShape(Rectangle())
            .task(id: key) {
                let found = await model.library.image(of: key, side: Int(120 * scale), allowsDownload: true)
                image = (try? found.get()).map { Image(decorative: $0.image, scale: scale) }
            }
    }
}
