/// Some photos with their images.
struct PhotoBatch<Image: Sendable>: Sendable {
    typealias Fetched = Result<FetchedImage<Image>, FailureLog.Reason>

    /// Number of images that are requested at the same time.
    static var requestsInFlight: Int { 6 }

    let photos: [LibraryPhoto]
    /// Of the same length.
    let images: [Fetched]

    /// Fetches images, a few at the same time. If the task is cancelled, so are the requests, and images are missing.
    init(
        _ chosen: ArraySlice<LibraryPhoto>, from source: some PhotoSource<Image>, for input: ImageSpec, allowsDownload: Bool
    ) async {
        let photos = Array(chosen)
        var images = [Fetched](repeating: .failure(.notDownloaded), count: photos.count)
        await withTaskGroup(of: (Int, Fetched).self) { group in
            var waiting = photos.indices[...]
            for place in waiting.prefix(Self.requestsInFlight) { add(place) }
            waiting = waiting.dropFirst(Self.requestsInFlight)
            for await (place, image) in group {
                images[place] = image
                if let next = waiting.popFirst() { add(next) }
            }

            func add(_ place: Int) {
                _ = group.addTaskUnlessCancelled {
                    (place, await source.image(of: photos[place].key, for: input, allowsDownload: allowsDownload))
                }
            }
        }
        (self.photos, self.images) = (photos, images)
    }
}
