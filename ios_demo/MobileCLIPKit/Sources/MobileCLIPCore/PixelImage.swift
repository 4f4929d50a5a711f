import Foundation

/// An upright image of 8-bit samples: four bytes a pixel (red, green, blue, alpha), rows from the top, without gaps.
public struct PixelImage: Equatable, Sendable {
    /// Meaning of the fourth byte.
    public enum Alpha: Sendable {
        /// It is ignored.
        case none
        /// The colours are independent of it, as in a PNG file.
        case straight
        /// The colours have been multiplied by it, as in a bitmap of Core Graphics.
        case premultiplied
    }

    /// In pixels.
    public let width: Int
    /// In pixels.
    public let height: Int
    /// What the fourth sample of a pixel means.
    public let alpha: Alpha
    /// Four samples a pixel, row by row from the top.
    public var bytes: [UInt8]

    /// - Returns: nil unless there are four bytes for each of at least one pixel.
    public init?(width: Int, height: Int, alpha: Alpha = .none, bytes: [UInt8]) {
        guard width > 0, height > 0, bytes.count == 4 * width * height else { return nil }
        self.width = width
        self.height = height
        self.alpha = alpha
        self.bytes = bytes
    }

    /// An image without alpha whose samples a closure writes; nil if the closure returns false.
    public init?(width: Int, height: Int, alpha: Alpha = .none, writing: (UnsafeMutableBufferPointer<UInt8>) -> Bool) {
        guard width > 0, height > 0 else { return nil }
        var isWritten = false
        let bytes = [UInt8](unsafeUninitializedCapacity: 4 * width * height) { buffer, count in
            buffer.initialize(repeating: 0)
            isWritten = writing(buffer)
            count = buffer.count
        }
        guard isWritten else { return nil }
        self.init(width: width, height: height, alpha: alpha, bytes: bytes)
    }

    /// The image resized and cropped (or padded) to a model's input, without alpha: what `resize_and_crop` in
    /// `mobileclip_kit/images.py` returns.
    ///
    /// An alpha channel weighs the colours in the resize and is then dropped: there is no background. As in Python,
    /// `shortest` with a target that is not square is always bicubic.
    public func fitted(to spec: ImageSpec) -> PixelImage? {
        guard let plan = ResizePlan(width: width, height: height, spec: spec) else { return nil }
        let isOblong = spec.resizeMode == .shortest && spec.height != spec.width
        let visible = resized(by: plan, isOblong ? .bicubic : spec.interpolation)
        if (visible.width, visible.height) == (spec.width, spec.height) { return visible }
        let grey = UInt8(clamping: spec.fillColor)
        var padded = [UInt8](repeating: 255, count: 4 * spec.width * spec.height)
        for place in padded.indices where place & 3 != 3 { padded[place] = grey }
        for row in 0..<visible.height {
            let from = 4 * row * visible.width
            let to = 4 * ((row + plan.padY) * spec.width + plan.padX)
            padded.replaceSubrange(to..<to + 4 * visible.width, with: visible.bytes[from..<from + 4 * visible.width])
        }
        return PixelImage(width: spec.width, height: spec.height, bytes: padded)
    }

    /// Red, green and blue in 0…1, one plane after the other.
    public var planes: [Float] {
        (0..<3).flatMap { channel in
            stride(from: channel, to: bytes.count, by: 4).map { Float(bytes[$0]) / 255 }
        }
    }

    /// The part of the resized image that the crop keeps.
    private func resized(by plan: ResizePlan, _ interpolation: ImageSpec.Interpolation) -> PixelImage {
        let columns = Resampling(
            from: width, to: plan.resizedWidth, keeping: plan.cropX..<plan.cropX + plan.cropWidth, interpolation)
        let rows = Resampling(
            from: height, to: plan.resizedHeight, keeping: plan.cropY..<plan.cropY + plan.cropHeight, interpolation)
        // An image that is only cropped keeps its colours, whatever its alpha.
        let weighsAlpha = alpha != .none && !(columns.isCopy && rows.isCopy)
        var samples = Samples(width: width, height: height, bytes: bytes)
        if alpha == .straight, weighsAlpha { samples.premultiply() }
        if Resampling.goesDownFirst(width: width, height: height, plan) {
            samples = columns.across(rows.down(samples, hasAlpha: weighsAlpha), hasAlpha: weighsAlpha)
        } else {
            samples = rows.down(columns.across(samples, rows: rows.read, hasAlpha: weighsAlpha), hasAlpha: weighsAlpha)
        }
        if weighsAlpha || alpha == .premultiplied { samples.divideByAlpha() }
        for place in stride(from: 3, to: samples.bytes.count, by: 4) { samples.bytes[place] = 255 }
        return PixelImage(samples)
    }

    private init(_ samples: Samples) {
        (width, height, bytes) = (samples.width, samples.height, samples.bytes)
        alpha = .none
    }
}

/// Pixels between the steps of a resize.
struct Samples {
    var width: Int
    var height: Int
    var bytes: [UInt8]
    /// The row of the whole image that the first row is.
    var firstRow = 0

    /// c · alpha / 255, rounded as Pillow rounds it.
    mutating func premultiply() {
        mapColours { colour, alpha in
            let product = UInt32(colour) * UInt32(alpha) + 128
            return UInt8(truncatingIfNeeded: ((product >> 8) + product) >> 8)
        }
    }

    /// 255 · c / alpha, cut off as Pillow cuts it off.
    mutating func divideByAlpha() {
        mapColours { colour, alpha in alpha == 0 ? colour : UInt8(min(255, 255 * UInt32(colour) / UInt32(alpha))) }
    }

    private mutating func mapColours(_ change: (UInt8, UInt8) -> UInt8) {
        bytes.withUnsafeMutableBufferPointer { bytes in
            for pixel in stride(from: 0, to: bytes.count, by: 4) where bytes[pixel + 3] != 255 {
                for place in pixel..<pixel + 3 { bytes[place] = change(bytes[place], bytes[pixel + 3]) }
            }
        }
    }
}
