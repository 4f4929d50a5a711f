import Foundation

extension TextBackground {
    /// With fewer images, the greatest score of a text says little about the texts that have no answer.
    static let leastImages = 100
    /// Of more images, an even sample is measured.
    private static let mostRows = 65_536
    /// When more than this share of the images came or went, the statistics are made anew.
    private static let changedShare = 0.1

    /// Whether an index has changed so little that the statistics still count.
    func suits(_ index: FlatIndex) -> Bool {
        let changed = max(abs(index.count - statistics.images), abs(index.rows - statistics.rows))
        return Double(changed) <= Self.changedShare * Double(max(index.count, 1))
    }

    /// The texts with their scores on the images of an index; nil if it has too few, or the task is cancelled.
    func measured(on index: FlatIndex) -> TextBackground? {
        guard index.count >= Self.leastImages, index.header.dim == dim else { return nil }
        let rows = (0..<index.rows).filter { !index.isRemoved($0) }
        let chosen = min(rows.count, Self.mostRows)
        var sums = ScoreSums(texts: texts, dim: dim)
        for place in 0..<chosen {
            if place % 256 == 0, Task.isCancelled { return nil }
            sums.add(index.vector(ofRow: rows[place * (rows.count - 1) / (chosen - 1)]))
        }
        var measured = self
        measured.statistics = sums.statistics(images: index.count, rows: index.rows)
        return measured
    }
}

/// The sums over image vectors that statistics are made of.
private struct ScoreSums {
    /// Vectors whose products are added at once, so that the matrix of sums is read once for them.
    private static let together = 4
    /// Products are added in single precision for so many vectors.
    private static let most = 4096

    private let texts: [Float]
    private let dim: Int
    private var count = 0
    private var best: [Float]
    private var total: [Double]
    private var waiting: [[Float]] = []
    /// Upper triangle, row by row.
    private var partial: [Float]
    private var squares: [Double]

    init(texts: [Float], dim: Int) {
        (self.texts, self.dim) = (texts, dim)
        best = [Float](repeating: -.infinity, count: texts.count / dim)
        total = [Double](repeating: 0, count: dim)
        partial = [Float](repeating: 0, count: dim * dim)
        squares = [Double](repeating: 0, count: dim * dim)
    }

    mutating func add(_ vector: [Float]) {
        for (text, score) in VectorMath.products(texts, vector).enumerated() where score > best[text] { best[text] = score }
        for place in 0..<dim { total[place] += Double(vector[place]) }
        waiting.append(vector)
        count += 1
        if waiting.count == Self.together { addSquares() }
        if count % Self.most == 0 { addPartial() }
    }

    private mutating func addSquares() {
        let zeros = [Float](repeating: 0, count: dim)
        let rows = waiting + Array(repeating: zeros, count: Self.together - waiting.count)
        waiting.removeAll(keepingCapacity: true)
        partial.withUnsafeMutableBufferPointer { sums in
            for first in 0..<dim {
                let (a, b, c, d) = (rows[0][first], rows[1][first], rows[2][first], rows[3][first])
                let row = UnsafeMutableBufferPointer(rebasing: sums[first * dim..<(first + 1) * dim])
                VectorMath.add(rows, times: SIMD4(a, b, c, d), to: row, from: first)
            }
        }
    }

    private mutating func addPartial() {
        for place in squares.indices {
            squares[place] += Double(partial[place])
            partial[place] = 0
        }
    }

    mutating func statistics(images: Int, rows: Int) -> TextBackground.Statistics {
        if !waiting.isEmpty { addSquares() }
        addPartial()
        let mean = total.map { $0 / Double(count) }
        var covariance = [Float](repeating: 0, count: dim * dim)
        for first in 0..<dim {
            for second in first..<dim {
                let value = Float(squares[first * dim + second] / Double(count) - mean[first] * mean[second])
                (covariance[first * dim + second], covariance[second * dim + first]) = (value, value)
            }
        }
        let imageMean = mean.map { Float($0) }
        var statistics = TextBackground.Statistics(
            images: images, rows: rows, best: best, mean: VectorMath.products(texts, imageMean), deviation: [],
            imageMean: imageMean, imageCovariance: covariance)
        statistics.deviation = (0..<best.count).map { text in
            statistics.moments(of: Array(texts[text * dim..<(text + 1) * dim])).deviation
        }
        return statistics
    }
}

extension TextBackground.Statistics {
    /// Mean and standard deviation of the inner products of all images with a vector.
    func moments(of vector: [Float]) -> (mean: Float, deviation: Float) {
        let variance = VectorMath.dot(VectorMath.products(imageCovariance, vector), vector)
        return (VectorMath.dot(imageMean, vector), max(variance, 1e-12).squareRoot())
    }
}

/// The statistics of the phone's library, stored beside the index.
private struct StoredStatistics: Codable {
    var bank: String
    var images: Int
    var rows: Int
    /// Little-endian numbers in single precision.
    var best, mean, deviation, imageMean, imageCovariance: Data

    init(_ background: TextBackground) {
        let statistics = background.statistics
        (bank, images, rows) = (background.bank, statistics.images, statistics.rows)
        func bytes(_ numbers: [Float]) -> Data {
            Data(numbers.flatMap { number in withUnsafeBytes(of: number.bitPattern.littleEndian, Array.init) })
        }
        (best, mean, deviation) = (bytes(statistics.best), bytes(statistics.mean), bytes(statistics.deviation))
        (imageMean, imageCovariance) = (bytes(statistics.imageMean), bytes(statistics.imageCovariance))
    }

    /// nil if they do not fit the texts.
    func statistics(for texts: TextBackground) -> TextBackground.Statistics? {
        func numbers(_ data: Data, _ count: Int) -> [Float]? {
            guard data.count == 4 * count else { return nil }
            let found = data.withUnsafeBytes { bytes in
                (0..<count).map { Float(bitPattern: bytes.number(at: 4 * $0, as: UInt32.self)) }
            }
            return found.allSatisfy(\.isFinite) ? found : nil
        }
        let (count, dim) = (texts.count, texts.dim)
        guard bank == texts.bank, images > 0, let best = numbers(best, count), let mean = numbers(mean, count),
            let deviation = numbers(deviation, count), let imageMean = numbers(imageMean, dim),
            let imageCovariance = numbers(imageCovariance, dim * dim)
        else { return nil }
        return TextBackground.Statistics(
            images: images, rows: rows, best: best, mean: mean, deviation: deviation, imageMean: imageMean,
            imageCovariance: imageCovariance)
    }
}

extension LibraryIndex {
    /// The texts with their scores on the phone's library as they were measured last; nil before the first time.
    public func storedBackground(_ texts: TextBackground) -> TextBackground? {
        guard let data = try? Data(contentsOf: backgroundURL),
            let stored = try? JSONDecoder().decode(StoredStatistics.self, from: data),
            let statistics = stored.statistics(for: texts)
        else { return nil }
        var background = texts
        background.statistics = statistics
        return background
    }

    /// The background texts of a bundle, nil if it has none, and their scores on the phone's library as they were measured last.
    ///
    /// Not isolated: it reads megabytes.
    nonisolated func background(
        of bundle: ModelBundle
    ) async -> (texts: Result<TextBackground?, ManifestError>, measured: TextBackground?) {
        do throws(ManifestError) {
            let texts = try bundle.background()
            return (.success(texts), texts.flatMap(storedBackground))
        } catch {
            return (.failure(error), nil)
        }
    }

    /// The texts with their scores on the phone's library, measured again if it has changed much. nil if it is too small, or
    /// the task is cancelled.
    ///
    /// Not isolated: it takes seconds for a large library.
    public nonisolated func measuredBackground(_ texts: TextBackground) async throws -> TextBackground? {
        let index = try open()
        guard index.count >= TextBackground.leastImages else {
            try? FileManager.default.removeItem(at: backgroundURL)
            return nil
        }
        if let stored = storedBackground(texts), stored.suits(index) { return stored }
        guard let measured = texts.measured(on: index) else { return nil }
        // Statistics that cannot be stored only cost the time to make them again.
        try? JSONEncoder().encode(StoredStatistics(measured)).write(to: backgroundURL, options: .atomic)
        return measured
    }
}
