import Foundation

/// How fast the phone may index.
public enum IndexingPace: Equatable, Sendable {
    /// Encode a number of photos, then rest.
    case work(photos: Int, restMilliseconds: Int)
    /// Wait, then check again.
    case wait(seconds: Int)

    /// The phone's thermal state.
    public enum ThermalState: String, Codable, Sendable, CaseIterable {
        case nominal, fair, serious, critical
    }

    /// The pace for a phone's conditions.
    public init(thermalState: ThermalState, isLowPower: Bool, isInForeground: Bool) {
        switch thermalState {
        case .critical: self = .wait(seconds: 60)
        case .serious: self = isInForeground && !isLowPower ? .work(photos: 8, restMilliseconds: 1000) : .wait(seconds: 30)
        case .fair: self = .work(photos: 16, restMilliseconds: isLowPower ? 500 : 100)
        case .nominal: self = isLowPower ? .work(photos: 16, restMilliseconds: 250) : .work(photos: 32, restMilliseconds: 0)
        }
    }
}
