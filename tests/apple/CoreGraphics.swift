import Foundation


public enum CGColorSpaceModel: Int32, Sendable { case unknown = -1, monochrome = 0, rgb, cmyk, lab }

public final class CGColorSpace {
    public static var sRGB: CFString { "sRGB" }
    public init?(name: CFString) {}
    public var model: CGColorSpaceModel { .rgb }
    public var supportsOutput: Bool { true }
}

public enum CGImageAlphaInfo: UInt32, Sendable {
    case none, premultipliedLast, premultipliedFirst, last, first, noneSkipLast, noneSkipFirst, alphaOnly
}

public enum CGInterpolationQuality: Int32, Sendable { case `default`, none, low, high, medium }
public enum CGBlendMode: Int32, Sendable { case normal = 0, copy = 17 }

public final class CGImage {
    public var width: Int { 0 }
    public var height: Int { 0 }
    public var alphaInfo: CGImageAlphaInfo { .none }
    public var colorSpace: CGColorSpace? { nil }
}

public final class CGContext {
    public init?(
        data: UnsafeMutableRawPointer?, width: Int, height: Int, bitsPerComponent: Int, bytesPerRow: Int, space: CGColorSpace,
        bitmapInfo: UInt32
    ) {}
    public var interpolationQuality: CGInterpolationQuality = .high
    public func setBlendMode(_ mode: CGBlendMode) {}
    public func draw(_ image: CGImage, in rect: CGRect, byTiling: Bool = false) {}
}
