#if canImport(Photos)
    import Foundation
    import MobileCLIPCore
    import Photos

    /// The part of the phone's photo library that the app may access.
    public struct PhotoLibrary: PhotoSource {
        /// Decoding needs memory: few photos are decoded at the same time, however many are requested.
        private static let decoders = (0..<2).map { _ in Decoder() }

        /// The library of this phone.
        public init() {}

        // MARK: Access

        /// Asks the user for access the first time; later the earlier answer is used. Returns whether the app may read photos.
        public func requestAccess() async -> Bool {
            let status = await PHPhotoLibrary.requestAuthorization(for: .readWrite)
            return status == .authorized || status == .limited
        }

        /// Whether the app may access only the photos that the user selected.
        public var isLimited: Bool {
            PHPhotoLibrary.authorizationStatus(for: .readWrite) == .limited
        }

        // MARK: Lists

        /// All photos, newest first.
        public func photos() -> [LibraryPhoto] {
            let options = PHFetchOptions()
            options.sortDescriptors = [NSSortDescriptor(key: "creationDate", ascending: false)]
            return list(PHAsset.fetchAssets(with: .image, options: options))
        }

        /// The original file names of photos.
        public func fileNames(of keys: [String]) -> [String: String] {
            var names: [String: String] = [:]
            fetch(keys).enumerateObjects { asset, _, _ in
                names[asset.localIdentifier] = autoreleasepool { PHAssetResource.assetResources(for: asset).first?.originalFilename }
            }
            return names
        }

        /// When photos were taken; photos without a date, and deleted ones, are omitted.
        public func dates(of keys: [String]) -> [String: Date] {
            var dates: [String: Date] = [:]
            fetch(keys).enumerateObjects { asset, _, _ in dates[asset.localIdentifier] = asset.creationDate }
            return dates
        }

        // MARK: Changes

        /// Changes of the library.
        public func changes() -> AsyncStream<Void> {
            AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
                let observer = ChangeObserver { continuation.yield() }
                PHPhotoLibrary.shared().register(observer)
                continuation.onTermination = { _ in PHPhotoLibrary.shared().unregisterChangeObserver(observer) }
            }
        }

        /// nil with limited access: which photos are selected is not part of the library's history.
        public func changeToken() -> Data? {
            guard !isLimited else { return nil }
            let token = PHPhotoLibrary.shared().currentChangeToken
            return try? NSKeyedArchiver.archivedData(withRootObject: token, requiringSecureCoding: true)
        }

        /// nil with limited access, and for a token that the system no longer knows.
        public func changes(since token: Data) -> LibraryChanges? {
            guard !isLimited,
                let since = try? NSKeyedUnarchiver.unarchivedObject(ofClass: PHPersistentChangeToken.self, from: token),
                let now = changeToken(), let found = try? PHPhotoLibrary.shared().fetchPersistentChanges(since: since)
            else { return nil }
            var touched: Set<String> = []
            for change in found {
                guard let details = try? change.changeDetails(for: .asset) else { return nil }
                touched.formUnion(details.insertedLocalIdentifiers)
                touched.formUnion(details.updatedLocalIdentifiers)
                touched.formUnion(details.deletedLocalIdentifiers)
            }
            // A photo may have been deleted and recovered. A hidden one counts as changed, but is not listed any more.
            let present = list(fetch(Array(touched)))
            return LibraryChanges(token: now, changed: present, removed: touched.subtracting(present.map(\.key)).sorted())
        }

        // MARK: Images for the model

        /// A photo as the model's input, or why there is none; a thumbnail stands in for a photo that is only in iCloud.
        public func image(
            of key: String, for input: ImageSpec, allowsDownload: Bool
        ) async -> Result<FetchedImage<PixelImage>, FailureLog.Reason> {
            guard !Task.isCancelled, let asset = fetch([key]).firstObject else { return .failure(.undecodable) }
            let decoder = Self.decoders[abs(key.hashValue % Self.decoders.count)]
            switch await original(of: asset, allowsDownload: allowsDownload) {
            case .success(let data):
                let pixels = await decoder.pixels(of: data, for: input)
                return pixels.map { .success(FetchedImage($0)) } ?? .failure(.undecodable)
            case .failure(.notDownloaded):
                guard let thumbnail = await localThumbnail(of: asset, for: input) else { return .failure(.notDownloaded) }
                let pixels = await decoder.pixels(of: thumbnail, for: input)
                return pixels.map { .success(FetchedImage($0, isProvisional: true)) } ?? .failure(.notDownloaded)
            case .failure(let reason):
                return .failure(reason)
            }
        }

        /// The file of a photo as it is now, with its edits.
        private func original(of asset: PHAsset, allowsDownload: Bool) async -> Result<Data, FailureLog.Reason> {
            let options = PHImageRequestOptions()
            options.deliveryMode = .highQualityFormat
            options.isNetworkAccessAllowed = allowsDownload
            return await resultOfRequest(cancelled: .failure(.undecodable)) { finish in
                PHImageManager.default().requestImageDataAndOrientation(for: asset, options: options) { data, _, _, information in
                    let isInCloud = (information?[PHImageResultIsInCloudKey] as? NSNumber)?.boolValue ?? false
                    finish(data.map { .success($0) } ?? .failure(isInCloud ? .notDownloaded : .undecodable))
                }
            } cancel: {
                PHImageManager.default().cancelImageRequest($0)
            }
        }

        /// The thumbnail that the phone keeps of a photo in iCloud.
        private func localThumbnail(of asset: PHAsset, for input: ImageSpec) async -> PhotoImage? {
            let options = PHImageRequestOptions()
            options.deliveryMode = .fastFormat
            options.resizeMode = .none
            let side = 2 * Double(max(input.width, input.height))
            return await resultOfRequest(cancelled: nil) { finish in
                PHImageManager.default().requestImage(
                    for: asset, targetSize: CGSize(width: side, height: side), contentMode: .aspectFill, options: options
                ) { image, _ in
                    finish(image.map(PhotoImage.init))
                }
            } cancel: {
                PHImageManager.default().cancelImageRequest($0)
            }
        }

        // MARK: Images for the screen

        /// First what the phone has, then, if it may be downloaded, an image of at least `side` pixels.
        public func images(of key: String, side: Int, allowsDownload: Bool) -> AsyncStream<PhotoImage> {
            AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
                guard let asset = fetch([key]).firstObject else { return continuation.finish() }
                let options = PHImageRequestOptions()
                options.deliveryMode = .opportunistic
                options.isNetworkAccessAllowed = allowsDownload
                let request = PHCachingImageManager.default().requestImage(
                    for: asset, targetSize: CGSize(width: side, height: side), contentMode: .aspectFill, options: options
                ) { image, information in
                    if let image { continuation.yield(PhotoImage(image)) }
                    let isPreview = (information?[PHImageResultIsDegradedKey] as? NSNumber)?.boolValue ?? false
                    if !isPreview { continuation.finish() }
                }
                continuation.onTermination = { _ in PHCachingImageManager.default().cancelImageRequest(request) }
            }
        }

        /// Copies the original file of a photo, with its name, to a folder. Downloads it if necessary.
        public func copyOriginal(of key: String, to folder: URL) async throws -> URL {
            guard let asset = fetch([key]).firstObject, let resource = PHAssetResource.assetResources(for: asset).first else {
                throw PhotoLibraryError.noPhoto
            }
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            let url = folder.appendingPathComponent(resource.originalFilename)
            try? FileManager.default.removeItem(at: url)
            let options = PHAssetResourceRequestOptions()
            options.isNetworkAccessAllowed = true
            try await PHAssetResourceManager.default().writeData(for: resource, toFile: url, options: options)
            return url
        }

        // MARK: Edits

        /// Whether the user has marked a photo as a favourite.
        public func isFavourite(_ key: String) -> Bool { fetch([key]).firstObject?.isFavorite ?? false }

        /// Marks a photo as a favourite, or removes the mark.
        public func setFavourite(_ isFavourite: Bool, _ key: String) async throws {
            guard let asset = fetch([key]).firstObject else { throw PhotoLibraryError.noPhoto }
            try await PHPhotoLibrary.shared().performChanges { @Sendable in
                PHAssetChangeRequest(for: asset).isFavorite = isFavourite
            }
        }

        /// Deletes a photo; the system asks the user first.
        public func delete(_ key: String) async throws {
            let assets = [fetch([key]).firstObject].compactMap { $0 }
            try await PHPhotoLibrary.shared().performChanges { @Sendable in
                PHAssetChangeRequest.deleteAssets(assets as NSArray)
            }
        }

        private func fetch(_ keys: [String]) -> PHFetchResult<PHAsset> {
            PHAsset.fetchAssets(withLocalIdentifiers: keys, options: nil)
        }

        private func list(_ found: PHFetchResult<PHAsset>) -> [LibraryPhoto] {
            var photos: [LibraryPhoto] = []
            photos.reserveCapacity(found.count)
            found.enumerateObjects { asset, _, _ in
                if asset.mediaType == .image { photos.append(LibraryPhoto(key: asset.localIdentifier, stamp: asset.stamp)) }
            }
            return photos
        }
    }

    /// Errors of single photos.
    public enum PhotoLibraryError: Error, Sendable {
        /// The photo was deleted, or is no longer shared with the app.
        case noPhoto
    }

    /// Decodes one photo at a time, away from the main thread.
    private actor Decoder {
        func pixels(of data: Data, for input: ImageSpec) -> PixelImage? {
            // Decoders leave megabytes in the pool for each photo.
            autoreleasepool { ImageDecoder.pixels(of: data, for: input) }
        }

        func pixels(of thumbnail: PhotoImage, for input: ImageSpec) -> PixelImage? {
            autoreleasepool {
                thumbnail.cgImage.flatMap { ImageDecoder.pixels(of: $0, orientation: thumbnail.orientation)?.fitted(to: input) }
            }
        }
    }

    extension PHAsset {
        /// The modification time in milliseconds.
        var stamp: Int64 {
            max(0, Int64(((modificationDate ?? creationDate)?.timeIntervalSince1970 ?? 0) * 1000))
        }
    }

    private final class ChangeObserver: NSObject, PHPhotoLibraryChangeObserver, Sendable {
        private let notify: @Sendable () -> Void

        init(_ notify: @escaping @Sendable () -> Void) {
            self.notify = notify
        }

        func photoLibraryDidChange(_ change: PHChange) { notify() }
    }
#endif
