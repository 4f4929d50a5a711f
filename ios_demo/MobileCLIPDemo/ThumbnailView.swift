import MobileCLIPKit
import SwiftUI

/// A square thumbnail of a photo, loaded when it becomes visible: first what the phone has, then a sharper one.
struct ThumbnailView: View {
    let key: String

    @Environment(AppModel.self) private var model
    @Environment(\.displayScale) private var scale
    @State private var image: PhotoImage?

    var body: some View {
        Color.secondary.opacity(0.15)
            .aspectRatio(1, contentMode: .fit)
            .overlay {
                if let image {
                    Image(uiImage: image.image).resizable().scaledToFill()
                } else {
                    Image(systemName: "photo").foregroundStyle(.secondary)
                }
            }
            .clipped()
            .contentShape(Rectangle())
            .task(id: key) {
                // Leaving the screen cancels the task, and with it the request.
                for await found in model.library.images(of: key, side: Int(120 * scale), allowsDownload: model.allowsDownload) {
                    image = found
                }
            }
    }
}
