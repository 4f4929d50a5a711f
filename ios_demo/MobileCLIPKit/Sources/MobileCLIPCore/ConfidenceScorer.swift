import Foundation

/// The probability that a hit is right, as `mobileclip_kit/confidence/scorer.py` computes it.
///
/// A hit is compared with how well the background texts nearest to the query describe the same image, and with the greatest
/// score that they reach anywhere in the library. All numbers are relative to the spread of the background's scores.
public struct ConfidenceScorer: Sendable {
    /// Hits beyond this number are too many to look at; they count as uncertain.
    static let mostHits = 100
    /// After so many uncertain hits in a row, a certain one is an accident.
    private static let uncertainHits = 10

    private static let nearest = 30
    /// A background text nearer than this says the same as the query.
    private static let same: Float = 0.97
    /// A query that is further from every background text is no text that the network was fitted for.
    private static let far: Float = 0.4
    private static let ridge = 1e-2
    private static let sharpness: Float = 3
    private static let nearness: Float = 10
    private static let mostDeviations: Float = 8
    private static let mostStandardised = 5.0

    private let background: TextBackground
    /// Mean standard deviation of a text's scores.
    private let spread: Float
    /// Mean of all scores of all texts, and their standard deviation.
    private let level, levelSpread: Float

    /// - Parameter background: Measured on the library whose hits are scored.
    public init(background: TextBackground) {
        self.background = background
        let statistics = background.statistics
        let count = Float(background.count)
        spread = statistics.deviation.reduce(0, +) / count
        let mean = statistics.mean.reduce(0, +) / count
        level = mean
        let within = statistics.deviation.reduce(0) { $0 + $1 * $1 } / count
        let between = statistics.mean.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / count
        levelSpread = (within + between).squareRoot()
    }

    /// Number of hits up to the last certain one before many uncertain ones; nil for a query that is far from every text.
    ///
    /// - Parameters:
    ///   - query: The unit vector of the words to find, before words to avoid and textness move it.
    ///   - hits: The vectors of the best hits, best first.
    public func certainHits(of query: [Float], _ hits: [[Float]]) -> Int? {
        guard let sure = confidences(of: query, hits), sure.allSatisfy(\.isFinite) else { return nil }
        var last = 0
        for (place, confidence) in sure.enumerated() where confidence >= ScorerWeights.line {
            if place - last >= Self.uncertainHits { break }
            last = place + 1
        }
        return last
    }

    /// The probability of each hit; nil for a query that is far from every background text. Parameters as for `certainHits`.
    func confidences(of query: [Float], _ hits: [[Float]]) -> [Double]? {
        features(of: query, hits)?.map { row in
            let inputs = zip(row, zip(ScorerWeights.mean, ScorerWeights.scale)).map { value, of in
                max(-Self.mostStandardised, min(Self.mostStandardised, (value - of.0) / of.1))
            }
            var logit = ScorerWeights.outputBias
            for (unit, weights) in ScorerWeights.hidden.enumerated() {
                let sum = zip(weights, inputs).reduce(ScorerWeights.hiddenBias[unit]) { $0 + $1.0 * $1.1 }
                logit += ScorerWeights.output[unit] * tanh(sum)
            }
            return 1 / (1 + exp(-logit))
        }
    }

    // MARK: Features

    /// What a query has in common with all its hits.
    private struct Asked {
        var vector: [Float]
        /// Whether each text says something else than the query.
        var isOther: [Bool]
        /// Places of the nearest texts, nearest first, and their weights.
        var near: [Int]
        var weights: [Float]
        var moments: (mean: Float, deviation: Float)
        /// What the nearest texts do not explain of the query.
        var rest: [Float]
        var restMoments: (mean: Float, deviation: Float)
        /// The best scores of the nearest texts on any image: weighted mean and median.
        var bestMean, bestMedian: Float
        /// Score of the first hit, and mean of the first three.
        var first, firstThree: Float
    }

    /// What the network is given, 17 numbers for each hit. Not private because the tests compare them with Python's.
    func features(of query: [Float], _ hits: [[Float]]) -> [[Double]]? {
        guard let asked = asked(query, hits) else { return nil }
        return hits.map { features(of: $0, asked) }
    }

    private func asked(_ query: [Float], _ hits: [[Float]]) -> Asked? {
        guard query.count == background.dim, hits.allSatisfy({ $0.count == background.dim }) else { return nil }
        let similar = VectorMath.products(background.texts, query)
        let isOther = similar.map { $0 < Self.same }
        guard let most = similar.max(), most >= Self.far, isOther.count(where: { $0 }) >= Self.nearest else { return nil }
        let sorted = similar.indices.filter { isOther[$0] }.sorted { similar[$0] > similar[$1] }
        let near = Array(sorted.prefix(Self.nearest))
        var weights = near.map { exp(Self.nearness * (similar[$0] - similar[near[0]])) }
        let sum = weights.reduce(0, +)
        weights = weights.map { $0 / sum }
        let best = near.map { background.statistics.best[$0] }
        let ordered = best.sorted()
        let scores = hits.prefix(3).map { VectorMath.dot($0, query) }
        let rest = unexplained(query, near.map { text($0) }, near.map { similar[$0] })
        return Asked(
            vector: query, isOther: isOther, near: near, weights: weights, moments: background.statistics.moments(of: query),
            rest: rest, restMoments: background.statistics.moments(of: rest),
            bestMean: zip(weights, best).reduce(0) { $0 + $1.0 * $1.1 },
            bestMedian: (ordered[Self.nearest / 2 - 1] + ordered[Self.nearest / 2]) / 2,
            first: scores.first ?? 0, firstThree: scores.reduce(0, +) / Float(max(scores.count, 1)))
    }

    private func text(_ place: Int) -> [Float] {
        Array(background.texts[place * background.dim..<(place + 1) * background.dim])
    }

    /// The query without what ridge regression among texts explains of it.
    private func unexplained(_ query: [Float], _ texts: [[Float]], _ similar: [Float]) -> [Float] {
        var inner: [Double] = []
        for (row, a) in texts.enumerated() {
            for (column, b) in texts.enumerated() {
                inner.append(Double(VectorMath.dot(a, b)) + (row == column ? Self.ridge : 0))
            }
        }
        var rest = query
        for (share, text) in zip(VectorMath.solve(inner, similar.map(Double.init)), texts) {
            for place in rest.indices { rest[place] -= Float(share) * text[place] }
        }
        return rest
    }

    private func features(of hit: [Float], _ asked: Asked) -> [Double] {
        let statistics = background.statistics
        let score = VectorMath.dot(hit, asked.vector)
        let onHit = VectorMath.products(background.texts, hit)
        let above = onHit.map { min(($0 - score) / spread, Self.mostDeviations) }
        let standard = (score - asked.moments.mean) / asked.moments.deviation
        let othersStandard = onHit.indices.map { (onHit[$0] - statistics.mean[$0]) / statistics.deviation[$0] }
        let nearAbove = asked.near.map { above[$0] }
        let nearStandard = asked.near.map { othersStandard[$0] }
        var (better, betterStandard, sum) = (0, 0, Float(0))
        for place in above.indices where asked.isOther[place] {
            if above[place] > 0 { better += 1 }
            if othersStandard[place] > standard { betterStandard += 1 }
            sum += exp(Self.sharpness * above[place])
        }
        let row: [Float] = [
            (score - level) / levelSpread,
            standard,
            -log(nearAbove.reduce(0) { $0 + exp(Self.sharpness * $1) }),
            -(nearAbove.max() ?? 0),
            Float(nearAbove.count { $0 > 0 }),
            (score - asked.bestMean) / spread,
            (score - asked.bestMedian) / spread,
            (VectorMath.dot(hit, asked.rest) - asked.restMoments.mean) / asked.restMoments.deviation,
            (asked.first - score) / spread,
            zip(nearAbove, asked.weights).reduce(0) { $0 + $1.0 * $1.1 },
            (asked.first - asked.bestMean) / spread,
            (asked.firstThree - score) / spread,
            standard - (nearStandard.max() ?? 0),
            Float(nearStandard.count { $0 > standard }),
            log1p(Float(better)),
            log1p(Float(betterStandard)),
            -log(sum),
        ]
        return row.map(Double.init)
    }
}
