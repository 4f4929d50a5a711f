import Foundation

/// The report of the bench screen; `docs/phone-bench.md` describes its JSON.
public struct PhoneBench: Codable, Equatable, Sendable {
    /// Statistics of single runs, in milliseconds.
    public struct Latency: Codable, Equatable, Sendable {
        /// Median.
        public var p50: Double
        /// 95th percentile.
        public var p95: Double
        /// Number of runs.
        public var runs: Int

        /// Summarises measured times, with linear interpolation between them; without times, all values are 0.
        public init(milliseconds: [Double]) {
            let sorted = milliseconds.sorted()
            func quantile(_ share: Double) -> Double {
                guard !sorted.isEmpty else { return 0 }
                let place = share * Double(sorted.count - 1)
                let below = Int(place)
                let above = min(below + 1, sorted.count - 1)
                return sorted[below] + (place - Double(below)) * (sorted[above] - sorted[below])
            }
            p50 = quantile(0.5)
            p95 = quantile(0.95)
            runs = sorted.count
        }
    }

    /// One tower of the model.
    public struct Tower: Codable, Equatable, Sendable {
        /// Time to load the compiled model; the first time, the system also compiles it for the chip.
        public var loadMilliseconds: Double
        /// Of single runs.
        public var latency: Latency

        /// Measured times of a tower.
        public init(loadMilliseconds: Double, latency: Latency) {
            self.loadMilliseconds = loadMilliseconds
            self.latency = latency
        }

        enum CodingKeys: String, CodingKey {
            case loadMilliseconds = "load_ms"
            case latency = "latency_ms"
        }
    }

    /// One choice of compute units.
    public struct Row: Codable, Equatable, Sendable, Identifiable {
        /// The choice.
        public var units: ComputeUnits
        /// The image tower.
        public var image: Tower
        /// The text tower.
        public var text: Tower
        /// Throughput of the image tower, with decoding.
        public var photosPerSecond: Double
        /// Number of photos in the batch for `photosPerSecond`.
        public var batch: Int
        /// Memory of the app by the system's count, with both towers loaded.
        public var memoryBytes: Int

        /// The compute units.
        public var id: ComputeUnits { units }

        /// The figures of one choice.
        public init(
            units: ComputeUnits, image: Tower, text: Tower, photosPerSecond: Double, batch: Int, memoryBytes: Int
        ) {
            self.units = units
            self.image = image
            self.text = text
            self.photosPerSecond = photosPerSecond
            self.batch = batch
            self.memoryBytes = memoryBytes
        }

        enum CodingKeys: String, CodingKey {
            case image, text, batch
            case units = "compute_units"
            case photosPerSecond = "images_per_s"
            case memoryBytes = "memory_bytes"
        }
    }

    /// Compute units on which the model did not run.
    public struct Failure: Codable, Equatable, Sendable, Identifiable {
        /// The choice.
        public var units: ComputeUnits
        /// The error as a message.
        public var reason: String

        /// The compute units.
        public var id: ComputeUnits { units }

        /// A choice that failed.
        public init(units: ComputeUnits, reason: String) {
            self.units = units
            self.reason = reason
        }

        enum CodingKeys: String, CodingKey {
            case reason
            case units = "compute_units"
        }
    }

    /// The phone that was measured.
    public struct Machine: Codable, Equatable, Sendable {
        /// The name of the phone's model, such as "iPhone15,2".
        public var device: String
        /// Name and version of the operating system.
        public var system: String
        /// Before and after the measurement: a hot phone is slow.
        public var thermalStateBefore: IndexingPace.ThermalState
        /// After the measurement.
        public var thermalStateAfter: IndexingPace.ThermalState
        /// Whether the phone was in Low Power Mode.
        public var isLowPower: Bool

        /// A phone in a state.
        public init(
            device: String, system: String, thermalStateBefore: IndexingPace.ThermalState, thermalStateAfter: IndexingPace.ThermalState, isLowPower: Bool
        ) {
            self.device = device
            self.system = system
            self.thermalStateBefore = thermalStateBefore
            self.thermalStateAfter = thermalStateAfter
            self.isLowPower = isLowPower
        }

        enum CodingKeys: String, CodingKey {
            case device, system
            case thermalStateBefore = "thermal_state_before"
            case thermalStateAfter = "thermal_state_after"
            case isLowPower = "low_power_mode"
        }
    }

    /// The bundle that was measured.
    public struct Model: Codable, Equatable, Sendable {
        /// The model's name.
        public var name: String
        /// Identity of the model.
        public var modelHash: String
        /// Precision of the Core ML packages.
        public var precision: String
        /// Of the image and text packages.
        public var sizeBytes: [BundlePart: Int]

        /// Describes a bundle.
        public init(of bundle: ModelBundle) {
            name = bundle.model.name
            modelHash = bundle.model.modelHash
            precision = bundle.manifest.precision
            sizeBytes = bundle.manifest.files.filter { $0.key == .image || $0.key == .text }.mapValues(\.sizeBytes)
        }

        enum CodingKeys: String, CodingKey {
            case name, precision
            case modelHash = "model_hash"
            case sizeBytes = "size_bytes"
        }
    }

    /// What the document is.
    public static let kind = "phone-bench"
    /// The version that this package writes.
    public static let formatVersion = 1

    /// Always `PhoneBench.kind`.
    public private(set) var kind = PhoneBench.kind
    /// Always `PhoneBench.formatVersion`.
    public private(set) var formatVersion = PhoneBench.formatVersion
    /// The phone.
    public var machine: Machine
    /// The bundle.
    public var model: Model
    /// The choices that ran.
    public var rows: [Row]
    /// The choices that did not.
    public var failed: [Failure]
    /// Comparisons with the bundle's samples; empty if the bundle has none. Absent from reports of older apps.
    public var parity: [ParityRow]?

    /// A report.
    public init(machine: Machine, model: Model, rows: [Row], failed: [Failure], parity: [ParityRow] = []) {
        self.machine = machine
        self.model = model
        self.rows = rows
        self.failed = failed
        self.parity = parity
    }

    enum CodingKeys: String, CodingKey {
        case kind, machine, model, rows, failed, parity
        case formatVersion = "format_version"
    }

    /// The JSON document.
    public func json() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self) + Data("\n".utf8)
    }
}
