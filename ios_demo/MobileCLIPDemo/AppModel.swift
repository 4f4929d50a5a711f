import Foundation
import MobileCLIPCore
import MobileCLIPKit
import Observation

/// What the screens observe. `AppSession` has the logic.
@MainActor @Observable
final class AppModel {
    private(set) var state = AppState()

    let services = PhoneServices()
    @ObservationIgnored private(set) lazy var session = AppSession(services: services) { [weak self] state in
        self?.state = state
        PhoneServices.note(state)
    }

    var library: PhotoLibrary { services.source }

    var words: String {
        get {
            if case .words(let words) = state.request { return words }
            return ""
        }
        set { session.ask(.words(newValue)) }
    }

    var textnessScale: Float {
        get { state.textnessScale }
        set { session.setTextnessScale(newValue) }
    }

    var allowsDownload: Bool {
        get { state.allowsDownload }
        set { session.setAllowsDownload(newValue) }
    }

    var isPaused: Bool {
        get { state.isPaused }
        set {
            session.setPaused(newValue)
            if !newValue { BackgroundIndexing.continueWhenLeft() }
        }
    }

    /// Asks for access to the photos, then indexes them.
    func usePhotos() async {
        await session.usePhotos()
        if case .ready = state.phase { BackgroundIndexing.continueWhenLeft() }
    }

    /// An error as a message.
    func text(_ problem: AppProblem) -> String { ErrorText.describe(problem.error) }
}

#if DEBUG
    extension AppModel {
        /// A model for previews, which shows a state and does nothing.
        static func sample(_ state: AppState) -> AppModel {
            let model = AppModel()
            model.state = state
            return model
        }
    }
#endif
