#if canImport(CoreML)
    import Foundation
    import MobileCLIPCore
    import MobileCLIPKit
    import Testing

    /// Runs the golden images and texts through Core ML on this machine and compares with the vectors that Python computed.
    @Suite struct CoreMLParityTests {
        struct Parity: Decodable {
            struct Image: Decodable {
                var file: String
                var vector: [Float]
            }

            struct Text: Decodable {
                var text: String
                var vector: [Float]
            }

            var images: [Image]
            var texts: [Text]
        }

        private let golden = URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("tests/golden")
        private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("mckit-compiled")

        private func cosine(_ a: [Float], _ b: [Float]) -> Float {
            zip(a, b).reduce(0) { $0 + $1.0 * $1.1 }
        }

        @Test(arguments: ComputeUnits.allCases)
        func vectorsEqualPythons(units: ComputeUnits) async throws {
            let bundle = try ModelBundle(contentsOf: golden.appendingPathComponent("bundle"), check: .hashes)
            let parity = try JSONDecoder().decode(
                Parity.self, from: Data(contentsOf: golden.appendingPathComponent("parity/parity.json")))
            let tokenizer = try CLIPTokenizer(merges: bundle.requiredURL(of: .merges), spec: #require(bundle.model.text))
            let texts = CoreMLTower(.text, of: bundle, units: units, folder: folder)
            for text in parity.texts {
                let vector = try #require(try await texts.predict([.tokens(tokenizer(text.text))])[0])
                #expect(cosine(vector, text.vector) > 0.999, "\(text.text)")
            }
            let images = CoreMLTower(.image, of: bundle, units: units, folder: folder)
            let input = try #require(bundle.model.image)
            for image in parity.images {
                let data = try Data(contentsOf: golden.appendingPathComponent("parity/\(image.file)"))
                let pixels = try #require(ImageDecoder.pixels(of: data, for: input, isExact: true))
                let vector = try #require(try await images.predict([.image(pixels)])[0])
                #expect(cosine(vector, image.vector) > 0.999, "\(image.file)")
            }
        }

        /// A Display P3 profile, alpha and a turn, of which Python ignores the first.
        @Test func samplesOfATaggedImageEqualPythons() throws {
            let document = try JSONDecoder().decode(
                Tagged.self, from: Data(contentsOf: golden.appendingPathComponent("parity/tagged.json")))
            let data = try Data(contentsOf: golden.appendingPathComponent("parity/tagged.png"))
            let input = ImageSpec(height: 24, width: 24)
            let pixels = try #require(ImageDecoder.pixels(of: data, for: input, isExact: true))
            let colours = pixels.bytes.enumerated().filter { $0.offset & 3 != 3 }.map(\.element)
            let difference = zip(colours, document.rgb).map { abs(Int($0) - Int($1)) }.max()
            // The system multiplies colours by alpha before they reach the resize, and rounds.
            #expect(try #require(difference) <= 4)
        }

        private struct Tagged: Decodable { var rgb: [UInt8] }
    }
#endif
