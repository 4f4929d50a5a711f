import CoreVideo
import Foundation

public enum MLComputeUnits: Int, Sendable { case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine }

public final class MLModelConfiguration: NSObject {
    public var computeUnits: MLComputeUnits = .all
}

public enum MLFeatureType: Int, Sendable { case invalid, int64, double, string, image, multiArray, dictionary }
public enum MLMultiArrayDataType: Int, Sendable { case double, float32, float16, int32 }

public final class MLImageConstraint: NSObject {
    public var pixelsHigh: Int { 0 }
    public var pixelsWide: Int { 0 }
}

public final class MLMultiArrayConstraint: NSObject {
    public var shape: [NSNumber] { [] }
}

public final class MLFeatureDescription: NSObject {
    public var type: MLFeatureType { .invalid }
    public var imageConstraint: MLImageConstraint? { nil }
    public var multiArrayConstraint: MLMultiArrayConstraint? { nil }
}

public final class MLModelDescription: NSObject {
    public var inputDescriptionsByName: [String: MLFeatureDescription] { [:] }
    public var outputDescriptionsByName: [String: MLFeatureDescription] { [:] }
}

public final class MLMultiArray: NSObject {
    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {}
    public var count: Int { 0 }
    public subscript(place: Int) -> NSNumber {
        get { 0 }
        set {}
    }
}

public final class MLFeatureValue: NSObject {
    public init(pixelBuffer: CVPixelBuffer) {}
    public init(multiArray: MLMultiArray) {}
    public var multiArrayValue: MLMultiArray? { nil }
}

public protocol MLFeatureProvider {
    func featureValue(for name: String) -> MLFeatureValue?
}

public final class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
    public init(dictionary: [String: Any]) throws {}
    public func featureValue(for name: String) -> MLFeatureValue? { nil }
}

public protocol MLBatchProvider {
    var count: Int { get }
    func features(at place: Int) -> any MLFeatureProvider
}

public final class MLArrayBatchProvider: NSObject, MLBatchProvider {
    public init(array: [any MLFeatureProvider]) {}
    public var count: Int { 0 }
    public func features(at place: Int) -> any MLFeatureProvider { try! MLDictionaryFeatureProvider(dictionary: [:]) }
}

public final class MLPredictionOptions: NSObject {}

public class MLModel: NSObject {
    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {}
    public var modelDescription: MLModelDescription { MLModelDescription() }
    public func prediction(from input: any MLFeatureProvider, options: MLPredictionOptions) throws -> any MLFeatureProvider {
        input
    }
    public func predictions(fromBatch batch: any MLBatchProvider) throws -> any MLBatchProvider { batch }
    public static func compileModel(at url: URL) async throws -> URL { url }
}
