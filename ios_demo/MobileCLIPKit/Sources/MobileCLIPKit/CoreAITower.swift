#if canImport(CoreAI)
    import CoreAI
    import Foundation
    import MobileCLIPCore

    /// A tower of a bundle on Core AI (iOS 27 and later, not in the simulator).
    ///
    /// The system specialises the asset for the device at the first load, which takes seconds; later loads are fast.
    @available(iOS 27, macOS 27, *)
    public actor CoreAITower: Tower {
        /// Core AI, and its compute units.
        public nonisolated let place: TowerPlace

        private let part: BundlePart
        private let url: URL
        private let options: SpecializationOptions
        private var loaded: (function: InferenceFunction, input: String, output: String, descriptor: NDArrayDescriptor)?

        /// - Parameters:
        ///   - part: `image` or `text`; names the errors.
        ///   - url: An `.aimodel`.
        ///   - options: The system's choice by default: other preferences make some models fail that load otherwise.
        public init(_ part: BundlePart, at url: URL, usesCPUOnly: Bool, options: SpecializationOptions? = nil) {
            place = TowerPlace(.coreAI, usesCPUOnly ? .cpu : .all)
            self.part = part
            self.url = url
            self.options = options ?? (usesCPUOnly ? .cpuOnly : .default)
        }

        /// Loads the asset, unless it is loaded.
        public func load() async throws {
            guard loaded == nil else { return }
            do {
                let model = try await AIModel(contentsOf: url, options: options)
                guard let function = try model.loadFunction(named: "main"), let input = function.descriptor.inputNames.first,
                    let output = function.descriptor.outputNames.first,
                    case .ndArray(let descriptor)? = function.descriptor.inputDescriptor(of: input)
                else { throw TowerError.unexpectedInterface(part: part, reason: "main") }
                loaded = (function, input, output, descriptor)
            } catch let error as TowerError {
                throw error
            } catch {
                throw TowerError.loading(part: part, reason: error.localizedDescription)
            }
        }

        /// Releases the model's memory.
        public func unload() { loaded = nil }

        /// Unit vectors of inputs; nil for an input without one.
        public func predict(_ inputs: [TowerInput]) async throws -> [[Float]?] {
            try await load()
            guard let loaded else { throw TowerError.loading(part: part, reason: "") }
            var vectors: [[Float]?] = []
            for input in inputs {
                try Task.checkCancellation()
                let array = try array(of: input, loaded.descriptor)
                do {
                    var outputs = try await loaded.function.run(inputs: [loaded.input: array])
                    vectors.append(outputs.remove(loaded.output)?.ndArray.flatMap(Self.unitVector))
                } catch {
                    throw TowerError.prediction(reason: error.localizedDescription)
                }
            }
            return vectors
        }

        /// Tokens as they are; an image as planes of red, green and blue in 0…1.
        private func array(of input: TowerInput, _ descriptor: NDArrayDescriptor) throws(TowerError) -> NDArray {
            var array = NDArray(descriptor: descriptor)
            let count = descriptor.shape.reduce(1, *)
            switch (input, descriptor.scalarType) {
            case (.tokens(let tokens), .int32) where tokens.count == count:
                var view = array.mutableView(as: Int32.self)
                view.copyElements(fromContentsOf: tokens)
            case (.image(let image), .float32) where 3 * image.width * image.height == count:
                var view = array.mutableView(as: Float.self)
                view.copyElements(fromContentsOf: image.planes)
            default:
                throw .wrongInput(part: part)
            }
            return array
        }

        /// The last axis of an array of one row; nil for another type or shape.
        private static func unitVector(_ array: NDArray) -> [Float]? {
            guard array.scalarType == .float32, let count = array.shape.last, array.shape.dropLast().allSatisfy({ $0 == 1 }) else {
                return nil
            }
            let vector = array.view(as: Float.self).withUnsafePointer { pointer, _, strides in
                (0..<count).map { pointer[$0 * strides[strides.count - 1]] }
            }
            return try? QueryVector(vector).vector
        }
    }
#endif
