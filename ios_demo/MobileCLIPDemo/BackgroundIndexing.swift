import BackgroundTasks
import Foundation

/// Asks the system for time to index while the app is not on the screen: seconds now and then, and minutes at night, while the
/// phone is charged.
enum BackgroundIndexing {
    static let refreshIdentifier = "org.mckit.MobileCLIPDemo.index"
    static let processingIdentifier = "org.mckit.MobileCLIPDemo.index.long"

    /// Says who does the long work. The system wants to know it before the app has been launched.
    static func register(_ model: AppModel) {
        // Called on a queue of the system's own: without the mark, a closure made on the main actor would stop the app there.
        BGTaskScheduler.shared.register(forTaskWithIdentifier: processingIdentifier, using: nil) { @Sendable task in
            let task = LongTask(task)
            let work = Task { @MainActor in
                let isDone = await model.indexInBackground()
                task.finish(isDone)
                // The system forgets a request once it has answered it.
                if !isDone { schedule() }
            }
            task.onExpiration { work.cancel() }
        }
    }

    static func schedule() {
        let long = BGProcessingTaskRequest(identifier: processingIdentifier)
        long.requiresExternalPower = true
        long.requiresNetworkConnectivity = false
        // Refused in the simulator and when the person has turned background work off; the app then indexes while it is open.
        try? BGTaskScheduler.shared.submit(long)
        try? BGTaskScheduler.shared.submit(BGAppRefreshTaskRequest(identifier: refreshIdentifier))
    }
}

/// A background task that may be finished from wherever the work ends: its methods may be called from any thread, which its
/// type does not say.
private struct LongTask: @unchecked Sendable {
    private let task: BGTask

    init(_ task: BGTask) { self.task = task }

    func finish(_ isDone: Bool) { task.setTaskCompleted(success: isDone) }
    func onExpiration(_ work: @escaping @Sendable () -> Void) { task.expirationHandler = work }
}
