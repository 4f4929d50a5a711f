import Foundation

/// Errors of a query's parts.
public enum QueryError: Error, Equatable, Sendable {
    case empty
    /// A part has another number of dimensions than the first one.
    case differentWidths(expected: Int, found: Int)
    /// The parts cancel each other, or have a number that is not finite.
    case noDirection
}

/// A query vector: weighted parts, and the textness vector.
public struct QueryVector: Equatable, Sendable {
    /// Length 1.
    public private(set) var vector: [Float]

    /// Scales a vector to length 1.
    public init(_ vector: [Float]) throws(QueryError) {
        try self.init(parts: [(vector, 1)])
    }

    /// The normalised weighted sum of unit vectors; weights are positive for words to find and negative for words to avoid.
    public init(parts: [(vector: [Float], weight: Float)]) throws(QueryError) {
        guard let first = parts.first else { throw .empty }
        var sum = [Double](repeating: 0, count: first.vector.count)
        for part in parts { try Self.add(part.vector, times: part.weight, to: &sum) }
        vector = try Self.normalised(sum)
    }

    /// This query moved along the textness vector: a positive scale promotes written words, a negative one demotes them.
    ///
    /// `normalise(query + scale · textness)`; the textness vector is not normalised, as its length is part of the scale.
    public func adding(textness: [Float], scale: Float) throws(QueryError) -> QueryVector {
        var sum = vector.map(Double.init)
        try Self.add(textness, times: scale, to: &sum)
        var moved = self
        moved.vector = try Self.normalised(sum)
        return moved
    }

    private static func add(_ vector: [Float], times weight: Float, to sum: inout [Double]) throws(QueryError) {
        guard vector.count == sum.count else { throw .differentWidths(expected: sum.count, found: vector.count) }
        for (place, value) in vector.enumerated() { sum[place] += Double(value) * Double(weight) }
    }

    private static func normalised(_ sum: [Double]) throws(QueryError) -> [Float] {
        let norm = sum.reduce(0) { $0 + $1 * $1 }.squareRoot()
        guard norm.isFinite, norm > 1e-6 else { throw .noDirection }
        return sum.map { Float($0 / norm) }
    }
}
