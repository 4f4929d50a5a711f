@_exported import CoreGraphics
@_exported import Foundation

public class NSImage: NSObject {
    public func cgImage(
        forProposedRect rect: UnsafeMutablePointer<CGRect>?, context: NSGraphicsContext?, hints: [NSImageRep.HintKey: Any]?
    ) -> CGImage? { nil }
}

public class NSGraphicsContext: NSObject {}
public class NSImageRep: NSObject {
    public struct HintKey: Hashable, Sendable {}
}
