import Foundation

/// A bundle's image tower.
public struct ImageEncoder: ImageEncoding {
    private let tower: CheckedTower

    public init(tower: CheckedTower) {
        self.tower = tower
    }

    public func vectors(of images: [PixelImage]) async throws -> [[Float]?] {
        try await tower.predict(images.map(TowerInput.image))
    }

    public func unload() async { await tower.unload() }
}

/// A bundle's text tower with its tokenizer.
public struct TextEncoder: QueryEncoder {
    private let tower: CheckedTower
    private let tokenizer: Tokenizer

    public init(tower: CheckedTower, bundle: ModelBundle) throws {
        guard let text = bundle.model.text else { throw ManifestError.partMissing(.text) }
        self.tower = tower
        tokenizer = try Tokenizer(merges: bundle.requiredURL(of: .merges), spec: text)
    }

    /// The unit vector of a text.
    public func encode(_ text: String) async throws -> [Float] {
        guard let vector = try await tower.predict([.tokens(tokenizer(text))]).first ?? nil else { throw TextEncoderError.noVector }
        return vector
    }
}

/// Errors of encoding words.
public enum TextEncoderError: Error, Equatable, Sendable {
    case noVector
}
