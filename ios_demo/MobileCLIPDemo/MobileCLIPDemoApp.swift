import BackgroundTasks
import SwiftUI

@main
struct MobileCLIPDemoApp: App {
    @State private var model = AppModel()
    @Environment(\.scenePhase) private var phase

    var body: some Scene {
        WindowGroup {
            RootView()
                .environment(model)
                .task { await model.start() }
        }
        .onChange(of: phase) { _, phase in
            model.isInForeground = phase == .active
            if phase == .background { BackgroundIndexing.schedule() }
        }
        .backgroundTask(.appRefresh(BackgroundIndexing.identifier)) {
            await model.indexInBackground()
            BackgroundIndexing.schedule()
        }
    }
}

/// Asks the system for time to index while the app is not on the screen.
enum BackgroundIndexing {
    static let identifier = "org.mckit.MobileCLIPDemo.index"

    static func schedule() {
        // Refused in the simulator and when the person has turned background work off; the app then indexes while it is open.
        try? BGTaskScheduler.shared.submit(BGAppRefreshTaskRequest(identifier: identifier))
    }
}
