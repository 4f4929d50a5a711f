import Dispatch
import Foundation

public class BGTask: NSObject {
    public var expirationHandler: (() -> Void)?
    public func setTaskCompleted(success: Bool) {}
}

public class BGTaskRequest: NSObject {
    public var identifier: String { "" }
}

public final class BGAppRefreshTaskRequest: BGTaskRequest {
    public init(identifier: String) {}
}

public final class BGProcessingTaskRequest: BGTaskRequest {
    public var requiresExternalPower = false
    public var requiresNetworkConnectivity = false
    public init(identifier: String) {}
}

@available(iOS 26, *)
public class BGContinuedProcessingTask: BGTask, ProgressReporting {
    public var title: String { "" }
    public var subtitle: String { "" }
    public func updateTitle(_ title: String, subtitle: String) {}
    public var progress: Progress { Progress(totalUnitCount: 0) }
}

@available(iOS 26, *)
public class BGContinuedProcessingTaskRequest: BGTaskRequest {
    public enum SubmissionStrategy: Int, Sendable { case fail, queue }
    public struct Resources: OptionSet, Sendable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }
        public static let gpu = Resources(rawValue: 1)
    }

    public init(identifier: String, title: String, subtitle: String) {}
    public var title = ""
    public var subtitle = ""
    public var strategy = SubmissionStrategy.queue
    public var requiredResources = Resources()
}

public final class BGTaskScheduler: NSObject, @unchecked Sendable {
    public static let shared = BGTaskScheduler()
    @discardableResult
    public func register(
        forTaskWithIdentifier identifier: String, using queue: DispatchQueue?, launchHandler: @escaping (BGTask) -> Void
    ) -> Bool { true }
    public func submit(_ request: BGTaskRequest) throws {}
}
