import CoreGraphics
import Foundation
import UIKit

public enum PHAuthorizationStatus: Int, Sendable { case notDetermined, restricted, denied, authorized, limited }
public enum PHAccessLevel: Int, Sendable { case addOnly = 1, readWrite }
public enum PHAssetMediaType: Int, Sendable { case unknown, image, video, audio }

public final class PHFetchOptions: NSObject {
    public var sortDescriptors: [NSSortDescriptor]?
}

public final class NSSortDescriptor: NSObject {
    public init(key: String?, ascending: Bool) {}
}

public final class PHFetchResult<Object: AnyObject>: NSObject {
    public var count: Int { 0 }
    public var firstObject: Object? { nil }
    public func enumerateObjects(_ body: (Object, Int, UnsafeMutablePointer<Bool>) -> Void) {}
}

public final class PHAsset: NSObject {
    public var localIdentifier: String { "" }
    public var creationDate: Date? { nil }
    public var modificationDate: Date? { nil }
    public var pixelWidth: Int { 0 }
    public var pixelHeight: Int { 0 }
    public static func fetchAssets(with type: PHAssetMediaType, options: PHFetchOptions?) -> PHFetchResult<PHAsset> {
        PHFetchResult()
    }
    public static func fetchAssets(
        withLocalIdentifiers keys: [String], options: PHFetchOptions?
    ) -> PHFetchResult<PHAsset> { PHFetchResult() }
}

public final class PHAssetResource: NSObject {
    public var originalFilename: String { "" }
    public static func assetResources(for asset: PHAsset) -> [PHAssetResource] { [] }
}

public final class PHChange: NSObject {}

public protocol PHPhotoLibraryChangeObserver: NSObjectProtocol {
    func photoLibraryDidChange(_ change: PHChange)
}

public final class PHPhotoLibrary: NSObject, @unchecked Sendable {
    public static func shared() -> PHPhotoLibrary { PHPhotoLibrary() }
    public static func authorizationStatus(for level: PHAccessLevel) -> PHAuthorizationStatus { .denied }
    public static func requestAuthorization(for level: PHAccessLevel) async -> PHAuthorizationStatus { .denied }
    public func register(_ observer: any PHPhotoLibraryChangeObserver) {}
    public func unregisterChangeObserver(_ observer: any PHPhotoLibraryChangeObserver) {}
}

public enum PHImageRequestOptionsDeliveryMode: Int, Sendable { case opportunistic, highQualityFormat, fastFormat }
public enum PHImageRequestOptionsResizeMode: Int, Sendable { case none, fast, exact }
public enum PHImageContentMode: Int, Sendable { case aspectFit, aspectFill }

public final class PHImageRequestOptions: NSObject {
    public var deliveryMode: PHImageRequestOptionsDeliveryMode = .opportunistic
    public var resizeMode: PHImageRequestOptionsResizeMode = .fast
    public var isNetworkAccessAllowed = false
}

public let PHImageResultIsInCloudKey = "PHImageResultIsInCloudKey"

public final class PHImageManager: NSObject {
    public static func `default`() -> PHImageManager { PHImageManager() }
    @discardableResult
    public func requestImage(
        for asset: PHAsset, targetSize: CGSize, contentMode: PHImageContentMode, options: PHImageRequestOptions?,
        resultHandler: @escaping (UIImage?, [AnyHashable: Any]?) -> Void
    ) -> Int32 { 0 }
}
