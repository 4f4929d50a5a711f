import CoreGraphics
import Foundation
import ImageIO
#if canImport(UIKit)
    import UIKit
    public typealias PlatformImage = UIImage
#else
    import AppKit
    public typealias PlatformImage = NSImage
#endif

public enum PHAuthorizationStatus: Int, Sendable { case notDetermined, restricted, denied, authorized, limited }
public enum PHAccessLevel: Int, Sendable { case addOnly = 1, readWrite }
public enum PHAssetMediaType: Int, Sendable { case unknown, image, video, audio }
public enum PHObjectType: Sendable { case asset, assetCollection, collectionList }
public typealias PHImageRequestID = Int32

public class PHFetchOptions: NSObject {
    public var sortDescriptors: [NSSortDescriptor]?
}

public final class NSSortDescriptor: NSObject {
    public init(key: String?, ascending: Bool) {}
}

public class PHFetchResult<ObjectType: AnyObject>: NSObject {
    public var count: Int { 0 }
    public var firstObject: ObjectType? { nil }
    public func enumerateObjects(_ block: (ObjectType, Int, UnsafeMutablePointer<Bool>) -> Void) {}
}

public class PHObject: NSObject {
    public var localIdentifier: String { "" }
}

public class PHAsset: PHObject, @unchecked Sendable {
    public var mediaType: PHAssetMediaType { .image }
    public var creationDate: Date? { nil }
    public var modificationDate: Date? { nil }
    public var pixelWidth: Int { 0 }
    public var pixelHeight: Int { 0 }
    public var isFavorite: Bool { false }
    public class func fetchAssets(with type: PHAssetMediaType, options: PHFetchOptions?) -> PHFetchResult<PHAsset> { PHFetchResult() }
    public class func fetchAssets(withLocalIdentifiers keys: [String], options: PHFetchOptions?) -> PHFetchResult<PHAsset> {
        PHFetchResult()
    }
}

public class PHAssetResource: NSObject {
    public var originalFilename: String { "" }
    public class func assetResources(for asset: PHAsset) -> [PHAssetResource] { [] }
}

public class PHAssetResourceRequestOptions: NSObject {
    public var isNetworkAccessAllowed = false
}

public class PHAssetResourceManager: NSObject {
    public class func `default`() -> PHAssetResourceManager { PHAssetResourceManager() }
    public func writeData(for resource: PHAssetResource, toFile url: URL, options: PHAssetResourceRequestOptions?) async throws {}
}

public class PHAssetChangeRequest: NSObject {
    public init(for asset: PHAsset) {}
    public var isFavorite = false
    public class func deleteAssets(_ assets: NSArray) {}
}

public class PHChange: NSObject, @unchecked Sendable {}

public class PHPersistentChangeToken: NSObject, NSSecureCoding, @unchecked Sendable {
    public class var supportsSecureCoding: Bool { true }
    public func encode(with coder: NSCoder) {}
    public required init?(coder: NSCoder) {}
    override init() {}
}

public class PHPersistentObjectChangeDetails: NSObject {
    public var insertedLocalIdentifiers: Set<String> { [] }
    public var updatedLocalIdentifiers: Set<String> { [] }
    public var deletedLocalIdentifiers: Set<String> { [] }
}

public class PHPersistentChange: NSObject {
    public func changeDetails(for type: PHObjectType) throws -> PHPersistentObjectChangeDetails { PHPersistentObjectChangeDetails() }
}

public struct PHPersistentChangeFetchResult: Sequence {
    public func makeIterator() -> AnyIterator<PHPersistentChange> { AnyIterator { nil } }
}

public protocol PHPhotoLibraryChangeObserver: NSObjectProtocol {
    func photoLibraryDidChange(_ change: PHChange)
}

public class PHPhotoLibrary: NSObject, @unchecked Sendable {
    public class func shared() -> PHPhotoLibrary { PHPhotoLibrary() }
    public class func authorizationStatus(for level: PHAccessLevel) -> PHAuthorizationStatus { .denied }
    public class func requestAuthorization(for level: PHAccessLevel) async -> PHAuthorizationStatus { .denied }
    public func register(_ observer: any PHPhotoLibraryChangeObserver) {}
    public func unregisterChangeObserver(_ observer: any PHPhotoLibraryChangeObserver) {}
    public func performChanges(_ changes: @escaping @Sendable () -> Void) async throws {}
    public var currentChangeToken: PHPersistentChangeToken { PHPersistentChangeToken() }
    public func fetchPersistentChanges(since token: PHPersistentChangeToken) throws -> PHPersistentChangeFetchResult {
        PHPersistentChangeFetchResult()
    }
}

public enum PHImageRequestOptionsDeliveryMode: Int, Sendable { case opportunistic, highQualityFormat, fastFormat }
public enum PHImageRequestOptionsResizeMode: Int, Sendable { case none, fast, exact }
public enum PHImageContentMode: Int, Sendable { case aspectFit, aspectFill }

public class PHImageRequestOptions: NSObject {
    public var deliveryMode: PHImageRequestOptionsDeliveryMode = .opportunistic
    public var resizeMode: PHImageRequestOptionsResizeMode = .fast
    public var isNetworkAccessAllowed = false
}

public let PHImageResultIsInCloudKey = "PHImageResultIsInCloudKey"
public let PHImageResultIsDegradedKey = "PHImageResultIsDegradedKey"

public class PHImageManager: NSObject, @unchecked Sendable {
    public class func `default`() -> PHImageManager { PHImageManager() }
    public func requestImage(
        for asset: PHAsset, targetSize: CGSize, contentMode: PHImageContentMode, options: PHImageRequestOptions?,
        resultHandler: @escaping @Sendable (PlatformImage?, [AnyHashable: Any]?) -> Void
    ) -> PHImageRequestID { 0 }
    public func requestImageDataAndOrientation(
        for asset: PHAsset, options: PHImageRequestOptions?,
        resultHandler: @escaping @Sendable (Data?, String?, CGImagePropertyOrientation, [AnyHashable: Any]?) -> Void
    ) -> PHImageRequestID { 0 }
    public func cancelImageRequest(_ requestID: PHImageRequestID) {}
}

public class PHCachingImageManager: PHImageManager, @unchecked Sendable {}
