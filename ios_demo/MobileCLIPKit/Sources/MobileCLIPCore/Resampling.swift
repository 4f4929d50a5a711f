import Foundation

/// Antialiased resampling along one axis, equal to Pillow's `Image.resize` bit for bit.
///
/// Each output sample is a weighted sum of the input samples that the filter, widened by the reduction, covers. Weights
/// have 22 binary digits after the point, and sums are rounded to 8 bits after each of the two directions.
struct Resampling {
    private static let precision: Int32 = 22

    /// Whether the axis keeps its length, so that the samples are only cut out.
    let isCopy: Bool
    /// Input samples that the kept output samples depend on.
    let read: Range<Int>

    private let count: Int
    private let first: [Int]
    private let taps: [Int]
    /// `widest` weights for each output sample.
    private let weights: [Int32]
    private let widest: Int

    init(from input: Int, to output: Int, keeping kept: Range<Int>, _ interpolation: ImageSpec.Interpolation) {
        let step = Double(input) / Double(output)
        let widening = max(step, 1)
        let narrowing = 1 / widening
        let reach = interpolation.reach * widening
        isCopy = input == output
        count = kept.count
        widest = 2 * Int(reach.rounded(.up)) + 1
        var first: [Int] = []
        var taps: [Int] = []
        var weights = [Int32](repeating: 0, count: kept.count * widest)
        for (place, sample) in kept.enumerated() {
            let centre = (Double(sample) + 0.5) * step
            let from = max(0, Int(centre - reach + 0.5))
            let to = min(input, Int(centre + reach + 0.5))
            let shares = (from..<to).map { interpolation.weight((Double($0) - centre + 0.5) * narrowing) }
            let whole = shares.reduce(0, +)
            for (tap, share) in shares.enumerated() {
                let part = (whole == 0 ? share : share / whole) * Double(1 << Self.precision)
                weights[place * widest + tap] = Int32(part + (part < 0 ? -0.5 : 0.5))
            }
            first.append(from)
            taps.append(to - from)
        }
        (self.first, self.taps, self.weights) = (first, taps, weights)
        let ends = zip(first, taps).map { $0 + $1 }
        read = isCopy ? kept : (first.min() ?? 0)..<(ends.max() ?? 0)
    }

    /// Pillow's rule (since 13.0) for the direction that comes first. It matters only where a sum is clipped.
    static func goesDownFirst(width: Int, height: Int, _ plan: ResizePlan) -> Bool {
        plan.resizedHeight < height && height - plan.resizedHeight > 2 * (width - plan.resizedWidth)
    }

    /// Resamples each of some rows; all rows if `rows` is nil.
    func across(_ samples: Samples, rows: Range<Int>? = nil, hasAlpha: Bool) -> Samples {
        let rows = rows ?? 0..<samples.height
        if isCopy { return cut(samples, columns: read, rows: rows) }
        var result = Samples(width: count, height: rows.count, bytes: [], firstRow: rows.lowerBound)
        result.bytes = [UInt8](unsafeUninitializedCapacity: 4 * count * rows.count) { target, size in
            samples.bytes.withUnsafeBufferPointer { source in
                weights.withUnsafeBufferPointer { weights in
                    guard let source = source.baseAddress, let weights = weights.baseAddress,
                        let target = target.baseAddress
                    else { return }
                    for (place, row) in rows.enumerated() {
                        sumRow(source + 4 * row * samples.width, weights, into: target + 4 * place * count, hasAlpha)
                    }
                }
            }
            size = 4 * count * rows.count
        }
        return result
    }

    /// Resamples each column.
    func down(_ samples: Samples, hasAlpha: Bool) -> Samples {
        if isCopy {
            let rows = read.lowerBound - samples.firstRow..<read.upperBound - samples.firstRow
            return cut(samples, columns: 0..<samples.width, rows: rows)
        }
        let width = 4 * samples.width
        var result = Samples(width: samples.width, height: count, bytes: [])
        var sums = [Int32](repeating: 0, count: width)
        result.bytes = [UInt8](unsafeUninitializedCapacity: width * count) { target, size in
            samples.bytes.withUnsafeBufferPointer { source in
                sums.withUnsafeMutableBufferPointer { sums in
                    guard let source = source.baseAddress, let target = target.baseAddress, let sums = sums.baseAddress
                    else { return }
                    for place in 0..<count {
                        sums.update(repeating: 1 << (Self.precision - 1), count: width)
                        for tap in 0..<taps[place] {
                            let row = source + width * (first[place] + tap - samples.firstRow)
                            let weight = weights[place * widest + tap]
                            for column in 0..<width { sums[column] &+= Int32(row[column]) &* weight }
                        }
                        let written = target + width * place
                        for column in 0..<width { written[column] = Self.clipped(sums[column]) }
                    }
                }
            }
            size = width * count
        }
        return result
    }

    @inline(__always)
    private func sumRow(
        _ row: UnsafePointer<UInt8>, _ weights: UnsafePointer<Int32>, into target: UnsafeMutablePointer<UInt8>,
        _ hasAlpha: Bool
    ) {
        for place in 0..<count {
            let half: Int32 = 1 << (Self.precision - 1)
            var (red, green, blue, alpha) = (half, half, half, half)
            let weights = weights + place * widest
            let pixels = row + 4 * first[place]
            for tap in 0..<taps[place] {
                let weight = weights[tap]
                red &+= Int32(pixels[4 &* tap]) &* weight
                green &+= Int32(pixels[4 &* tap &+ 1]) &* weight
                blue &+= Int32(pixels[4 &* tap &+ 2]) &* weight
                if hasAlpha { alpha &+= Int32(pixels[4 &* tap &+ 3]) &* weight }
            }
            target[4 &* place] = Self.clipped(red)
            target[4 &* place &+ 1] = Self.clipped(green)
            target[4 &* place &+ 2] = Self.clipped(blue)
            target[4 &* place &+ 3] = hasAlpha ? Self.clipped(alpha) : 255
        }
    }

    @inline(__always)
    private static func clipped(_ sum: Int32) -> UInt8 {
        UInt8(truncatingIfNeeded: max(0, min(255, sum >> precision)))
    }

    private func cut(_ samples: Samples, columns: Range<Int>, rows: Range<Int>) -> Samples {
        var cut = Samples(width: columns.count, height: rows.count, bytes: [], firstRow: samples.firstRow + rows.lowerBound)
        cut.bytes.reserveCapacity(4 * columns.count * rows.count)
        for row in rows {
            let start = 4 * (row * samples.width)
            cut.bytes += samples.bytes[start + 4 * columns.lowerBound..<start + 4 * columns.upperBound]
        }
        return cut
    }
}

extension ImageSpec.Interpolation {
    /// The filter's reach in samples, at no reduction.
    var reach: Double {
        switch self {
        case .bilinear: 1
        case .bicubic: 2
        }
    }

    /// The filter's weight at a distance in samples; bicubic is Keys' filter with a = −0.5.
    func weight(_ distance: Double) -> Double {
        let x = distance.magnitude
        switch self {
        case .bilinear:
            return max(0, 1 - x)
        case .bicubic:
            if x < 1 { return (1.5 * x - 2.5) * x * x + 1 }
            return x < 2 ? -0.5 * (((x - 5) * x + 8) * x - 4) : 0
        }
    }
}
