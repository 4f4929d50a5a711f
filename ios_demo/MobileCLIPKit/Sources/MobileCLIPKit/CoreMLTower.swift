#if canImport(CoreML)
    import CoreML
    import CoreVideo
    import Foundation
    import MobileCLIPCore

    /// A tower of a bundle on Core ML.
    ///
    /// An actor, because a model's predictions share buffers. The package is compiled once; compiled models are kept by the
    /// package's hash.
    public actor CoreMLTower: Tower {
        /// Core ML, and its compute units.
        public nonisolated let place: TowerPlace

        private let bundle: ModelBundle
        private let part: BundlePart
        private let folder: URL
        private let configure: @Sendable (MLModelConfiguration) -> Void
        private var loaded: Loaded?

        private struct Loaded {
            var model: MLModel
            var input: String
            var output: String
            /// Of a text tower's input.
            var shape: [NSNumber]?
        }

        /// - Parameters:
        ///   - part: `image` or `text`.
        ///   - folder: Folder of compiled models. They can be made again, so a cache folder is suitable.
        ///   - configure: Changes the configuration, whose compute units are set.
        public init(
            _ part: BundlePart, of bundle: ModelBundle, units: ComputeUnits, folder: URL,
            configure: @escaping @Sendable (MLModelConfiguration) -> Void = { _ in }
        ) {
            place = TowerPlace(.coreML, units)
            self.part = part
            self.bundle = bundle
            self.folder = folder
            self.configure = configure
        }

        /// Loads the model, unless it is loaded; compiles it the first time.
        public func load() async throws { _ = try await ready() }

        /// Releases the model's memory.
        public func unload() { loaded = nil }

        /// Unit vectors of inputs; nil for an input without one.
        public func predict(_ inputs: [TowerInput]) async throws -> [[Float]?] {
            let loaded = try await ready()
            // Core ML's buffers live until the pool is drained.
            return try autoreleasepool {
                let features = try inputs.map { input in
                    try MLDictionaryFeatureProvider(dictionary: [loaded.input: try value(of: input, loaded)])
                }
                do {
                    let outputs = try loaded.model.predictions(fromBatch: MLArrayBatchProvider(array: features))
                    return (0..<outputs.count).map { outputs.features(at: $0).unitVector(named: loaded.output) }
                } catch {
                    throw TowerError.prediction(reason: error.localizedDescription)
                }
            }
        }

        private func ready() async throws -> Loaded {
            if let loaded { return loaded }
            let package = try bundle.requiredURL(of: part)
            let hash = bundle.manifest.files[part]?.sha256 ?? ""
            let kept = folder.appendingPathComponent("\(part.rawValue)-\(hash.prefix(16)).mlmodelc")
            let model = try await loadConverted(at: kept) {
                do {
                    return try await MLModel.compileModel(at: package)
                } catch {
                    throw TowerError.compilation(part: part, reason: error.localizedDescription)
                }
            } load: { url in
                try open(url)
            }
            let opened = try describe(model)
            loaded = opened
            return opened
        }

        private func open(_ url: URL) throws(TowerError) -> MLModel {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = place.units.coreML
            configure(configuration)
            do {
                return try MLModel(contentsOf: url, configuration: configuration)
            } catch {
                throw .loading(part: part, reason: error.localizedDescription)
            }
        }

        private func describe(_ model: MLModel) throws(TowerError) -> Loaded {
            let description = model.modelDescription
            let kind: MLFeatureType = part == .image ? .image : .multiArray
            guard let input = description.inputDescriptionsByName.first(where: { $0.value.type == kind }),
                let output = description.outputDescriptionsByName.first(where: { $0.value.type == .multiArray })
            else { throw .unexpectedInterface(part: part, reason: "\(description)") }
            return Loaded(model: model, input: input.key, output: output.key, shape: input.value.multiArrayConstraint?.shape)
        }

        private func value(of input: TowerInput, _ loaded: Loaded) throws -> MLFeatureValue {
            switch input {
            case .image(let image) where part == .image:
                guard let buffer = image.pixelBuffer() else { throw TowerError.wrongInput(part: part) }
                return MLFeatureValue(pixelBuffer: buffer)
            case .tokens(let tokens) where part == .text:
                let shape = loaded.shape ?? [1, NSNumber(value: tokens.count)]
                guard shape.last?.intValue == tokens.count else { throw TowerError.wrongInput(part: part) }
                let array = try MLMultiArray(shape: shape, dataType: .int32)
                for (place, token) in tokens.enumerated() { array[place] = NSNumber(value: token) }
                return MLFeatureValue(multiArray: array)
            default:
                throw TowerError.wrongInput(part: part)
            }
        }
    }

    extension ComputeUnits {
        var coreML: MLComputeUnits {
            switch self {
            case .all: .all
            case .neuralEngine: .cpuAndNeuralEngine
            case .gpu: .cpuAndGPU
            case .cpu: .cpuOnly
            }
        }
    }

    extension PixelImage {
        /// A copy in the form that Core ML takes.
        func pixelBuffer() -> CVPixelBuffer? {
            var created: CVPixelBuffer?
            let options = [kCVPixelBufferCGImageCompatibilityKey: true, kCVPixelBufferCGBitmapContextCompatibilityKey: true]
            CVPixelBufferCreate(kCFAllocatorDefault, width, height, kCVPixelFormatType_32BGRA, options as CFDictionary, &created)
            guard let buffer = created else { return nil }
            CVPixelBufferLockBaseAddress(buffer, [])
            defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
            guard let target = CVPixelBufferGetBaseAddress(buffer) else { return nil }
            let rowBytes = CVPixelBufferGetBytesPerRow(buffer)
            bytes.withUnsafeBytes { source in
                for row in 0..<height {
                    for column in 0..<width {
                        let pixel = source.loadUnaligned(fromByteOffset: 4 * (row * width + column), as: UInt32.self)
                        // From red, green, blue, alpha to blue, green, red, alpha.
                        let swapped = (pixel & 0xff00_ff00) | (pixel & 0xff) << 16 | (pixel >> 16) & 0xff
                        target.storeBytes(of: swapped, toByteOffset: row * rowBytes + 4 * column, as: UInt32.self)
                    }
                }
            }
            return buffer
        }
    }

    extension MLFeatureProvider {
        /// A vector, copied from the model's buffer for any type and strides and scaled to length 1.
        func unitVector(named name: String) -> [Float]? {
            guard let array = featureValue(for: name)?.multiArrayValue else { return nil }
            let vector = (0..<array.count).map { array[$0].floatValue }
            return try? QueryVector(vector).vector
        }
    }
#endif
