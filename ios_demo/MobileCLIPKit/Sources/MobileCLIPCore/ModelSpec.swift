import Foundation

/// How an image becomes the image tower's input.
public struct ImageSpec: Codable, Equatable, Sendable {
    public enum ResizeMode: String, Codable, Sendable { case shortest, longest, squash }
    public enum Interpolation: String, Codable, Sendable { case bilinear, bicubic }

    public var height: Int
    public var width: Int
    public var interpolation: Interpolation
    public var resizeMode: ResizeMode
    /// Grey level 0…255 of the padding.
    public var fillColor: Int

    public init(
        height: Int, width: Int, interpolation: Interpolation = .bicubic, resizeMode: ResizeMode = .shortest,
        fillColor: Int = 0
    ) {
        self.height = height
        self.width = width
        self.interpolation = interpolation
        self.resizeMode = resizeMode
        self.fillColor = fillColor
    }

    enum CodingKeys: String, CodingKey {
        case height, width, interpolation
        case resizeMode = "resize_mode"
        case fillColor = "fill_color"
    }
}

/// How a text becomes the text tower's input.
public struct TextSpec: Codable, Equatable, Sendable {
    /// How a text is cleaned before tokenization.
    public enum Cleaning: String, Codable, Sendable { case lower, canonicalize, whitespace }
    public enum Kind: String, Codable, Sendable {
        case clipBPE = "clip-bpe"
        case huggingFace = "huggingface"
    }

    public var contextLength: Int
    public var vocabularySize: Int
    public var tokenizer: Kind
    public var cleaning: Cleaning
    public var padID: Int32

    public init(
        contextLength: Int = 77, vocabularySize: Int = 49408, tokenizer: Kind = .clipBPE, cleaning: Cleaning = .lower,
        padID: Int32 = 0
    ) {
        self.contextLength = contextLength
        self.vocabularySize = vocabularySize
        self.tokenizer = tokenizer
        self.cleaning = cleaning
        self.padID = padID
    }

    enum CodingKeys: String, CodingKey {
        case tokenizer, cleaning
        case contextLength = "context_length"
        case vocabularySize = "vocab_size"
        case padID = "pad_id"
    }
}

/// The description of a dual encoder: the part of `model.json` that a phone needs.
public struct ModelSpec: Codable, Equatable, Sendable {
    public static let formatVersion = 1

    public var name: String
    public var embeddingDim: Int
    public var image: ImageSpec?
    public var text: TextSpec?
    public var logitScale: Double
    /// Identity of the model, 64 hex digits.
    public var modelHash: String

    enum CodingKeys: String, CodingKey {
        case name, image, text
        case embeddingDim = "embedding_dim"
        case logitScale = "logit_scale"
        case modelHash = "model_hash"
    }
}
