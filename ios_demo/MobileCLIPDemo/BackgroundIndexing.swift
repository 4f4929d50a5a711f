import BackgroundTasks
import Foundation

/// Requests background time for indexing from the system: seconds from time to time, and minutes at night while the phone
/// is charging.
enum BackgroundIndexing {
    static let refreshIdentifier = "org.mckit.MobileCLIPDemo.index"
    static let processingIdentifier = "org.mckit.MobileCLIPDemo.index.long"

    /// Registers the long task, which must happen before the app has finished launching.
    static func register(_ model: AppModel) {
        // The system calls this on its own queue: without `@Sendable`, a closure made on the main actor would crash there.
        BGTaskScheduler.shared.register(forTaskWithIdentifier: processingIdentifier, using: nil) { @Sendable task in
            let task = LongTask(task)
            let work = Task { @MainActor in
                let isDone = await model.session.indexInBackground()
                task.finish(isDone)
                // A request is used up once it has been granted.
                if !isDone { schedule() }
            }
            task.onExpiration { work.cancel() }
        }
    }

    static func schedule() {
        let long = BGProcessingTaskRequest(identifier: processingIdentifier)
        long.requiresExternalPower = true
        long.requiresNetworkConnectivity = false
        // Fails in the simulator and when the user has turned background refresh off; the app then indexes only while it is open.
        try? BGTaskScheduler.shared.submit(long)
        try? BGTaskScheduler.shared.submit(BGAppRefreshTaskRequest(identifier: refreshIdentifier))
    }
}

/// A background task that can be completed from any thread. Its methods allow that, but its type is not marked as
/// `Sendable`.
private struct LongTask: @unchecked Sendable {
    private let task: BGTask

    init(_ task: BGTask) { self.task = task }

    func finish(_ isDone: Bool) { task.setTaskCompleted(success: isDone) }
    func onExpiration(_ work: @escaping @Sendable () -> Void) { task.expirationHandler = work }
}
