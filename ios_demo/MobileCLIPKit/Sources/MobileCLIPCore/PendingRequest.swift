import Foundation

/// Waits for a callback that comes once, at most, and cancels its request when the task is cancelled.
///
/// A framework may leave out the callback of a cancelled request; the result is then `cancelled`.
///
/// - Parameters:
///   - cancelled: The result for a cancelled task.
///   - start: Starts the request and returns its identifier. It may call back before it returns.
///   - cancel: Cancels a request.
public func resultOfRequest<Value: Sendable, ID: Sendable>(
    cancelled: Value, start: (@escaping @Sendable (Value) -> Void) -> ID, cancel: @escaping @Sendable (ID) -> Void
) async -> Value {
    let pending = PendingRequest<Value, ID>()
    return await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
            guard pending.wait(continuation) else { return continuation.resume(returning: cancelled) }
            let id = start { pending.finish($0) }
            if pending.started(id) { cancel(id) }
        }
    } onCancel: {
        if let id = pending.cancel(cancelled) { cancel(id) }
    }
}

/// The state of a request that several threads change.
private final class PendingRequest<Value: Sendable, ID: Sendable>: @unchecked Sendable {
    private let lock = NSLock()
    private var continuation: CheckedContinuation<Value, Never>?
    private var id: ID?
    private var isCancelled = false

    /// false if the task was cancelled before the request.
    func wait(_ continuation: CheckedContinuation<Value, Never>) -> Bool {
        lock.withLock {
            if !isCancelled { self.continuation = continuation }
            return !isCancelled
        }
    }

    /// Returns whether the request must be cancelled.
    func started(_ id: ID) -> Bool {
        lock.withLock {
            self.id = id
            return isCancelled
        }
    }

    /// Only the first result counts.
    func finish(_ value: Value) {
        let continuation = lock.withLock {
            defer { self.continuation = nil }
            return self.continuation
        }
        continuation?.resume(returning: value)
    }

    /// Returns the request to cancel, if it has been started.
    func cancel(_ value: Value) -> ID? {
        let id = lock.withLock {
            isCancelled = true
            return self.id
        }
        finish(value)
        return id
    }
}
