import Foundation
import MobileCLIPCore
import MobileCLIPKit
import os

/// What the app's logic needs from the phone.
@MainActor
final class PhoneServices: AppServices {
    private static let log = Logger(subsystem: "org.mckit.MobileCLIPDemo", category: "app")

    let source = PhotoLibrary()
    let indexFolder = AppFolders.indexes
    private(set) var parity: ParityLog?

    var settings: AppSettings {
        get {
            let stored = UserDefaults.standard.data(forKey: "settings")
            return stored.flatMap { try? JSONDecoder().decode(AppSettings.self, from: $0) } ?? AppSettings()
        }
        set { UserDefaults.standard.set(try? JSONEncoder().encode(newValue), forKey: "settings") }
    }

    var isLimited: Bool { source.isLimited }

    func bundles() async -> [BundleList.Entry] {
        let folders = [AppFolders.builtInBundles, AppFolders.documents].compactMap { $0 }
        return await Task.detached { BundleList(folders: folders).entries() }.value
    }

    func encoders(of bundle: ModelBundle) async throws -> (images: BundleImageEncoder, words: BundleTextEncoder) {
        let towers = try towers(of: bundle)
        return (BundleImageEncoder(tower: towers.image), try BundleTextEncoder(tower: towers.text, bundle: bundle))
    }

    /// A bundle's towers in the places of this phone.
    func towers(of bundle: ModelBundle) throws -> (image: CheckedTower, text: CheckedTower) {
        let system = ProcessInfo.processInfo.operatingSystemVersionString
        let files = bundle.manifest.files.values.map(\.sha256).sorted().joined(separator: "+")
        let name = "parity-\(bundle.model.modelHash.prefix(16)).json"
        let subject = "\(system)+\(files)"
        // Two logs of one file would overwrite each other's results.
        let known = parity.flatMap { $0.subject == subject ? $0 : nil }
        let log = known ?? ParityLog(url: AppFolders.caches.appending(path: name), subject: subject)
        parity = log
        func tower(_ part: BundlePart) throws -> CheckedTower {
            try CheckedTower(part, of: bundle, folder: AppFolders.compiledModels, log: log) { ErrorText.describe($0) }
        }
        return (try tower(.image), try tower(.text))
    }

    func requestAccess() async -> Bool { await source.requestAccess() }
    func libraryChanges() -> AsyncStream<Void> { source.changes() }

    func machine() -> (thermalState: IndexingPace.ThermalState, isLowPower: Bool) {
        let process = ProcessInfo.processInfo
        return (IndexingPace.ThermalState(process.thermalState), process.isLowPowerModeEnabled)
    }

    func sleep(for duration: Duration) async throws { try await Task.sleep(for: duration) }

    /// Notes what the screens do not show for long.
    static func note(_ state: AppState) {
        if case .failed(let problem) = state.phase { log.error("opening=\(String(reflecting: problem.error))") }
        if let problem = state.indexingProblem { log.error("indexing=\(String(reflecting: problem.error))") }
    }
}
