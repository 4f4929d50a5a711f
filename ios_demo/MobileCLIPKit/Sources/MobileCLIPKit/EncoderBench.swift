#if canImport(CoreML)
    import CoreGraphics
    import Foundation
    import MobileCLIPCore

    /// Measures a bundle's towers on each choice of compute units.
    public struct EncoderBench: Sendable {
        private static let runs = 20
        private static let batch = 64

        private let bundle: ModelBundle
        private let models: CompiledModels
        private let device: String

        /// - Parameter device: Name of the phone's model, such as "iPhone15,2".
        public init(bundle: ModelBundle, models: CompiledModels, device: String) {
            self.bundle = bundle
            self.models = models
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
            return PhoneBench(machine: machine, model: PhoneBench.Model(of: bundle), rows: rows, failed: failed)
        }

        private func measure(_ units: ComputeUnits) async throws -> PhoneBench.Row {
            let imageEncoder = try await ImageEncoder(bundle: bundle, models: models, units: units)
            let textEncoder = try await TextEncoder(bundle: bundle, models: models, units: units)
            let image = try Self.sampleImage()
            for _ in 0..<3 {
                _ = try await imageEncoder.encode([image])
                _ = try await textEncoder.encode("a photo of a dog")
            }
            let imageTimes = try await Self.times(Self.runs) { _ = try await imageEncoder.encode([image]) }
            let textTimes = try await Self.times(Self.runs) { _ = try await textEncoder.encode("a photo of a dog") }
            let images = Array(repeating: image, count: Self.batch)
            let batchTime = try await Self.times(1) { _ = try await imageEncoder.encode(images) }.reduce(0, +)
            return PhoneBench.Row(
                units: units,
                image: PhoneBench.Tower(
                    loadMilliseconds: imageEncoder.loadMilliseconds, latency: PhoneBench.Latency(milliseconds: imageTimes)),
                text: PhoneBench.Tower(
                    loadMilliseconds: textEncoder.loadMilliseconds, latency: PhoneBench.Latency(milliseconds: textTimes)),
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

        private static func sampleImage() throws(ImageEncoderError) -> UprightImage {
            let side = 448
            let context = CGContext(
                data: nil, width: side, height: side, bitsPerComponent: 8, bytesPerRow: 0, space: CGColorSpaceCreateDeviceRGB(),
                bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            for stripe in 0..<16 {
                context?.setFillColor(red: CGFloat(stripe) / 16, green: 0.5, blue: 1 - CGFloat(stripe) / 16, alpha: 1)
                context?.fill(CGRect(x: stripe * side / 16, y: 0, width: side / 16, height: side))
            }
            guard let image = context?.makeImage() else { throw .cannotDraw(width: side, height: side) }
            return UprightImage(image)
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
