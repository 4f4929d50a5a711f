import Foundation
import Testing

@testable import MobileCLIPCore

/// A framework with callbacks.
private final class Framework: @unchecked Sendable {
    private let lock = NSLock()
    private var callbacks: [Int: @Sendable (String) -> Void] = [:]
    private var cancelledIDs: [Int] = []

    func request(_ callback: @escaping @Sendable (String) -> Void) -> Int {
        lock.withLock {
            callbacks[7] = callback
            return 7
        }
    }

    func cancel(_ id: Int) { lock.withLock { cancelledIDs.append(id) } }
    func callBack(_ value: String) { lock.withLock { callbacks[7] }?(value) }
    var hasRequest: Bool { lock.withLock { callbacks[7] != nil } }
    var cancelled: [Int] { lock.withLock { cancelledIDs } }
}

@Suite struct PendingRequestTests {
    private let framework = Framework()

    private func result() async -> String {
        await resultOfRequest(
            cancelled: "none", start: { [framework] in framework.request($0) }, cancel: { [framework] in framework.cancel($0) })
    }

    @Test func theFirstCallbackIsTheResult() async {
        async let found = result()
        while !framework.hasRequest { await Task.yield() }
        framework.callBack("image")
        framework.callBack("a second callback")
        #expect(await found == "image")
        #expect(framework.cancelled.isEmpty)
    }

    @Test func aCallbackMayComeBeforeTheRequestReturns() async {
        let found = await resultOfRequest(cancelled: "none", start: { $0("at once"); return 1 }, cancel: { (_: Int) in })
        #expect(found == "at once")
    }

    @Test func aCancelledTaskCancelsItsRequestAndDoesNotWaitForTheCallback() async {
        let task = Task { await result() }
        while !framework.hasRequest { await Task.yield() }
        task.cancel()
        #expect(await task.value == "none")
        #expect(framework.cancelled == [7])
        framework.callBack("too late")
    }

    @Test func aTaskThatWasCancelledBeforeMakesNoRequest() async {
        let task = Task {
            while !Task.isCancelled { await Task.yield() }
            return await result()
        }
        task.cancel()
        #expect(await task.value == "none")
        #expect(!framework.hasRequest)
    }
}
