#if canImport(CoreML)
    import CoreGraphics
    import CoreML
    import CoreVideo
    import Foundation
    import MobileCLIPCore

    /// An upright image: its first row is its top.
    ///
    /// Its pixels never change, but not every SDK marks Core Graphics' type as `Sendable`.
    public struct UprightImage: @unchecked Sendable {
        public let image: CGImage

        public init(_ image: CGImage) {
            self.image = image
        }
    }

    /// Errors of encoding an image.
    public enum ImageEncoderError: Error, Sendable {
        case cannotDraw(width: Int, height: Int)
        case prediction(reason: String)
        case noVector
    }

    /// A bundle's image tower.
    ///
    /// An actor, because a model's predictions share buffers. The input size comes from the model.
    public actor ImageEncoder: ImageEncoding {
        public nonisolated let units: ComputeUnits
        public nonisolated let loadMilliseconds: Double

        private let model: MLModel
        private let spec: ImageSpec
        private let input: String
        private let output: String

        public init(bundle: ModelBundle, models: CompiledModels, units: ComputeUnits = .all) async throws {
            let url = try await models.compiledURL(of: .image, in: bundle)
            let started = ContinuousClock.now
            model = try MLModel.load(url, part: .image, units: units)
            loadMilliseconds = (ContinuousClock.now - started).milliseconds
            self.units = units
            let description = model.modelDescription
            guard let image = description.inputDescriptionsByName.first(where: { $0.value.type == .image }),
                let constraint = image.value.imageConstraint,
                let vector = description.outputDescriptionsByName.first(where: { $0.value.type == .multiArray })
            else { throw CompiledModelsError.unexpectedInterface(part: .image, reason: "\(description)") }
            input = image.key
            output = vector.key
            var spec = bundle.model.image ?? ImageSpec(height: constraint.pixelsHigh, width: constraint.pixelsWide)
            spec.height = constraint.pixelsHigh
            spec.width = constraint.pixelsWide
            self.spec = spec
        }

        /// Unit vectors of upright images; nil for an image without one, which does not fail the batch.
        public func encode(_ images: [UprightImage]) throws(ImageEncoderError) -> [Result<[Float], ImageEncoderError>] {
            var drawn: [Result<CVPixelBuffer, ImageEncoderError>] = []
            for image in images {
                drawn.append(Result { () throws(ImageEncoderError) in try PixelBuffer.draw(image.image, spec) })
            }
            let usable = drawn.compactMap { try? $0.get() }
            guard !usable.isEmpty else { return drawn.map { $0.map { _ in [] } } }
            let outputs: any MLBatchProvider
            do {
                let inputs = try usable.map { try MLDictionaryFeatureProvider(dictionary: [input: MLFeatureValue(pixelBuffer: $0)]) }
                outputs = try model.predictions(fromBatch: MLArrayBatchProvider(array: inputs))
            } catch {
                throw ImageEncoderError.prediction(reason: error.localizedDescription)
            }
            var place = 0
            return drawn.map { buffer in
                buffer.flatMap { _ in
                    defer { place += 1 }
                    let vector = outputs.features(at: place).unitVector(named: output)
                    return vector.map { .success($0) } ?? .failure(.noVector)
                }
            }
        }

        public func vectors(of images: [UprightImage]) throws -> [[Float]?] {
            try encode(images).map { try? $0.get() }
        }
    }

    /// Images as the model's input.
    enum PixelBuffer {
        /// Resizes, crops and pads an image as in the model's training.
        static func draw(_ image: CGImage, _ spec: ImageSpec) throws(ImageEncoderError) -> CVPixelBuffer {
            var created: CVPixelBuffer?
            let options = [kCVPixelBufferCGImageCompatibilityKey: true, kCVPixelBufferCGBitmapContextCompatibilityKey: true]
            CVPixelBufferCreate(
                kCFAllocatorDefault, spec.width, spec.height, kCVPixelFormatType_32BGRA, options as CFDictionary, &created)
            guard let plan = ResizePlan(width: image.width, height: image.height, spec: spec), let buffer = created else {
                throw .cannotDraw(width: image.width, height: image.height)
            }
            CVPixelBufferLockBaseAddress(buffer, [])
            defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
            guard let space = CGColorSpace(name: CGColorSpace.sRGB),
                let context = CGContext(
                    data: CVPixelBufferGetBaseAddress(buffer), width: spec.width, height: spec.height, bitsPerComponent: 8,
                    bytesPerRow: CVPixelBufferGetBytesPerRow(buffer), space: space,
                    bitmapInfo: CGImageAlphaInfo.noneSkipFirst.rawValue | CGBitmapInfo.byteOrder32Little.rawValue)
            else { throw .cannotDraw(width: image.width, height: image.height) }
            let grey = CGFloat(spec.fillColor) / 255
            context.setFillColor(red: grey, green: grey, blue: grey, alpha: 1)
            context.fill(CGRect(x: 0, y: 0, width: spec.width, height: spec.height))
            context.interpolationQuality = .high
            let visible = CGRect(x: plan.padX, y: plan.padY, width: plan.cropWidth, height: plan.cropHeight)
            // Core Graphics counts rows from the bottom.
            let fromBelow = { (top: Int, height: Int) in spec.height - top - height }
            context.clip(to: CGRect(
                x: visible.minX, y: CGFloat(fromBelow(plan.padY, plan.cropHeight)), width: visible.width, height: visible.height))
            let top = plan.padY - plan.cropY
            context.draw(
                image,
                in: CGRect(
                    x: plan.padX - plan.cropX, y: fromBelow(top, plan.resizedHeight), width: plan.resizedWidth,
                    height: plan.resizedHeight))
            return buffer
        }
    }
#endif
