#if canImport(CoreGraphics)
    import CoreGraphics
    import Foundation
    import ImageIO
    import MobileCLIPCore

    /// From an image file, or an image of the system, to the model's input.
    ///
    /// As in Python, samples stay in the image's own colour space, whatever its profile says, and alpha weighs the colours.
    public enum ImageDecoder {
        /// Decodes and resizes a file; nil if it cannot be decoded.
        ///
        /// - Parameters:
        ///   - isExact: Whether to decode all pixels. Otherwise the decoder may halve, quarter… a large image, which is faster
        ///     and needs less memory.
        public static func pixels(of data: Data, for input: ImageSpec, isExact: Bool = false) -> PixelImage? {
            guard let source = CGImageSourceCreateWithData(data as CFData, nil) else { return nil }
            let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
            let width = properties?[kCGImagePropertyPixelWidth] as? Int ?? 0
            let height = properties?[kCGImagePropertyPixelHeight] as? Int ?? 0
            let orientation = properties?[kCGImagePropertyOrientation] as? Int ?? 1
            let reduction = isExact ? 1 : input.reduction(width: width, height: height)
            let options: [CFString: Any] = [kCGImageSourceShouldCache: false, kCGImageSourceSubsampleFactor: reduction]
            guard let image = CGImageSourceCreateImageAtIndex(source, 0, options as CFDictionary) else { return nil }
            return pixels(of: image, orientation: orientation)?.fitted(to: input)
        }

        /// The samples of an image, upright.
        ///
        /// - Parameter orientation: An EXIF orientation, 1…8.
        public static func pixels(of image: CGImage, orientation: Int) -> PixelImage? {
            let hasAlpha = ![.none, .noneSkipFirst, .noneSkipLast].contains(image.alphaInfo)
            if image.colorSpace?.model == .monochrome, !hasAlpha { return grey(image)?.turned(from: orientation) }
            let info: CGImageAlphaInfo = hasAlpha ? .premultipliedLast : .noneSkipLast
            // A context in the image's own space converts nothing.
            let own = image.colorSpace.flatMap { $0.model == .rgb && $0.supportsOutput ? $0 : nil }
            guard let space = own ?? CGColorSpace(name: CGColorSpace.sRGB) else { return nil }
            let drawn = PixelImage(width: image.width, height: image.height, alpha: hasAlpha ? .premultiplied : .none) { bytes in
                draw(image, into: bytes, bytesPerPixel: 4, space, info.rawValue)
            }
            return drawn?.turned(from: orientation)
        }

        private static func grey(_ image: CGImage) -> PixelImage? {
            guard let space = image.colorSpace else { return nil }
            let samples = [UInt8](unsafeUninitializedCapacity: image.width * image.height) { bytes, count in
                bytes.initialize(repeating: 0)
                count = draw(image, into: bytes, bytesPerPixel: 1, space, CGImageAlphaInfo.none.rawValue) ? bytes.count : 0
            }
            return PixelImage(width: image.width, height: image.height, bytes: samples.flatMap { [$0, $0, $0, 255] })
        }

        private static func draw(
            _ image: CGImage, into bytes: UnsafeMutableBufferPointer<UInt8>, bytesPerPixel: Int, _ space: CGColorSpace, _ info: UInt32
        ) -> Bool {
            guard let context = CGContext(
                data: bytes.baseAddress, width: image.width, height: image.height, bitsPerComponent: 8,
                bytesPerRow: bytesPerPixel * image.width, space: space, bitmapInfo: info)
            else { return false }
            context.setBlendMode(.copy)
            context.interpolationQuality = .none
            context.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
            return true
        }
    }
#endif
