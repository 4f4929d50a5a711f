#if canImport(CoreML)
    import CoreML
    import Foundation
    import MobileCLIPCore

    /// Errors of compiling and loading a bundle's packages.
    public enum CompiledModelsError: Error, Sendable {
        case compilation(part: BundlePart, reason: String)
        case loading(part: BundlePart, reason: String)
        /// The model does not have the inputs and outputs of mckit's exports.
        case unexpectedInterface(part: BundlePart, reason: String)
    }

    /// Compiles a bundle's packages once and stores the results by the packages' hashes.
    public actor CompiledModels {
        private let folder: URL

        /// - Parameter folder: Folder of compiled models. They can be made again, so a cache folder is suitable.
        public init(folder: URL) {
            self.folder = folder
        }

        /// URL of the compiled model of a part.
        public func compiledURL(of part: BundlePart, in bundle: ModelBundle) async throws -> URL {
            let package = try bundle.requiredURL(of: part)
            let hash = bundle.manifest.files[part]?.sha256 ?? ""
            let kept = folder.appendingPathComponent("\(part.rawValue)-\(hash.prefix(16)).mlmodelc")
            if FileManager.default.fileExists(atPath: kept.path) { return kept }
            do {
                let fresh = try await MLModel.compileModel(at: package)
                try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
                // Another call may have compiled it while this one waited.
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
        /// Loads a compiled model and converts errors.
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
        /// A vector, copied from the model's buffer for any type and strides and scaled to length 1.
        func unitVector(named name: String) -> [Float]? {
            guard let array = featureValue(for: name)?.multiArrayValue else { return nil }
            let vector = (0..<array.count).map { array[$0].floatValue }
            return try? Query(vector).vector
        }
    }
#endif
