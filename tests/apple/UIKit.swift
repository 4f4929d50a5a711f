import CoreGraphics
import Foundation

public final class UIImage: NSObject {
    public enum Orientation: Int, Sendable { case up, down, left, right }
    public var cgImage: CGImage? { nil }
    public var imageOrientation: Orientation { .up }
    public var size: CGSize { .zero }
    public var scale: CGFloat { 1 }
    public func draw(in rect: CGRect) {}
}

public final class UIGraphicsImageRendererFormat: NSObject {
    public var scale: CGFloat = 1
}

public final class UIGraphicsImageRendererContext: NSObject {}

public final class UIGraphicsImageRenderer: NSObject {
    public init(size: CGSize, format: UIGraphicsImageRendererFormat) {}
    public func image(actions: (UIGraphicsImageRendererContext) -> Void) -> UIImage { UIImage() }
}

@MainActor
public final class UIApplication: NSObject {
    public nonisolated static let openSettingsURLString = "app-settings:"
}
