/// Products of rows of numbers, eight at a time.
enum VectorMath {
    /// The inner product of two rows.
    static func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Float {
        let (x, y) = (UnsafeRawPointer(a), UnsafeRawPointer(b))
        var sums = (SIMD8<Float>(), SIMD8<Float>())
        var place = 0
        while place &+ 16 <= count {
            sums.0 += x.loadUnaligned(fromByteOffset: 4 &* place, as: SIMD8<Float>.self)
                * y.loadUnaligned(fromByteOffset: 4 &* place, as: SIMD8<Float>.self)
            sums.1 += x.loadUnaligned(fromByteOffset: 4 &* place &+ 32, as: SIMD8<Float>.self)
                * y.loadUnaligned(fromByteOffset: 4 &* place &+ 32, as: SIMD8<Float>.self)
            place &+= 16
        }
        var sum = (sums.0 + sums.1).sum()
        while place < count {
            sum += a[place] * b[place]
            place &+= 1
        }
        return sum
    }

    /// The inner product of two vectors.
    static func dot(_ a: [Float], _ b: [Float]) -> Float {
        a.withUnsafeBufferPointer { a in
            b.withUnsafeBufferPointer { b in
                guard let x = a.baseAddress, let y = b.baseAddress else { return 0 }
                return dot(x, y, min(a.count, b.count))
            }
        }
    }

    /// The inner products of a matrix's rows with a vector.
    ///
    /// - Parameter matrix: Rows of the vector's length, one after the other.
    static func products(_ matrix: [Float], _ vector: [Float]) -> [Float] {
        let dim = vector.count
        return matrix.withUnsafeBufferPointer { matrix in
            vector.withUnsafeBufferPointer { vector in
                guard dim > 0, let rows = matrix.baseAddress, let vector = vector.baseAddress else { return [] }
                return (0..<matrix.count / dim).map { dot(rows + $0 * dim, vector, dim) }
            }
        }
    }

    /// Solves a system with a symmetric positive definite matrix, by Cholesky's method.
    ///
    /// - Parameters:
    ///   - matrix: Rows of `right`'s length, one after the other.
    ///   - right: The right-hand side.
    static func solve(_ matrix: [Double], _ right: [Double]) -> [Double] {
        let size = right.count
        var lower = matrix
        for row in 0..<size {
            for column in 0...row {
                var sum = lower[row * size + column]
                for k in 0..<column { sum -= lower[row * size + k] * lower[column * size + k] }
                lower[row * size + column] =
                    row == column ? max(sum, .leastNormalMagnitude).squareRoot() : sum / lower[column * size + column]
            }
        }
        var solution = right
        for row in 0..<size {
            for k in 0..<row { solution[row] -= lower[row * size + k] * solution[k] }
            solution[row] /= lower[row * size + row]
        }
        for row in (0..<size).reversed() {
            for k in row + 1..<size { solution[row] -= lower[k * size + row] * solution[k] }
            solution[row] /= lower[row * size + row]
        }
        return solution
    }
}

extension VectorMath {
    /// Adds four rows, each times its weight, to another row, from a place on.
    static func add(
        _ rows: [[Float]], times weights: SIMD4<Float>, to sums: UnsafeMutableBufferPointer<Float>, from start: Int
    ) {
        rows[0].withUnsafeBufferPointer { a in
            rows[1].withUnsafeBufferPointer { b in
                rows[2].withUnsafeBufferPointer { c in
                    rows[3].withUnsafeBufferPointer { d in
                        for place in start..<sums.count {
                            sums[place] += weights[0] * a[place] + weights[1] * b[place] + weights[2] * c[place] + weights[3] * d[place]
                        }
                    }
                }
            }
        }
    }
}
