import Foundation
import Testing

@testable import MobileCLIPCore

/// `tests/golden/pixels.json` and `pixels.bin`: drawn images, and what Python's image path makes of them.
private struct GoldenPixels: Decodable {
    struct Source: Decodable {
        var name: String
        var width: Int
        var height: Int
        var has_alpha: Bool
        var start: Int
    }

    struct Case: Decodable {
        var source: Int
        var spec: ImageSpec
        var start: Int
    }

    var sources: [Source]
    var cases: [Case]
}

@Suite struct PixelTests {
    private let golden: GoldenPixels
    private let samples: [UInt8]

    init() throws {
        golden = try Golden.read("pixels.json", as: GoldenPixels.self)
        samples = try [UInt8](Data(contentsOf: Golden.folder.appendingPathComponent("pixels.bin")))
    }

    private func image(_ source: GoldenPixels.Source) throws -> PixelImage {
        let bytes = Array(samples[source.start..<source.start + 4 * source.width * source.height])
        let alpha: PixelImage.Alpha = source.has_alpha ? .straight : .none
        return try #require(PixelImage(width: source.width, height: source.height, alpha: alpha, bytes: bytes))
    }

    private func colours(_ image: PixelImage) -> [UInt8] {
        image.bytes.enumerated().filter { $0.offset & 3 != 3 }.map(\.element)
    }

    private func largestDifference(_ found: [UInt8], _ expected: ArraySlice<UInt8>) -> Int {
        zip(found, expected).map { abs(Int($0) - Int($1)) }.max() ?? 255
    }

    @Test func pixelsEqualThoseOfPythonsImagePath() throws {
        #expect(golden.cases.count >= 90)
        for entry in golden.cases {
            let source = golden.sources[entry.source]
            let fitted = try #require(try image(source).fitted(to: entry.spec))
            let found = colours(fitted)
            #expect(found.count == 3 * entry.spec.width * entry.spec.height)
            let difference = largestDifference(found, samples[entry.start..<entry.start + found.count])
            // Where the crop keeps little of a large enlargement, Python computes that part from a box in single precision.
            let allowed = source.name.hasPrefix("a line") || source.name.hasPrefix("a column") ? 1 : 0
            #expect(difference <= allowed, "\(source.name), \(entry.spec)")
        }
    }

    /// Core Graphics hands over colours that are already multiplied by alpha.
    @Test func premultipliedColoursGiveTheSamePixels() throws {
        for entry in golden.cases where golden.sources[entry.source].has_alpha {
            let source = golden.sources[entry.source]
            let straight = try image(source)
            let plan = try #require(ResizePlan(width: source.width, height: source.height, spec: entry.spec))
            // An image that is only cropped keeps straight colours exactly; multiplied ones have been rounded.
            if (source.width, source.height) == (plan.resizedWidth, plan.resizedHeight) { continue }
            var given = Samples(width: source.width, height: source.height, bytes: straight.bytes)
            given.premultiply()
            let premultiplied = try #require(
                PixelImage(width: source.width, height: source.height, alpha: .premultiplied, bytes: given.bytes))
            let areEqual = premultiplied.fitted(to: entry.spec) == straight.fitted(to: entry.spec)
            #expect(areEqual, "\(source.name)")
        }
    }

    @Test func anImageWithoutPixelsIsNone() {
        #expect(PixelImage(width: 0, height: 3, bytes: []) == nil)
        #expect(PixelImage(width: 2, height: 2, bytes: [1, 2, 3]) == nil)
        #expect(PixelImage(width: 2, height: 2, writing: { _ in false }) == nil)
    }

    @Test func onlyTheKeptPartOfALongImageIsComputed() throws {
        let line = try #require(PixelImage(width: 1, height: 40_000, writing: { $0.update(repeating: 7); return true }))
        let fitted = try #require(line.fitted(to: ImageSpec(height: 224, width: 224)))
        #expect(fitted.bytes.count == 4 * 224 * 224)
        #expect(fitted.bytes.first == 7)
    }

    /// A 3 × 2 image with a mark in its upper left corner and another to the right of it, by EXIF's table.
    @Test(arguments: [
        (1, [1, 2, 3, 4, 5, 6]), (2, [3, 2, 1, 6, 5, 4]), (3, [6, 5, 4, 3, 2, 1]), (4, [4, 5, 6, 1, 2, 3]),
        (5, [1, 4, 2, 5, 3, 6]), (6, [4, 1, 5, 2, 6, 3]), (7, [6, 3, 5, 2, 4, 1]), (8, [3, 6, 2, 5, 1, 4]),
        (9, [1, 2, 3, 4, 5, 6]),
    ])
    func anImageIsTurnedUpright(orientation: Int, expected: [UInt8]) throws {
        let image = try #require(PixelImage(width: 3, height: 2, bytes: (1...6).flatMap { [$0, 0, 0, 255] }))
        let turned = image.turned(from: orientation)
        #expect(turned.width == (5...8 ~= orientation ? 2 : 3))
        #expect(stride(from: 0, to: 24, by: 4).map { turned.bytes[$0] } == expected)
    }

    @Test func planesHoldColoursInUnitRange() throws {
        let image = try #require(PixelImage(width: 2, height: 1, bytes: [255, 51, 0, 255, 0, 102, 204, 255]))
        #expect(image.planes == [1, 0, 0.2, 0.4, 0, 0.8])
    }

    @Test func aDecoderMayReduceAnImageToTwiceTheInput() {
        let spec = ImageSpec(height: 224, width: 224)
        let sizes = [(4032, 3024, 4), (8064, 6048, 8), (900, 900, 2), (895, 3000, 1), (0, 0, 1)]
        for (width, height, reduction) in sizes { #expect(spec.reduction(width: width, height: height) == reduction) }
    }
}
