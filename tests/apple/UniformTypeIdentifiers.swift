public struct UTType: Equatable, Sendable {
    public static var image: UTType { UTType() }
}
