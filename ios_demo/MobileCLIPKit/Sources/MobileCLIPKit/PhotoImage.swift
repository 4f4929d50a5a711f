#if canImport(UIKit)
    import UIKit

    /// An image of the system, which turns it when it is shown.
    ///
    /// Its pixels never change, but not every SDK marks the system's type as `Sendable`.
    public struct PhotoImage: @unchecked Sendable {
        /// The system's image.
        public let image: UIImage

        /// An image of the system.
        public init(_ image: UIImage) { self.image = image }

        var cgImage: CGImage? { image.cgImage }

        /// The EXIF orientation.
        var orientation: Int {
            switch image.imageOrientation {
            case .up: 1
            case .upMirrored: 2
            case .down: 3
            case .downMirrored: 4
            case .leftMirrored: 5
            case .right: 6
            case .rightMirrored: 7
            case .left: 8
            @unknown default: 1
            }
        }
    }
#elseif canImport(AppKit)
    import AppKit

    /// An image of the system, which has turned it.
    public struct PhotoImage: @unchecked Sendable {
        /// The system's image.
        public let image: NSImage

        /// An image of the system.
        public init(_ image: NSImage) { self.image = image }

        var cgImage: CGImage? { image.cgImage(forProposedRect: nil, context: nil, hints: nil) }
        var orientation: Int { 1 }
    }
#endif
