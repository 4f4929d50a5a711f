#if canImport(CoreML)
    // Older SDKs declare `mach_task_self_` as a variable that anybody may change.
    @preconcurrency import Darwin
    import Foundation
    import MobileCLIPCore

    /// Measures a bundle's towers on each choice of compute units.
    public struct EncoderBench: Sendable {
        private static let runs = 20
        private static let batch = 64

        private let bundle: ModelBundle
        private let folder: URL
        private let parity: [ParityRow]
        private let device: String

        /// - Parameters:
        ///   - folder: Folder of compiled models.
        ///   - device: Name of the phone's model, such as "iPhone15,2".
        ///   - parity: Results of the comparison with the bundle's samples, for the report.
        public init(bundle: ModelBundle, folder: URL, device: String, parity: [ParityRow] = []) {
            self.bundle = bundle
            self.folder = folder
            self.parity = parity
            self.device = device
        }

        /// Runs the measurement. Compute units on which the model does not run are listed with the reason.
        ///
        /// - Parameter describe: Converts an error to a message.
        public func run(describe: @Sendable (any Error) -> String) async throws -> PhoneBench {
            let thermalStateBefore = IndexingPace.ThermalState(ProcessInfo.processInfo.thermalState)
            var rows: [PhoneBench.Row] = []
            var failed: [PhoneBench.Failure] = []
            for units in ComputeUnits.allCases {
                try Task.checkCancellation()
                do {
                    rows.append(try await measure(units))
                } catch let error as CancellationError {
                    throw error
                } catch {
                    failed.append(PhoneBench.Failure(units: units, reason: describe(error)))
                }
            }
            let machine = PhoneBench.Machine(
                device: device, system: ProcessInfo.processInfo.operatingSystemVersionString,
                thermalStateBefore: thermalStateBefore,
                thermalStateAfter: IndexingPace.ThermalState(ProcessInfo.processInfo.thermalState),
                isLowPower: ProcessInfo.processInfo.isLowPowerModeEnabled)
            return PhoneBench(machine: machine, model: PhoneBench.Model(of: bundle), rows: rows, failed: failed, parity: parity)
        }

        private func measure(_ units: ComputeUnits) async throws -> PhoneBench.Row {
            guard let image = bundle.model.image, let text = bundle.model.text,
                let sample = Self.sampleImage(image)
            else { throw ManifestError.partMissing(.image) }
            let images = CoreMLTower(.image, of: bundle, units: units, folder: folder)
            let texts = CoreMLTower(.text, of: bundle, units: units, folder: folder)
            let tokens = try CLIPTokenizer(merges: bundle.requiredURL(of: .merges), spec: text)("a photo of a dog")
            let imageLoad = try await Self.times(1) { try await images.load() }
            let textLoad = try await Self.times(1) { try await texts.load() }
            for _ in 0..<3 {
                _ = try await images.predict([sample])
                _ = try await texts.predict([.tokens(tokens)])
            }
            let imageTimes = try await Self.times(Self.runs) { _ = try await images.predict([sample]) }
            let textTimes = try await Self.times(Self.runs) { _ = try await texts.predict([.tokens(tokens)]) }
            let batch = Array(repeating: sample, count: Self.batch)
            let batchTime = try await Self.times(1) { _ = try await images.predict(batch) }.reduce(0, +)
            return PhoneBench.Row(
                units: units,
                image: PhoneBench.Tower(
                    loadMilliseconds: imageLoad.reduce(0, +), latency: PhoneBench.Latency(milliseconds: imageTimes)),
                text: PhoneBench.Tower(
                    loadMilliseconds: textLoad.reduce(0, +), latency: PhoneBench.Latency(milliseconds: textTimes)),
                photosPerSecond: Double(Self.batch) * 1e3 / batchTime, batch: Self.batch, memoryBytes: Self.footprint())
        }

        private static func times(_ count: Int, _ body: () async throws -> Void) async throws -> [Double] {
            var times: [Double] = []
            for _ in 0..<count {
                try Task.checkCancellation()
                let started = ContinuousClock.now
                try await body()
                times.append((ContinuousClock.now - started).milliseconds)
            }
            return times
        }

        /// Stripes of the model's input size.
        private static func sampleImage(_ spec: ImageSpec) -> TowerInput? {
            PixelImage(width: spec.width, height: spec.height) { bytes in
                for place in bytes.indices { bytes[place] = UInt8(truncatingIfNeeded: place / 64 * 16) }
                return true
            }.map(TowerInput.image)
        }

        /// Memory of the app by the system's count, in bytes; 0 if it is not reported.
        private static func footprint() -> Int {
            var information = task_vm_info_data_t()
            var count = mach_msg_type_number_t(MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<natural_t>.size)
            let result = withUnsafeMutablePointer(to: &information) { pointer in
                pointer.withMemoryRebound(to: integer_t.self, capacity: Int(count)) {
                    task_info(mach_task_self_, task_flavor_t(TASK_VM_INFO), $0, &count)
                }
            }
            return result == KERN_SUCCESS ? Int(information.phys_footprint) : 0
        }
    }

    extension IndexingPace.ThermalState {
        /// The system's state by our names.
        public init(_ state: ProcessInfo.ThermalState) {
            switch state {
            case .nominal: self = .nominal
            case .fair: self = .fair
            case .serious: self = .serious
            case .critical: self = .critical
            @unknown default: self = .serious
            }
        }
    }
#endif
