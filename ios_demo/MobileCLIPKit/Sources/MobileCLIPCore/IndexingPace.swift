import Foundation

/// How hard the phone may be worked while it indexes.
public enum IndexingPace: Equatable, Sendable {
    /// Encode so many photos, then rest so long.
    case work(photos: Int, restMilliseconds: Int)
    /// Do nothing for so long, then look again.
    case wait(seconds: Int)

    /// The phone's own words for its temperature.
    public enum Heat: String, Codable, Sendable, CaseIterable {
        case nominal, fair, serious, critical
    }

    public init(heat: Heat, isLowPower: Bool, isInForeground: Bool) {
        switch heat {
        case .critical: self = .wait(seconds: 60)
        case .serious: self = isInForeground && !isLowPower ? .work(photos: 8, restMilliseconds: 1000) : .wait(seconds: 30)
        case .fair: self = .work(photos: 16, restMilliseconds: isLowPower ? 500 : 100)
        case .nominal: self = isLowPower ? .work(photos: 16, restMilliseconds: 250) : .work(photos: 32, restMilliseconds: 0)
        }
    }
}
