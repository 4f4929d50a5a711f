#if canImport(Photos)
    import CoreGraphics
    import Foundation
    import MobileCLIPCore
    import Photos

    /// Errors of the photo library.
    public enum PhotoLibraryError: Error, Sendable {
        case notAllowed
    }

    /// The part of the phone's photo library that the app may access.
    public struct PhotoLibrary: PhotoSource {
        public init() {}

        /// Asks the user for access the first time; later the earlier answer is used.
        public func requestAccess() async throws(PhotoLibraryError) {
            switch await PHPhotoLibrary.requestAuthorization(for: .readWrite) {
            case .authorized, .limited: return
            default: throw .notAllowed
            }
        }

        /// Whether the app may access only the photos that the user selected.
        public var isLimited: Bool {
            PHPhotoLibrary.authorizationStatus(for: .readWrite) == .limited
        }

        /// All photos, newest first.
        public func photos() -> [LibraryPhoto] {
            let options = PHFetchOptions()
            options.sortDescriptors = [NSSortDescriptor(key: "creationDate", ascending: false)]
            let found = PHAsset.fetchAssets(with: .image, options: options)
            var photos: [LibraryPhoto] = []
            photos.reserveCapacity(found.count)
            found.enumerateObjects { asset, _, _ in photos.append(LibraryPhoto(key: asset.localIdentifier, stamp: asset.stamp)) }
            return photos
        }

        /// The original file names of photos.
        public func fileNames(of keys: [String]) -> [String: String] {
            var names: [String: String] = [:]
            PHAsset.fetchAssets(withLocalIdentifiers: keys, options: nil).enumerateObjects { asset, _, _ in
                names[asset.localIdentifier] = PHAssetResource.assetResources(for: asset).first?.originalFilename
            }
            return names
        }

        /// When a photo was taken; nil if it is unknown or the photo was deleted.
        public func date(of key: String) -> Date? {
            PHAsset.fetchAssets(withLocalIdentifiers: [key], options: nil).firstObject?.creationDate
        }

        /// An image with at least `side` pixels on its shorter side if the photo has that many.
        ///
        /// - Parameter allowsDownload: Whether a photo that is only in iCloud may be downloaded.
        public func image(
            of key: String, side: Int, allowsDownload: Bool
        ) async -> Result<UprightImage, FailureLog.Reason> {
            guard let asset = PHAsset.fetchAssets(withLocalIdentifiers: [key], options: nil).firstObject else {
                return .failure(.undecodable)
            }
            let options = PHImageRequestOptions()
            options.deliveryMode = .highQualityFormat
            options.resizeMode = .exact
            options.isNetworkAccessAllowed = allowsDownload
            let shorter = max(1, min(asset.pixelWidth, asset.pixelHeight))
            let scale = min(1, Double(side) / Double(shorter))
            let size = CGSize(width: Double(asset.pixelWidth) * scale, height: Double(asset.pixelHeight) * scale)
            return await withCheckedContinuation { continuation in
                PHImageManager.default().requestImage(
                    for: asset, targetSize: size, contentMode: .aspectFit, options: options
                ) { image, information in
                    continuation.resume(returning: Self.image(from: image, information))
                }
            }
        }

        /// Changes of the library.
        public func changes() -> AsyncStream<Void> {
            AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
                let observer = ChangeObserver { continuation.yield() }
                PHPhotoLibrary.shared().register(observer)
                continuation.onTermination = { _ in PHPhotoLibrary.shared().unregisterChangeObserver(observer) }
            }
        }

        private static func image(
            from image: PlatformImage?, _ information: [AnyHashable: Any]?
        ) -> Result<UprightImage, FailureLog.Reason> {
            if let upright = image?.uprightCGImage { return .success(UprightImage(upright)) }
            let isInCloud = (information?[PHImageResultIsInCloudKey] as? NSNumber)?.boolValue ?? false
            return .failure(isInCloud ? .notDownloaded : .undecodable)
        }
    }

    extension PHAsset {
        /// The modification time in milliseconds.
        var stamp: Int64 {
            Int64(((modificationDate ?? creationDate)?.timeIntervalSince1970 ?? 0) * 1000)
        }
    }

    private final class ChangeObserver: NSObject, PHPhotoLibraryChangeObserver, Sendable {
        private let notify: @Sendable () -> Void

        init(_ notify: @escaping @Sendable () -> Void) {
            self.notify = notify
        }

        func photoLibraryDidChange(_ change: PHChange) { notify() }
    }

    #if canImport(UIKit)
        import UIKit

        typealias PlatformImage = UIImage

        extension UIImage {
            /// The pixels with the photo's orientation applied.
            var uprightCGImage: CGImage? {
                if imageOrientation == .up { return cgImage }
                let format = UIGraphicsImageRendererFormat()
                format.scale = 1
                let pixels = CGSize(width: size.width * scale, height: size.height * scale)
                return UIGraphicsImageRenderer(size: pixels, format: format)
                    .image { _ in draw(in: CGRect(origin: .zero, size: pixels)) }.cgImage
            }
        }
    #elseif canImport(AppKit)
        import AppKit

        typealias PlatformImage = NSImage

        extension NSImage {
            var uprightCGImage: CGImage? { cgImage(forProposedRect: nil, context: nil, hints: nil) }
        }
    #endif
#endif
