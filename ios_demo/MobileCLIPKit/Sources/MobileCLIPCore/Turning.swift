import Foundation

extension PixelImage {
    /// The image turned upright.
    ///
    /// - Parameter orientation: An EXIF orientation, 1…8; other numbers count as 1.
    public func turned(from orientation: Int) -> PixelImage {
        guard 2...8 ~= orientation else { return self }
        let swapsSides = orientation >= 5
        let (newWidth, newHeight) = swapsSides ? (height, width) : (width, height)
        let turned = PixelImage(width: newWidth, height: newHeight, alpha: alpha) { target in
            bytes.withUnsafeBytes { source in
                for y in 0..<newHeight {
                    for x in 0..<newWidth {
                        let (column, row) = origin(x, y, orientation)
                        let pixel = source.loadUnaligned(fromByteOffset: 4 * (row * width + column), as: UInt32.self)
                        UnsafeMutableRawBufferPointer(target).storeBytes(of: pixel, toByteOffset: 4 * (y * newWidth + x), as: UInt32.self)
                    }
                }
            }
            return true
        }
        return turned ?? self
    }

    /// Where a pixel of the upright image comes from.
    @inline(__always)
    private func origin(_ x: Int, _ y: Int, _ orientation: Int) -> (column: Int, row: Int) {
        switch orientation {
        case 2: (width - 1 - x, y)
        case 3: (width - 1 - x, height - 1 - y)
        case 4: (x, height - 1 - y)
        case 5: (y, x)
        case 6: (y, height - 1 - x)
        case 7: (width - 1 - y, height - 1 - x)
        default: (width - 1 - y, x)
        }
    }
}
