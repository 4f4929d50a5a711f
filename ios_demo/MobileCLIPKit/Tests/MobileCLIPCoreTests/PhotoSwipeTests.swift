import Testing

@testable import MobileCLIPCore

@Suite struct PhotoSwipeTests {
    @Test(arguments: [(0.0, -60.0, true), (20, -80, true), (-20, -80, true), (0, -59, false), (50, -80, false), (0, 200, false), (200, 0, false)])
    func onlyAClearMovementUpIsASwipe(right: Double, down: Double, isSwipe: Bool) {
        #expect((PhotoSwipe(right: right, down: down, isEnlarged: false) == .up) == isSwipe)
        #expect(PhotoSwipe(right: right, down: down, isEnlarged: true) == nil)
    }
}
