@_exported import CoreGraphics
@_exported import Foundation

public class UIImage: NSObject, @unchecked Sendable {
    public enum Orientation: Int, Sendable { case up, down, left, right, upMirrored, downMirrored, leftMirrored, rightMirrored }
    public var cgImage: CGImage? { nil }
    public var imageOrientation: Orientation { .up }
    public var size: CGSize { .zero }
    public var scale: CGFloat { 1 }
}

@MainActor open class UIResponder: NSObject {}

@MainActor open class UIViewController: UIResponder {
    public var presentedViewController: UIViewController? { nil }
}

@MainActor open class UIWindow: UIResponder {
    public var isKeyWindow: Bool { false }
    public var rootViewController: UIViewController?
}

@MainActor open class UIScene: UIResponder {}

@MainActor open class UIWindowScene: UIScene {
    public var windows: [UIWindow] { [] }
}

@MainActor open class UIApplication: UIResponder {
    public class var shared: UIApplication { UIApplication() }
    public var connectedScenes: Set<UIScene> { [] }
    public nonisolated class var openSettingsURLString: String { "app-settings:" }
}
