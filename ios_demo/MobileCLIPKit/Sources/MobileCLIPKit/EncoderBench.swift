#if canImport(CoreML)
    import CoreGraphics
    import Foundation
    import MobileCLIPCore

    /// What the bench screen measures and shares.
    public struct EncoderBench: Codable, Sendable {
        /// One choice of compute units.
        public struct Row: Codable, Sendable, Identifiable {
            public var units: ComputeUnits
            public var imageLoadMilliseconds: Double
            public var textLoadMilliseconds: Double
            /// Medians over single predictions.
            public var imageMilliseconds: Double
            public var textMilliseconds: Double
            public var photosPerSecond: Double

            public var id: String { units.rawValue }
        }

        public var model: String
        public var modelHash: String
        public var device: String
        public var system: String
        public var memoryBytes: UInt64
        public var rows: [Row]

        /// Measures a bundle on every choice of compute units.
        public static func run(bundle: ModelBundle, models: CompiledModels, device: String) async throws -> EncoderBench {
            var rows: [Row] = []
            for units in ComputeUnits.allCases {
                try Task.checkCancellation()
                rows.append(try await measure(bundle, models, units))
            }
            return EncoderBench(
                model: bundle.model.name, modelHash: bundle.model.modelHash, device: device,
                system: ProcessInfo.processInfo.operatingSystemVersionString, memoryBytes: footprint(), rows: rows)
        }

        public func json() throws -> Data {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            return try encoder.encode(self)
        }

        private static func measure(_ bundle: ModelBundle, _ models: CompiledModels, _ units: ComputeUnits) async throws -> Row {
            let images = try await ImageEncoder(bundle: bundle, models: models, units: units)
            let texts = try await TextEncoder(bundle: bundle, models: models, units: units)
            guard let picture = samplePicture() else { throw ImageEncoderError.cannotDraw(width: 448, height: 448) }
            for _ in 0..<3 {
                _ = try await images.encode([picture])
                _ = try await texts.encode("a photo of a dog")
            }
            let imageTimes = try await times(20) { _ = try await images.encode([picture]) }
            let textTimes = try await times(20) { _ = try await texts.encode("a photo of a dog") }
            let batch = Array(repeating: picture, count: 64)
            let batchTime = try await times(1) { _ = try await images.encode(batch) }
            return Row(
                units: units, imageLoadMilliseconds: images.loadMilliseconds, textLoadMilliseconds: texts.loadMilliseconds,
                imageMilliseconds: imageTimes[imageTimes.count / 2], textMilliseconds: textTimes[textTimes.count / 2],
                photosPerSecond: 64e3 / batchTime[0])
        }

        private static func times(_ count: Int, _ body: () async throws -> Void) async rethrows -> [Double] {
            var times: [Double] = []
            for _ in 0..<count {
                let started = ContinuousClock.now
                try await body()
                times.append((ContinuousClock.now - started).milliseconds)
            }
            return times.sorted()
        }

        private static func samplePicture() -> CGImage? {
            let side = 448
            let context = CGContext(
                data: nil, width: side, height: side, bitsPerComponent: 8, bytesPerRow: 0, space: CGColorSpaceCreateDeviceRGB(),
                bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            for stripe in 0..<16 {
                context?.setFillColor(red: CGFloat(stripe) / 16, green: 0.5, blue: 1 - CGFloat(stripe) / 16, alpha: 1)
                context?.fill(CGRect(x: stripe * side / 16, y: 0, width: side / 16, height: side))
            }
            return context?.makeImage()
        }

        /// What the system charges the app for, in bytes; 0 where it does not say.
        private static func footprint() -> UInt64 {
            var information = task_vm_info_data_t()
            var count = mach_msg_type_number_t(MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<natural_t>.size)
            let result = withUnsafeMutablePointer(to: &information) { pointer in
                pointer.withMemoryRebound(to: integer_t.self, capacity: Int(count)) {
                    task_info(mach_task_self_, task_flavor_t(TASK_VM_INFO), $0, &count)
                }
            }
            return result == KERN_SUCCESS ? information.phys_footprint : 0
        }
    }
#endif
