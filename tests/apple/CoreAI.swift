import Foundation

// From the calls of public packages for Core AI: the framework's own interface is in Xcode 27 only.

public struct SpecializationOptions: Sendable {
    public static var `default`: SpecializationOptions { SpecializationOptions() }
    public static var cpuOnly: SpecializationOptions { SpecializationOptions() }
}

public struct NDArrayDescriptor: Sendable {
    public var shape: [Int] { [] }
    public var scalarType: NDArray.ScalarType { .float32 }
}

public struct InferenceFunctionDescriptor: Sendable {
    public var inputNames: [String] { [] }
    public var outputNames: [String] { [] }
    public func inputDescriptor(of name: String) -> InferenceValue.Descriptor? { nil }
}

public struct NDArray: @unchecked Sendable {
    public enum ScalarType: Sendable { case float16, float32, int32 }

    public struct View<Element> {
        public func withUnsafePointer<R>(_ body: (UnsafePointer<Element>, Span<Int>, Span<Int>) throws -> R) rethrows -> R {
            fatalError()
        }
    }

    public struct MutableView<Element>: ~Copyable {
        public mutating func copyElements(fromContentsOf elements: some Collection<Element>) {}
    }

    public init(descriptor: NDArrayDescriptor) {}
    public var shape: [Int] { [] }
    public var scalarType: ScalarType { .float32 }
    public func view<Element: BitwiseCopyable>(as type: Element.Type) -> View<Element> { View() }
    public mutating func mutableView<Element: BitwiseCopyable>(as type: Element.Type) -> MutableView<Element> { MutableView() }
}

public struct InferenceValue: Sendable {
    public enum Descriptor: Sendable {
        case ndArray(NDArrayDescriptor)
        case image
    }

    public var ndArray: NDArray? { nil }
}

public final class InferenceFunction: Sendable {
    public struct Outputs: ~Copyable {
        public mutating func remove(_ name: String) -> InferenceValue? { nil }
    }

    public var descriptor: InferenceFunctionDescriptor { InferenceFunctionDescriptor() }
    public func run(inputs: [String: NDArray]) async throws -> Outputs { Outputs() }
}

public final class AIModel: Sendable {
    public init(contentsOf url: URL, options: SpecializationOptions = .default) async throws {}
    public func loadFunction(named name: String) throws -> InferenceFunction? { nil }
}
