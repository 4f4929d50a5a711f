import CoreTransferable
import MobileCLIPCore
import MobileCLIPKit
import SwiftUI

/// One photo in full, which can be enlarged, shared, marked and deleted. Swiping it up searches for similar ones.
struct PhotoView: View {
    let hit: FlatIndex.Hit
    let date: Date?
    let findSimilar: () -> Void

    @Environment(AppModel.self) private var model
    @Environment(\.dismiss) private var dismiss
    @State private var image: PhotoImage?
    @State private var hasFailed = false
    @State private var isFavourite = false
    @State private var problem = ""
    @State private var hasProblem = false

    var body: some View {
        NavigationStack {
            Group {
                if let image {
                    ZoomingImage(image: image) { swiped in if swiped == .up { showSimilar() } }
                        .accessibilityLabel(Text("The photo in full"))
                        .accessibilityAction(named: Text("More like this")) { showSimilar() }
                } else if hasFailed {
                    ContentUnavailableView("The photo cannot be shown", systemImage: "photo")
                } else {
                    ProgressView()
                }
            }
            .frame(maxWidth: .infinity, maxHeight: .infinity)
            .navigationTitle(Text(date?.formatted(date: .long, time: .shortened) ?? ""))
            .toolbar {
                ToolbarItem(placement: .cancellationAction) { Button("Done") { dismiss() } }
                ToolbarItemGroup(placement: .bottomBar) { actions }
            }
            .alert(Text(problem), isPresented: $hasProblem) { Button("OK") { hasProblem = false } }
        }
        .task {
            isFavourite = model.library.isFavourite(hit.key)
            for await found in model.library.images(of: hit.key, side: 2048, allowsDownload: true) { image = found }
            hasFailed = image == nil
        }
    }

    @ViewBuilder private var actions: some View {
        Button("More like this", systemImage: "square.stack") { showSimilar() }
        Spacer()
        Button("Favourite", systemImage: isFavourite ? "heart.fill" : "heart") {
            change {
                try await model.library.setFavourite(!isFavourite, hit.key)
                isFavourite.toggle()
            }
        }
        Button("Delete", systemImage: "trash", role: .destructive) {
            change {
                try await model.library.delete(hit.key)
                dismiss()
            }
        }
        Spacer()
        ShareLink(item: OriginalPhoto(key: hit.key), preview: SharePreview(Text("Photo")))
    }

    private func showSimilar() {
        findSimilar()
        dismiss()
    }

    private func change(_ work: @escaping @MainActor () async throws -> Void) {
        Task {
            do {
                try await work()
            } catch {
                problem = ErrorText.describe(error)
                hasProblem = true
            }
        }
    }
}

/// The file that the camera wrote, with its name.
struct OriginalPhoto: Transferable {
    let key: String

    static var transferRepresentation: some TransferRepresentation {
        FileRepresentation(exportedContentType: .image) { (photo: OriginalPhoto) in
            SentTransferredFile(try await PhotoLibrary().copyOriginal(of: photo.key, to: AppFolders.shared))
        }
    }
}

/// An image that two fingers or a double tap enlarge, and that is then moved by scrolling.
private struct ZoomingImage: View {
    let image: PhotoImage
    let onSwipe: @MainActor (PhotoSwipe) -> Void

    @State private var scale = 1.0
    @State private var scaleBefore = 1.0

    var body: some View {
        GeometryReader { space in
            ScrollView([.horizontal, .vertical]) {
                Image(uiImage: image.image)
                    .resizable()
                    .scaledToFit()
                    .frame(width: space.size.width * scale, height: space.size.height * scale)
            }
            .gesture(
                MagnifyGesture()
                    .onChanged { scale = min(8, max(1, scaleBefore * $0.magnification)) }
                    .onEnded { _ in scaleBefore = scale }
            )
            .simultaneousGesture(
                DragGesture(minimumDistance: 30).onEnded { drag in
                    let moved = drag.translation
                    if let swipe = PhotoSwipe(right: moved.width, down: moved.height, isEnlarged: scale > 1) { onSwipe(swipe) }
                }
            )
            .onTapGesture(count: 2) { enlarge(to: scale > 1 ? 1 : 3) }
            .accessibilityZoomAction { enlarge(to: $0.direction == .zoomIn ? min(8, scale * 2) : max(1, scale / 2)) }
        }
    }

    private func enlarge(to scale: Double) {
        self.scale = scale
        scaleBefore = scale
    }
}

#if DEBUG
    #Preview { PhotoView(hit: FlatIndex.Hit.sample("a"), date: Date()) {}.environment(AppModel.sample(.sample(.ready))) }
#endif
