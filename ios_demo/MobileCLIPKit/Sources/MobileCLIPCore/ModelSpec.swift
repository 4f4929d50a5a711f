import Foundation

/// How an image becomes the image tower's input.
public struct ImageSpec: Codable, Equatable, Sendable {
    /// How an image of another shape is fitted.
    public enum ResizeMode: String, Codable, Sendable { case shortest, longest, squash }
    /// The filter for resizing.
    public enum Interpolation: String, Codable, Sendable { case bilinear, bicubic }

    /// In pixels.
    public var height: Int
    /// In pixels.
    public var width: Int
    /// The filter for resizing.
    public var interpolation: Interpolation
    /// How an image of another shape is fitted.
    public var resizeMode: ResizeMode
    /// Grey level 0…255 of the padding.
    public var fillColor: Int

    /// An input of an image tower.
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
    /// The kinds of tokenizers.
    public enum Kind: String, Codable, Sendable {
        case clipBPE = "clip-bpe"
        case huggingFace = "huggingface"
    }

    /// Number of identifiers, with padding.
    public var contextLength: Int
    /// Number of different identifiers.
    public var vocabularySize: Int
    /// The kind of tokenizer.
    public var tokenizer: Kind
    /// How texts are cleaned.
    public var cleaning: Cleaning
    /// The identifier of padding.
    public var padID: Int32

    /// An input of a text tower.
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
    /// The version that this package reads.
    public static let formatVersion = 1

    /// The model's name.
    public var name: String
    /// Dimensions of a vector.
    public var embeddingDim: Int
    /// The image tower's input; nil without the tower.
    public var image: ImageSpec?
    /// The text tower's input; nil without the tower.
    public var text: TextSpec?
    /// Factor of cosines before a softmax.
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
