import Foundation

/// The rectangles for resizing, cropping and padding an image, as in `mobileclip_kit/images.py`.
///
/// The image is resized to `resizedWidth` × `resizedHeight` and cropped. If the crop is smaller than the model's input, it
/// is placed at `padX`, `padY` on a background of the fill colour.
public struct ResizePlan: Equatable, Sendable {
    /// Width after resizing, before cropping.
    public var resizedWidth: Int
    /// Height after resizing, before cropping.
    public var resizedHeight: Int
    /// Left edge of the crop in the resized image.
    public var cropX: Int
    /// Upper edge of the crop in the resized image.
    public var cropY: Int
    /// Width of the crop.
    public var cropWidth: Int
    /// Height of the crop.
    public var cropHeight: Int
    /// Padding on the left of the crop.
    public var padX: Int
    /// Padding above the crop.
    public var padY: Int

    /// Computes the rectangles for an upright image of `width` × `height` pixels; nil if a side is not positive.
    public init?(width: Int, height: Int, spec: ImageSpec) {
        guard width > 0, height > 0, spec.width > 0, spec.height > 0 else { return nil }
        (resizedWidth, resizedHeight) = Self.resizedSize(width: width, height: height, spec: spec)
        cropWidth = min(resizedWidth, spec.width)
        cropHeight = min(resizedHeight, spec.height)
        // Rounds half to even, as Python does.
        cropX = Int((Double(resizedWidth - cropWidth) / 2).rounded(.toNearestOrEven))
        cropY = Int((Double(resizedHeight - cropHeight) / 2).rounded(.toNearestOrEven))
        padX = (spec.width - cropWidth) / 2
        padY = (spec.height - cropHeight) / 2
    }

    private static func resizedSize(width: Int, height: Int, spec: ImageSpec) -> (Int, Int) {
        if spec.resizeMode == .squash { return (spec.width, spec.height) }
        if spec.resizeMode == .shortest, spec.width == spec.height {
            // The longer side is truncated to an integer…
            return width <= height
                ? (spec.width, Int(Double(spec.width * height) / Double(width)))
                : (Int(Double(spec.height * width) / Double(height)), spec.height)
        }
        // …in the other modes both sides are rounded.
        let down = Double(height) / Double(spec.height)
        let across = Double(width) / Double(spec.width)
        let ratio = spec.resizeMode == .longest ? max(down, across) : min(down, across)
        return (
            max(1, Int((Double(width) / ratio).rounded(.toNearestOrEven))),
            max(1, Int((Double(height) / ratio).rounded(.toNearestOrEven)))
        )
    }
}

extension ImageSpec {
    /// By how much a decoder may reduce an image of `width` × `height` pixels: 1, 2, 4 or 8, as in Python's fast decoding.
    ///
    /// Twice the model's input leaves the antialiased filter something to filter.
    public func reduction(width: Int, height: Int) -> Int {
        let least = 2 * max(self.width, self.height)
        return [8, 4, 2].first { $0 * least <= min(width, height) } ?? 1
    }
}
