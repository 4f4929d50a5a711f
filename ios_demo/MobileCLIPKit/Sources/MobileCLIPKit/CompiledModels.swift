#if canImport(CoreML)
    import CoreML
    import Foundation
    import MobileCLIPCore

    /// What can go wrong between a bundle's packages and a model that answers.
    public enum CompiledModelsError: Error, Sendable {
        case compilation(part: BundlePart, reason: String)
        case loading(part: BundlePart, reason: String)
        /// The model does not have the inputs and outputs that mckit's exports have.
        case unexpectedInterface(part: BundlePart, reason: String)
    }

    /// Compiles a bundle's packages once and keeps the result under the package's hash.
    public actor CompiledModels {
        private let folder: URL

        /// - Parameter folder: Where compiled models are kept; they can be made again, so a cache folder will do.
        public init(folder: URL) {
            self.folder = folder
        }

        /// Where the compiled model of a bundle's part lies.
        public func compiledURL(of part: BundlePart, in bundle: ModelBundle) async throws -> URL {
            let package = try bundle.requiredURL(of: part)
            let hash = bundle.manifest.files[part]?.sha256 ?? ""
            let kept = folder.appendingPathComponent("\(part.rawValue)-\(hash.prefix(16)).mlmodelc")
            if FileManager.default.fileExists(atPath: kept.path) { return kept }
            do {
                let fresh = try await MLModel.compileModel(at: package)
                try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
                // Another call may have been faster while this one waited.
                if FileManager.default.fileExists(atPath: kept.path) {
                    try FileManager.default.removeItem(at: fresh)
                } else {
                    try FileManager.default.moveItem(at: fresh, to: kept)
                }
            } catch {
                throw CompiledModelsError.compilation(part: part, reason: error.localizedDescription)
            }
            return kept
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

    extension MLModel {
        /// Loads a compiled model and says in our words what went wrong.
        static func load(_ url: URL, part: BundlePart, units: ComputeUnits) throws(CompiledModelsError) -> MLModel {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = units.coreML
            do {
                return try MLModel(contentsOf: url, configuration: configuration)
            } catch {
                throw .loading(part: part, reason: error.localizedDescription)
            }
        }
    }

    extension MLFeatureProvider {
        /// A vector, copied out of the model's own buffer whatever its type and strides, and scaled to length 1.
        func unitVector(named name: String) -> [Float]? {
            guard let array = featureValue(for: name)?.multiArrayValue else { return nil }
            let vector = (0..<array.count).map { array[$0].floatValue }
            return try? Query(vector).vector
        }
    }
#endif
