import CoreGraphics
@_exported import Foundation
@_exported import Observation

/// Nothing of this is ever run.
func undefined() -> Never { Swift.fatalError("a declaration for the type check alone") }

// MARK: Views

@MainActor @preconcurrency
public protocol View {
    associatedtype Body: View
    @ViewBuilder var body: Body { get }
}

/// A view that shows itself.
@MainActor @preconcurrency
public protocol Primitive: View where Body == Never {}

extension Primitive {
    public var body: Never { undefined() }
}

extension Never: Primitive {
    public typealias Body = Never
}

/// Whatever a modifier or a control gives: the app never names it.
public struct AnyShown: Primitive {
    public nonisolated init() {}
    public typealias Body = Never
}

@resultBuilder
public struct ViewBuilder {
    public static func buildBlock() -> AnyShown { AnyShown() }
    public static func buildBlock<each Content: View>(_ content: repeat each Content) -> AnyShown { AnyShown() }
    public static func buildIf<Content: View>(_ content: Content?) -> Content? { content }
    public static func buildEither<Content: View>(first: Content) -> AnyShown { AnyShown() }
    public static func buildEither<Content: View>(second: Content) -> AnyShown { AnyShown() }
}

extension Optional: View, Primitive where Wrapped: View {
    public typealias Body = Never
}

public struct LocalizedStringKey: ExpressibleByStringInterpolation, Equatable, Sendable {
    public struct StringInterpolation: StringInterpolationProtocol {
        public init(literalCapacity: Int, interpolationCount: Int) {}
        public mutating func appendLiteral(_ literal: String) {}
        public mutating func appendInterpolation(_ value: String) {}
        public mutating func appendInterpolation(_ value: Int) {}
    }

    public init(stringLiteral value: String) {}
    public init(stringInterpolation: StringInterpolation) {}
}

extension String {
    /// Foundation's own on Apple's systems.
    public struct LocalizationValue: ExpressibleByStringInterpolation {
        public init(stringLiteral value: String) {}
        public init(stringInterpolation: LocalizedStringKey.StringInterpolation) {}
    }

    public init(localized: LocalizationValue) { self = "" }
}

public struct Text: Primitive {
    public init(_ key: LocalizedStringKey) {}
    @_disfavoredOverload
    public init<S: StringProtocol>(_ content: S) {}
    public typealias Body = Never
}

public struct Image: Primitive, Sendable {
    public init(systemName: String) {}
    public init(decorative image: CGImage, scale: CGFloat) {}
    public func resizable() -> Image { self }
    public typealias Body = Never
}

public struct Color: Primitive, ShapeStyle {
    @MainActor public static let secondary = Color()
    public func opacity(_ share: Double) -> Color { self }
    public typealias Body = Never
}

public struct Spacer: Primitive {
    public init() {}
    public typealias Body = Never
}

public struct Label: Primitive {
    public init(_ title: LocalizedStringKey, systemImage: String) {}
    @_disfavoredOverload
    public init<S: StringProtocol>(_ title: S, systemImage: String) {}
    public typealias Body = Never
}

public struct Button: Primitive {
    public init(_ title: LocalizedStringKey, action: @escaping @MainActor () -> Void) {}
    public init(_ title: LocalizedStringKey, systemImage: String, action: @escaping @MainActor () -> Void) {}
    public init<Shown: View>(action: @escaping @MainActor () -> Void, @ViewBuilder label: () -> Shown) {}
    public typealias Body = Never
}

public struct Link: Primitive {
    public init(_ title: LocalizedStringKey, destination: URL) {}
    public typealias Body = Never
}

public struct Toggle: Primitive {
    public init(_ title: LocalizedStringKey, isOn: Binding<Bool>) {}
    public typealias Body = Never
}

public struct Slider: Primitive {
    public init<Value: BinaryFloatingPoint, Title: View, Least: View, Most: View>(
        value: Binding<Value>, in bounds: ClosedRange<Value>, step: Value.Stride, @ViewBuilder label: () -> Title,
        @ViewBuilder minimumValueLabel: () -> Least, @ViewBuilder maximumValueLabel: () -> Most
    ) where Value.Stride: BinaryFloatingPoint {}
    public typealias Body = Never
}

public struct ProgressView: Primitive {
    public init() {}
    public init(_ title: LocalizedStringKey) {}
    public init<Value: BinaryFloatingPoint, Shown: View>(value: Value?, total: Value = 1, @ViewBuilder label: () -> Shown) {}
    public typealias Body = Never
}

public struct SharePreview {
    public init(_ title: Text) {}
    public init(_ title: Text, image: Image) {}
}

public struct ShareLink: Primitive {
    public init(item: String, preview: SharePreview) {}
    public init(item: Image, preview: SharePreview) {}
    public typealias Body = Never
}

public struct ContentUnavailableView: Primitive {
    public init(_ title: LocalizedStringKey, systemImage: String, description: Text? = nil) {}
    public init<Title: View, Description: View, Actions: View>(
        @ViewBuilder label: () -> Title, @ViewBuilder description: () -> Description, @ViewBuilder actions: () -> Actions
    ) {}
    public init<Title: View, Description: View>(@ViewBuilder label: () -> Title, @ViewBuilder description: () -> Description) {}
    public static func search(text: String) -> ContentUnavailableView { ContentUnavailableView("", systemImage: "") }
    public typealias Body = Never
}

public struct LabeledContent: Primitive {
    public init<Shown: View>(_ title: LocalizedStringKey, @ViewBuilder content: () -> Shown) {}
    @_disfavoredOverload
    public init<S: StringProtocol, Shown: View>(_ title: S, @ViewBuilder content: () -> Shown) {}
    public typealias Body = Never
}

// MARK: Arrangement

public enum HorizontalAlignment: Sendable { case leading, center, trailing }
public enum ContentMode: Sendable { case fit, fill }

public struct VStack: Primitive {
    public init<Shown: View>(
        alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil, @ViewBuilder content: () -> Shown
    ) {}
    public typealias Body = Never
}

public struct HStack: Primitive {
    public init<Shown: View>(spacing: CGFloat? = nil, @ViewBuilder content: () -> Shown) {}
    public typealias Body = Never
}

public struct Group: Primitive {
    public init<Shown: View>(@ViewBuilder content: () -> Shown) {}
    public typealias Body = Never
}

public struct ScrollView: Primitive {
    public init<Shown: View>(@ViewBuilder content: () -> Shown) {}
    public typealias Body = Never
}

public struct List: Primitive {
    public init<Shown: View>(@ViewBuilder content: () -> Shown) {}
    public typealias Body = Never
}

public struct Form: Primitive {
    public init<Shown: View>(@ViewBuilder content: () -> Shown) {}
    public typealias Body = Never
}

public struct Section: Primitive {
    public init<Shown: View>(@ViewBuilder content: () -> Shown) {}
    public init<Shown: View>(_ title: LocalizedStringKey, @ViewBuilder content: () -> Shown) {}
    public init<Shown: View, Below: View>(@ViewBuilder content: () -> Shown, @ViewBuilder footer: () -> Below) {}
    public typealias Body = Never
}

public struct GridItem: Sendable {
    public enum Size: Sendable { case adaptive(minimum: CGFloat, maximum: CGFloat = .infinity) }
    public init(_ size: Size, spacing: CGFloat? = nil) {}
}

public struct LazyVGrid: Primitive {
    public init<Shown: View>(columns: [GridItem], spacing: CGFloat? = nil, @ViewBuilder content: () -> Shown) {}
    public typealias Body = Never
}

public struct ForEach: Primitive {
    public init<Items: RandomAccessCollection, Shown: View>(
        _ items: Items, @ViewBuilder content: @escaping (Items.Element) -> Shown
    ) where Items.Element: Identifiable {}
    public init<Items: RandomAccessCollection, Key: Hashable, Shown: View>(
        _ items: Items, id: KeyPath<Items.Element, Key>, @ViewBuilder content: @escaping (Items.Element) -> Shown
    ) {}
    public typealias Body = Never
}

public struct NavigationStack: Primitive {
    public init<Shown: View>(@ViewBuilder root: () -> Shown) {}
    public typealias Body = Never
}

public struct NavigationLink: Primitive {
    public init<Shown: View>(_ title: LocalizedStringKey, @ViewBuilder destination: () -> Shown) {}
    public typealias Body = Never
}

public enum ToolbarItemPlacement: Sendable { case cancellationAction, bottomBar }

public struct ToolbarItem: Primitive {
    public init<Shown: View>(placement: ToolbarItemPlacement, @ViewBuilder content: () -> Shown) {}
    public typealias Body = Never
}

public struct ToolbarItemGroup: Primitive {
    public init<Shown: View>(placement: ToolbarItemPlacement, @ViewBuilder content: () -> Shown) {}
    public typealias Body = Never
}

// MARK: Modifiers

public protocol ShapeStyle {}
public struct SecondaryStyle: ShapeStyle { public init() {} }
extension ShapeStyle where Self == SecondaryStyle { public static var secondary: SecondaryStyle { SecondaryStyle() } }
public enum Font: Sendable { case caption, footnote }
public struct Edge { public enum Set: Sendable { case horizontal, vertical } }
public struct Rectangle: Sendable { public init() {} }
public struct BorderedProminent { public init() {} }
extension BorderedProminent { public static var borderedProminent: BorderedProminent { BorderedProminent() } }
public enum LabelStyles: Sendable { case iconOnly }
public struct AccessibilityTraits: OptionSet, Sendable {
    public var rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    public static let isButton = AccessibilityTraits(rawValue: 1)
    public static let isImage = AccessibilityTraits(rawValue: 2)
    public static let isSelected = AccessibilityTraits(rawValue: 4)
}

extension View {
    public func aspectRatio(_ ratio: CGFloat?, contentMode: ContentMode) -> some View { AnyShown() }
    public func scaledToFit() -> some View { AnyShown() }
    public func scaledToFill() -> some View { AnyShown() }
    public func clipped() -> some View { AnyShown() }
    public func contentShape(_ shape: Rectangle) -> some View { AnyShown() }
    public func overlay<Shown: View>(@ViewBuilder content: () -> Shown) -> some View { AnyShown() }
    public func frame(maxWidth: CGFloat? = nil, maxHeight: CGFloat? = nil) -> some View { AnyShown() }
    public func padding(_ edges: Edge.Set) -> some View { AnyShown() }
    public func font(_ font: Font?) -> some View { AnyShown() }
    public func foregroundStyle(_ style: some ShapeStyle) -> some View { AnyShown() }
    public func buttonStyle(_ style: BorderedProminent) -> some View { AnyShown() }
    public func labelStyle(_ style: LabelStyles) -> some View { AnyShown() }
    public func disabled(_ isDisabled: Bool) -> some View { AnyShown() }
    public func navigationTitle(_ title: Text) -> some View { AnyShown() }
    public func toolbar<Shown: View>(@ViewBuilder content: () -> Shown) -> some View { AnyShown() }
    public func searchable(text: Binding<String>, prompt: Text?) -> some View { AnyShown() }
    public func sheet<Shown: View>(isPresented: Binding<Bool>, @ViewBuilder content: @escaping () -> Shown) -> some View {
        AnyShown()
    }
    public func sheet<Item: Identifiable, Shown: View>(
        item: Binding<Item?>, @ViewBuilder content: @escaping (Item) -> Shown
    ) -> some View { AnyShown() }
    public func task(@_inheritActorContext _ action: @escaping @Sendable () async -> Void) -> some View { AnyShown() }
    public func task<ID: Equatable>(
        id: ID, @_inheritActorContext _ action: @escaping @Sendable () async -> Void
    ) -> some View {
        AnyShown()
    }
    public func onTapGesture(perform action: @escaping () -> Void) -> some View { AnyShown() }
    public func onChange<Value: Equatable>(of value: Value, _ action: @escaping () -> Void) -> some View { AnyShown() }
    public func onChange<Value: Equatable>(of value: Value, _ action: @escaping (Value, Value) -> Void) -> some View {
        AnyShown()
    }
    public func contextMenu<Shown: View>(@ViewBuilder menuItems: () -> Shown) -> some View { AnyShown() }
    public func environment<Value: AnyObject & Observable>(_ value: Value?) -> some View { AnyShown() }
    public func accessibilityElement() -> some View { AnyShown() }
    public func accessibilityLabel(_ label: Text) -> some View { AnyShown() }
    public func accessibilityValue(_ value: Text) -> some View { AnyShown() }
    public func accessibilityAddTraits(_ traits: AccessibilityTraits) -> some View { AnyShown() }
    public func accessibilityAction(_ action: @escaping () -> Void) -> some View { AnyShown() }
    public func accessibilityAction(named name: Text, _ action: @escaping () -> Void) -> some View { AnyShown() }
}

// MARK: State

@propertyWrapper
public struct State<Value> {
    public init(wrappedValue: Value) {}
    public init(initialValue: Value) {}
    public var wrappedValue: Value {
        get { undefined() }
        nonmutating set {}
    }
    public var projectedValue: Binding<Value> { undefined() }
}

extension State where Value: ExpressibleByNilLiteral {
    public init() { self.init(wrappedValue: nil) }
}

@propertyWrapper @dynamicMemberLookup
public struct Binding<Value> {
    private init(_ value: Value) {}
    public var wrappedValue: Value {
        get { undefined() }
        nonmutating set {}
    }
    public var projectedValue: Binding<Value> { self }
    public subscript<Subject>(dynamicMember path: WritableKeyPath<Value, Subject>) -> Binding<Subject> { undefined() }
}

@propertyWrapper @dynamicMemberLookup
public struct Bindable<Value: AnyObject & Observable> {
    public init(wrappedValue: Value) { self.wrappedValue = wrappedValue }
    public var wrappedValue: Value
    public var projectedValue: Bindable<Value> { self }
    public subscript<Subject>(dynamicMember path: ReferenceWritableKeyPath<Value, Subject>) -> Binding<Subject> {
        undefined()
    }
}

@propertyWrapper
public struct ScaledMetric<Value: BinaryFloatingPoint> {
    public init(wrappedValue: Value) { self.wrappedValue = wrappedValue }
    public var wrappedValue: Value
}

public enum ScenePhase: Sendable { case background, inactive, active }

public struct DismissAction: Sendable {
    @MainActor public func callAsFunction() {}
}

public struct EnvironmentValues {
    public var scenePhase: ScenePhase { .active }
    public var dismiss: DismissAction { DismissAction() }
    public var displayScale: CGFloat { 1 }
}

@propertyWrapper
public struct Environment<Value> {
    public init(_ path: KeyPath<EnvironmentValues, Value>) {}
    public init(_ type: Value.Type) where Value: AnyObject & Observable {}
    public var wrappedValue: Value { undefined() }
}

// MARK: The app

@MainActor @preconcurrency
public protocol App {
    associatedtype Body: Scene
    @SceneBuilder var body: Body { get }
    init()
}

extension App {
    public static func main() {}
}

@MainActor @preconcurrency
public protocol Scene {}

@resultBuilder
public struct SceneBuilder {
    public static func buildBlock<Content: Scene>(_ content: Content) -> Content { content }
}

public struct WindowGroup: Scene {
    public init<Shown: View>(@ViewBuilder content: () -> Shown) {}
}

public struct BackgroundTask: Sendable {
    public static func appRefresh(_ identifier: String) -> BackgroundTask { BackgroundTask() }
}

extension Scene {
    public func onChange<Value: Equatable>(
        of value: Value, initial: Bool = false, _ action: @escaping (Value, Value) -> Void
    ) -> some Scene { self }
    public func backgroundTask(_ task: BackgroundTask, action: @escaping @Sendable () async -> Void) -> some Scene { self }
}

// MARK: Foundation's places, as Apple's systems have them

extension URL {
    public static var documentsDirectory: URL { URL(fileURLWithPath: "/") }
    public static var cachesDirectory: URL { URL(fileURLWithPath: "/") }
    public static var applicationSupportDirectory: URL { URL(fileURLWithPath: "/") }
}
