#if canImport(CoreML)
    import CoreGraphics
    import Foundation
    import ImageIO
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
        private let models = CompiledModels(
            folder: FileManager.default.temporaryDirectory.appendingPathComponent("mckit-compiled"))

        private func cosine(_ a: [Float], _ b: [Float]) -> Float {
            zip(a, b).reduce(0) { $0 + $1.0 * $1.1 }
        }

        @Test(arguments: ComputeUnits.allCases)
        func vectorsEqualPythons(units: ComputeUnits) async throws {
            let bundle = try ModelBundle(contentsOf: golden.appendingPathComponent("bundle"), check: .hashes)
            let parity = try JSONDecoder().decode(
                Parity.self, from: Data(contentsOf: golden.appendingPathComponent("parity/parity.json")))
            let texts = try await TextEncoder(bundle: bundle, models: models, units: units)
            for text in parity.texts {
                #expect(cosine(try await texts.encode(text.text), text.vector) > 0.999, "\(text.text)")
            }
            let images = try await ImageEncoder(bundle: bundle, models: models, units: units)
            for image in parity.images {
                let url = golden.appendingPathComponent("parity/\(image.file)")
                let source = try #require(CGImageSourceCreateWithURL(url as CFURL, nil))
                let image = try #require(CGImageSourceCreateImageAtIndex(source, 0, nil))
                let vector = try await images.encode([UprightImage(image)])[0].get()
                // The system resizes differently from Pillow; images of the model's input size differ only by rounding.
                let least: Float = image.file.hasPrefix("exact") ? 0.999 : 0.98
                #expect(cosine(vector, image.vector) > least, "\(image.file)")
            }
        }
    }
#endif
