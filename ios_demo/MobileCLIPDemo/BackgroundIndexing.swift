import BackgroundTasks
import Foundation
import MobileCLIPCore

/// Requests background time for indexing from the system: seconds from time to time, and minutes at night while the phone
/// is charging.
enum BackgroundIndexing {
    static let refreshIdentifier = "org.mckit.MobileCLIPDemo.index"
    static let processingIdentifier = "org.mckit.MobileCLIPDemo.index.long"

    /// Registers the long task, which must happen before the app has finished launching.
    @MainActor
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
        if #available(iOS 26, *) { ContinuedIndexing.register(model) }
    }

    /// Lets indexing that the user has just started go on when the app is left, where the system can do that.
    @MainActor
    static func continueWhenLeft() {
        if #available(iOS 26, *) { ContinuedIndexing.submit() }
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

    @available(iOS 26, *)
    func show(_ progress: IndexingProgress) {
        guard let task = task as? BGContinuedProcessingTask else { return }
        task.progress.totalUnitCount = Int64(progress.indexed + progress.remaining)
        task.progress.completedUnitCount = Int64(progress.indexed)
        task.updateTitle(task.title, subtitle: String(localized: "\(progress.remaining) photos left"))
    }

    func finish(_ isDone: Bool) { task.setTaskCompleted(success: isDone) }
    func onExpiration(_ work: @escaping @Sendable () -> Void) { task.expirationHandler = work }
}

/// Since iOS 26, work that begins with a tap may go on after the app is left. The system shows its progress.
@available(iOS 26, *)
@MainActor
private enum ContinuedIndexing {
    /// The system wants the identifier to begin with that of the bundle.
    private static var identifier: String { "\(Bundle.main.bundleIdentifier ?? "").index.continued" }
    /// A request without a launch handler ends the app.
    private static var isRegistered = false

    static func register(_ model: AppModel) {
        isRegistered = BGTaskScheduler.shared.register(forTaskWithIdentifier: identifier, using: nil) { @Sendable task in
            let shown = LongTask(task)
            let work = Task { @MainActor in
                shown.finish(await model.session.indexInBackground { shown.show($0) })
            }
            shown.onExpiration { work.cancel() }
        }
    }

    static func submit() {
        guard isRegistered else { return }
        let request = BGContinuedProcessingTaskRequest(
            identifier: identifier, title: String(localized: "Indexing your photos"), subtitle: String(localized: "Getting ready"))
        // Later would be too late: the app indexes now.
        request.strategy = .fail
        try? BGTaskScheduler.shared.submit(request)
    }
}
