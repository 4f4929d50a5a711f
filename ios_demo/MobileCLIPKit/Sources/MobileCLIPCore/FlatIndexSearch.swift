import Foundation

extension FlatIndex {
    /// The rows with the highest inner products, best first; equal scores are sorted by row.
    ///
    /// One pass over the mapped file. `docs/phone-index-format.md` specifies the arithmetic to the bit.
    ///
    /// - Parameters:
    ///   - query: A vector of length 1.
    ///   - limit: Maximum number of hits.
    ///   - excluded: A row to leave out, such as the photo to search by.
    public func search(_ query: [Float], limit: Int, excluding excluded: Int? = nil) throws(FlatIndexError) -> [Hit] {
        guard query.count == header.dim else { throw .wrongShape(expected: header.dim, found: query.count) }
        var best = TopRows(limit: min(limit, count))
        if best.limit > 0 {
            switch header.numbers {
            case .float16: scanHalves(query, excluded, into: &best)
            case .int8: scanBytes(query, excluded, into: &best)
            }
        }
        var hits: [Hit] = []
        for entry in best.sorted() {
            hits.append(Hit(row: entry.row, key: try key(ofRow: entry.row), score: entry.score))
        }
        return hits
    }

    private func scanBytes(_ query: [Float], _ excluded: Int?, into best: inout TopRows) {
        let dim = header.dim
        let levels = Float(min(32767, (Int(Int32.max)) / (127 * dim)))
        let step = (query.lazy.map(\.magnitude).max() ?? 0) / levels
        let whole = evensFirst(query.map { value in
            step == 0 ? 0 : Int16(max(-levels, min(levels, (value / step).rounded(.toNearestOrEven))))
        })
        let wideStep = Double(step)
        data.withUnsafeBytes { bytes in
            whole.withUnsafeBufferPointer { whole in
                guard let base = bytes.baseAddress else { return }
                for batch in batches where batch.added > 0 {
                    let layout = FlatIndexLayout(batch: batch, header: header)
                    let vectors = base + layout.vectors
                    for place in 0..<batch.added {
                        let row = batch.firstRow &+ place
                        if isRemoved(row) || row == excluded { continue }
                        let sum = dotBytes(vectors + place &* dim, whole)
                        let scale = Float(bitPattern: bytes.number(at: layout.scales &+ 4 &* place, as: UInt32.self))
                        best.offer(Float(Double(sum) * Double(scale) * wideStep), row)
                    }
                }
            }
        }
    }

    private func scanHalves(_ query: [Float], _ excluded: Int?, into best: inout TopRows) {
        let dim = header.dim
        // The bits of a half, moved to their positions in a float, are its value · 2⁻¹¹²; the query compensates for it exactly.
        let scaled = query.map { $0 * 0x1p112 } + [Float](repeating: 0, count: FlatIndexFormat.roundUp(dim, 16) - dim)
        data.withUnsafeBytes { bytes in
            scaled.withUnsafeBytes { scaled in
                guard let base = bytes.baseAddress, let query = scaled.baseAddress else { return }
                for batch in batches where batch.added > 0 {
                    let vectors = base + FlatIndexLayout(batch: batch, header: header).vectors
                    for place in 0..<batch.added {
                        let row = batch.firstRow &+ place
                        if isRemoved(row) || row == excluded { continue }
                        best.offer(dotHalves(vectors + 2 &* place &* dim, query, dim), row)
                    }
                }
            }
        }
    }
}

/// Moves the eight numbers at even positions of each 16 before the eight at odd ones; the remainder at the end is unchanged.
private func evensFirst(_ numbers: [Int16]) -> [Int16] {
    let whole = numbers.count & ~15
    var ordered = numbers
    for place in 0..<whole {
        ordered[place & ~15 | (place & 1) << 3 | (place & 15) >> 1] = numbers[place]
    }
    return ordered
}

/// The exact integer inner product with a query that is in the order of `evensFirst`.
@inline(__always)
private func dotBytes(_ row: UnsafeRawPointer, _ query: UnsafeBufferPointer<Int16>) -> Int32 {
    guard let other = query.baseAddress else { return 0 }
    let whole = query.count & ~15
    var sum = dotSixteens(row, other, whole)
    for place in whole..<query.count {
        sum &+= Int32(row.load(fromByteOffset: place, as: Int8.self)) &* Int32(query[place])
    }
    return sum
}

/// 16 bytes are eight pairs, each read as a little-endian 16-bit number: its upper byte is at an odd position, its lower
/// byte, shifted up and down again to keep its sign, at an even one.
///
/// Eight 32-bit sums in the loop of a separate function: in this form, the compiler uses one 16-bit multiply-add for eight
/// products. Inlined into the caller's loop, or with separate sums for even and odd positions, it uses two and as many shuffles.
@inline(never)
private func dotSixteens(_ row: UnsafeRawPointer, _ query: UnsafeRawPointer, _ count: Int) -> Int32 {
    var sums = SIMD8<Int32>()
    var place = 0
    while place < count {
        let pairs = row.loadUnaligned(fromByteOffset: place, as: SIMD8<Int16>.self)
        let forEven = query.loadUnaligned(fromByteOffset: 2 &* place, as: SIMD8<Int16>.self)
        let forOdd = query.loadUnaligned(fromByteOffset: 2 &* place &+ 16, as: SIMD8<Int16>.self)
        sums &+= SIMD8<Int32>(truncatingIfNeeded: (pairs &<< 8) &>> 8) &* SIMD8<Int32>(truncatingIfNeeded: forEven)
        sums &+= SIMD8<Int32>(truncatingIfNeeded: pairs &>> 8) &* SIMD8<Int32>(truncatingIfNeeded: forOdd)
        place &+= 16
    }
    return sums.wrappedSum()
}

/// 16 sums, dimension `i` in sum `i mod 16`, whose halves are then added. Four registers of four: wider types are spilled.
@inline(__always)
private func dotHalves(_ row: UnsafeRawPointer, _ query: UnsafeRawPointer, _ dim: Int) -> Float {
    var sums = (SIMD4<Float>(), SIMD4<Float>(), SIMD4<Float>(), SIMD4<Float>())
    var place = 0
    while place &+ 16 <= dim {
        let first = row.loadUnaligned(fromByteOffset: 2 &* place, as: SIMD8<Int16>.self)
        let second = row.loadUnaligned(fromByteOffset: 2 &* place &+ 16, as: SIMD8<Int16>.self)
        addProducts(first, second, query + 4 &* place, to: &sums)
        place &+= 16
    }
    if place < dim {
        var first = SIMD8<Int16>()
        var second = SIMD8<Int16>()
        for lane in 0..<dim - place {
            let half = row.loadUnaligned(fromByteOffset: 2 * (place + lane), as: Int16.self)
            if lane < 8 { first[lane] = half } else { second[lane - 8] = half }
        }
        addProducts(first, second, query + 4 &* place, to: &sums)
    }
    let four = (sums.0 + sums.2) + (sums.1 + sums.3)
    let two = four.lowHalf + four.highHalf
    return two[0] + two[1]
}

@inline(__always)
private func addProducts(
    _ first: SIMD8<Int16>, _ second: SIMD8<Int16>, _ query: UnsafeRawPointer,
    to sums: inout (SIMD4<Float>, SIMD4<Float>, SIMD4<Float>, SIMD4<Float>)
) {
    sums.0 += widened(first.lowHalf) * query.loadUnaligned(fromByteOffset: 0, as: SIMD4<Float>.self)
    sums.1 += widened(first.highHalf) * query.loadUnaligned(fromByteOffset: 16, as: SIMD4<Float>.self)
    sums.2 += widened(second.lowHalf) * query.loadUnaligned(fromByteOffset: 32, as: SIMD4<Float>.self)
    sums.3 += widened(second.highHalf) * query.loadUnaligned(fromByteOffset: 48, as: SIMD4<Float>.self)
}

/// Halves as floats, each 2¹¹² times too small: the sign is extended, exponent and fraction are shifted, the rest is masked.
@inline(__always)
private func widened(_ halves: SIMD4<Int16>) -> SIMD4<Float> {
    let spread = SIMD4<Int32>(truncatingIfNeeded: halves) &<< 13
    return unsafeBitCast(spread & SIMD4<Int32>(repeating: Int32(bitPattern: 0x8fff_e000)), to: SIMD4<Float>.self)
}

/// The best rows so far: a heap with the worst of them on top. Rows must be offered in ascending order.
struct TopRows {
    let limit: Int
    private var heap: [(score: Float, row: Int)] = []

    init(limit: Int) {
        self.limit = max(0, limit)
        heap.reserveCapacity(self.limit)
    }

    @inline(__always)
    mutating func offer(_ score: Float, _ row: Int) {
        if heap.count == limit {
            // An equal score of a higher row is not better.
            guard let worst = heap.first, score > worst.score else { return }
            heap[0] = (score, row)
            sink()
        } else {
            heap.append((score, row))
            rise()
        }
    }

    func sorted() -> [(score: Float, row: Int)] {
        heap.sorted { Self.isWorse($1, $0) }
    }

    private static func isWorse(_ a: (score: Float, row: Int), _ b: (score: Float, row: Int)) -> Bool {
        a.score != b.score ? a.score < b.score : a.row > b.row
    }

    private mutating func rise() {
        var child = heap.count - 1
        while child > 0, Self.isWorse(heap[child], heap[(child - 1) / 2]) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private mutating func sink() {
        var parent = 0
        while true {
            var worst = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && Self.isWorse(heap[child], heap[worst]) {
                worst = child
            }
            if worst == parent { return }
            heap.swapAt(parent, worst)
            parent = worst
        }
    }
}
