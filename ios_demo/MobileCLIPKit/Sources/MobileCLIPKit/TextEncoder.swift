#if canImport(CoreML)
    import CoreML
    import Foundation
    import MobileCLIPCore

    /// Errors of encoding words.
    public enum TextEncoderError: Error, Sendable {
        case prediction(reason: String)
        case noVector
    }

    /// A bundle's text tower with its tokenizer.
    public actor TextEncoder: QueryEncoder {
        public nonisolated let units: ComputeUnits
        public nonisolated let loadMilliseconds: Double

        private let model: MLModel
        private let tokenizer: Tokenizer
        private let input: String
        private let output: String
        private let shape: [NSNumber]

        public init(bundle: ModelBundle, models: CompiledModels, units: ComputeUnits = .all) async throws {
            guard var text = bundle.model.text else { throw ManifestError.partMissing(.text) }
            let url = try await models.compiledURL(of: .text, in: bundle)
            let started = ContinuousClock.now
            model = try MLModel.load(url, part: .text, units: units)
            loadMilliseconds = (ContinuousClock.now - started).milliseconds
            self.units = units
            let description = model.modelDescription
            guard let ids = description.inputDescriptionsByName.first(where: { $0.value.type == .multiArray }),
                let constraint = ids.value.multiArrayConstraint, let length = constraint.shape.last?.intValue,
                let vector = description.outputDescriptionsByName.first(where: { $0.value.type == .multiArray })
            else { throw CompiledModelsError.unexpectedInterface(part: .text, reason: "\(description)") }
            input = ids.key
            output = vector.key
            shape = constraint.shape
            text.contextLength = length
            tokenizer = try Tokenizer(merges: bundle.requiredURL(of: .merges), spec: text)
        }

        /// The unit vector of a text.
        public func encode(_ text: String) throws -> [Float] {
            let identifiers = tokenizer(text)
            let features: any MLFeatureProvider
            do {
                let array = try MLMultiArray(shape: shape, dataType: .int32)
                for (place, identifier) in identifiers.enumerated() { array[place] = NSNumber(value: identifier) }
                let provider = try MLDictionaryFeatureProvider(dictionary: [input: MLFeatureValue(multiArray: array)])
                features = try model.prediction(from: provider, options: MLPredictionOptions())
            } catch {
                throw TextEncoderError.prediction(reason: error.localizedDescription)
            }
            guard let vector = features.unitVector(named: output) else { throw TextEncoderError.noVector }
            return vector
        }
    }
#endif
