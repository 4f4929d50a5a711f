import Foundation

/// A bundle's image tower.
public struct BundleImageEncoder: ImageEncoding {
    private let tower: CheckedTower

    /// - Parameter tower: The image tower.
    public init(tower: CheckedTower) {
        self.tower = tower
    }

    /// Unit vectors of images of the model's size; nil for an image without one.
    public func vectors(of images: [PixelImage]) async throws -> [[Float]?] {
        try await tower.predict(images.map(TowerInput.image))
    }

    /// Releases the tower's memory.
    public func unload() async { await tower.unload() }
}

/// A bundle's text tower with its tokenizer.
public struct BundleTextEncoder: QueryEncoder {
    private let tower: CheckedTower
    private let tokenizer: CLIPTokenizer

    /// - Parameters:
    ///   - tower: The text tower.
    ///   - bundle: Has the tokenizer.
    public init(tower: CheckedTower, bundle: ModelBundle) throws {
        guard let text = bundle.model.text else { throw ManifestError.partMissing(.text) }
        self.tower = tower
        tokenizer = try CLIPTokenizer(merges: bundle.requiredURL(of: .merges), spec: text)
    }

    /// The unit vector of a text.
    public func encode(_ text: String) async throws -> [Float] {
        guard let vector = try await tower.predict([.tokens(tokenizer(text))]).first ?? nil else { throw BundleTextEncoderError.noVector }
        return vector
    }
}

/// Errors of encoding words.
public enum BundleTextEncoderError: Error, Equatable, Sendable {
    case noVector
}
