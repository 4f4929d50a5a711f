import Foundation

/// What the app's logic needs from its surroundings: Apple's frameworks, or a test's replacements.
@MainActor
public protocol AppServices: AnyObject, Sendable {
    /// The photo library.
    associatedtype Source: PhotoSource
    /// The image tower.
    associatedtype Images: ImageEncoding where Images.Image == Source.Image
    /// The text tower.
    associatedtype Words: QueryEncoder

    /// The photos.
    var source: Source { get }
    /// The folder of the indexes.
    var indexFolder: URL { get }
    /// Settings that survive the app.
    var settings: AppSettings { get set }
    /// Whether the app may access only the photos that the user selected.
    var isLimited: Bool { get }

    /// The bundles that are there now.
    func bundles() async -> [BundleList.Entry]
    /// The encoders of a bundle. Their models load when they are first used.
    func encoders(of bundle: ModelBundle) async throws -> (images: Images, words: Words)
    /// Asks the user for access to the photos the first time.
    func requestAccess() async -> Bool
    /// A value for each change of the library.
    func libraryChanges() -> AsyncStream<Void>
    /// Heat and energy of the phone.
    func machine() -> (thermalState: IndexingPace.ThermalState, isLowPower: Bool)
    /// Waits; tests replace it.
    func sleep(for duration: Duration) async throws
}
