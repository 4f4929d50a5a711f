import Foundation
import Testing

@testable import MobileCLIPCore

private struct Queries: Decodable {
    struct Combined: Decodable {
        var parts: [[Float]]
        var weights: [Float]
        var result: [Float]
    }

    struct Shifted: Decodable {
        var query: [Float]
        var scale: Float
        var result: [Float]
    }

    struct Term: Decodable {
        var weight: Float
        var text: String
    }

    struct Parsed: Decodable {
        var query: String
        var terms: [Term]
    }

    var direction: [Float]
    var combined: [Combined]
    var shifted: [Shifted]
    var parsed: [Parsed]
}

/// Both languages add in double precision and round once, but the order of a sum can change the last bit.
private let tolerance: Float = 1e-6

private func distance(_ a: [Float], _ b: [Float]) -> Float {
    a.count == b.count ? zip(a, b).map { abs($0 - $1) }.max() ?? 0 : .infinity
}

@Suite struct QueryTests {
    private let golden: Queries

    init() throws { golden = try Golden.read("queries.json", as: Queries.self) }

    @Test func weightedSumsEqualPythons() throws {
        for entry in golden.combined {
            let query = try QueryVector(parts: zip(entry.parts, entry.weights).map { (vector: $0, weight: $1) })
            #expect(distance(query.vector, entry.result) < tolerance)
        }
    }

    @Test func textnessEqualsPythons() throws {
        for entry in golden.shifted {
            let query = try QueryVector(entry.query).adding(textness: golden.direction, scale: entry.scale)
            #expect(distance(query.vector, entry.result) < tolerance)
        }
    }

    @Test func signsAndWeightsAreReadAsInPython() {
        for entry in golden.parsed {
            let expected = entry.terms.map { QueryTerm(weight: $0.weight, text: $0.text) }
            #expect(QueryTerm.parse(entry.query) == expected, "\(entry.query.debugDescription)")
        }
    }

    @Test func whatHasNoDirectionIsRefused() {
        #expect(throws: QueryError.empty) { try QueryVector(parts: []) }
        #expect(throws: QueryError.noDirection) { try QueryVector(parts: [([1, 0], 1), ([1, 0], -1)]) }
        #expect(throws: QueryError.noDirection) { try QueryVector([.nan, 0]) }
        #expect(throws: QueryError.differentWidths(expected: 2, found: 3)) {
            try QueryVector([1, 0]).adding(textness: [1, 0, 0], scale: 1)
        }
    }
}
