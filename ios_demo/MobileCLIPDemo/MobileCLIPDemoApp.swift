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
            RootView().environment(model)
        }
        .onChange(of: phase, initial: true) { _, phase in
            switch phase {
            case .active: Task { await model.session.becomeActive() }
            case .background:
                model.session.resignActive()
                BackgroundIndexing.schedule()
            default: model.session.resignActive()
            }
        }
        .backgroundTask(.appRefresh(BackgroundIndexing.refreshIdentifier)) {
            if await !model.session.indexInBackground() { BackgroundIndexing.schedule() }
        }
    }
}
