#if canImport(CoreML)
    import Foundation
    import MobileCLIPCore

    extension CheckedTower {
        /// A tower of a bundle in the places of this device, the preferred one first: Core AI if the system has it and the
        /// bundle an asset for it, then Core ML.
        ///
        /// The graphics processor is not among them: the system refuses it to an app in the background.
        ///
        /// - Parameters:
        ///   - part: `image` or `text`.
        ///   - folder: Folder of compiled models.
        public init(
            _ part: BundlePart, of bundle: ModelBundle, folder: URL, log: ParityLog,
            describe: @escaping @Sendable (any Error) -> String
        ) throws {
            var towers: [any Tower] = []
            #if targetEnvironment(simulator)
                let units: [ComputeUnits] = [.cpu]
            #else
                let units: [ComputeUnits] = [.neuralEngine, .cpu]
                #if canImport(CoreAI)
                    if #available(iOS 27, macOS 27, *), let url = bundle.url(of: part == .image ? .imageAI : .textAI) {
                        towers += [false, true].map { CoreAITower(part, at: url, usesCPUOnly: $0) as any Tower }
                    }
                #endif
            #endif
            if bundle.url(of: part) != nil {
                towers += units.map { CoreMLTower(part, of: bundle, units: $0, folder: folder) as any Tower }
            }
            self.init(part, candidates: towers, samples: try bundle.samples(of: part), log: log, describe: describe)
        }
    }
#endif
