/// A swipe over a photo that is shown in full.
public enum PhotoSwipe: Equatable, Sendable {
    /// Searches for similar photos.
    case up

    /// Shorter movements are taps.
    private static let least = 60.0

    /// nil for a movement that is no swipe. In an enlarged photo, a movement shows another part of it.
    ///
    /// - Parameters:
    ///   - right: How far the finger moved to the right, in points.
    ///   - down: How far it moved down.
    public init?(right: Double, down: Double, isEnlarged: Bool) {
        guard !isEnlarged, -down >= Self.least, -down >= 2 * right.magnitude else { return nil }
        self = .up
    }
}
