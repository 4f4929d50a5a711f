import SwiftUI

@main
struct MobileCLIPDemoApp: App {
    @State private var model: AppModel
    @Environment(\.scenePhase) private var phase

    init() {
        let model = AppModel()
        BackgroundIndexing.register(model)
        _model = State(initialValue: model)
    }

    var body: some Scene {
        WindowGroup {
            RootView()
                .environment(model)
                .task { await model.start() }
        }
        .onChange(of: phase, initial: true) { _, phase in
            model.isInForeground = phase == .active
            if phase == .background { BackgroundIndexing.schedule() }
        }
        .backgroundTask(.appRefresh(BackgroundIndexing.refreshIdentifier)) {
            if await !model.indexInBackground() { BackgroundIndexing.schedule() }
        }
    }
}
