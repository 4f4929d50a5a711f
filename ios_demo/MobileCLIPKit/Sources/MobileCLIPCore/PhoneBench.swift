import Foundation

/// The report of the bench screen; `docs/phone-bench.md` describes its JSON.
public struct PhoneBench: Codable, Equatable, Sendable {
    /// Statistics of single runs, in milliseconds.
    public struct Latency: Codable, Equatable, Sendable {
        public var p50: Double
        public var p95: Double
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
        public var latency: Latency

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
        public var units: ComputeUnits
        public var image: Tower
        public var text: Tower
        public var photosPerSecond: Double
        /// Number of photos in the batch for `photosPerSecond`.
        public var batch: Int
        /// Memory of the app by the system's count, with both towers loaded.
        public var memoryBytes: Int

        public var id: ComputeUnits { units }

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
        public var units: ComputeUnits
        public var reason: String

        public var id: ComputeUnits { units }

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
        public var system: String
        /// Before and after the measurement: a hot phone is slow.
        public var thermalStateBefore: IndexingPace.ThermalState
        public var thermalStateAfter: IndexingPace.ThermalState
        public var isLowPower: Bool

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
        public var name: String
        public var modelHash: String
        public var precision: String
        /// Of the image and text packages.
        public var sizeBytes: [BundlePart: Int]

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

    public static let kind = "phone-bench"
    public static let formatVersion = 1

    public private(set) var kind = PhoneBench.kind
    public private(set) var formatVersion = PhoneBench.formatVersion
    public var machine: Machine
    public var model: Model
    public var rows: [Row]
    public var failed: [Failure]
    /// Comparisons with the bundle's samples; empty if the bundle has none. Absent from reports of older apps.
    public var parity: [ParityRow]?

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
