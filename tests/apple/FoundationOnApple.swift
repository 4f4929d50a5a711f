import Foundation

// What Foundation and the language's runtime have on Apple's systems alone. Every file imports this without saying so.

public func autoreleasepool<Result, E: Error>(invoking body: () throws(E) -> Result) throws(E) -> Result { try body() }

public struct LocalizedInterpolation: StringInterpolationProtocol {
    public init(literalCapacity: Int, interpolationCount: Int) {}
    public mutating func appendLiteral(_ literal: String) {}
    public mutating func appendInterpolation(_ value: String) {}
    public mutating func appendInterpolation(_ value: Int) {}
}

extension String {
    public struct LocalizationValue: ExpressibleByStringInterpolation, Sendable {
        public typealias StringInterpolation = LocalizedInterpolation
        public init(stringLiteral value: String) {}
        public init(stringInterpolation: LocalizedInterpolation) {}
    }

    public init(localized: LocalizationValue) { self = "" }
    @_disfavoredOverload
    public init(localized: LocalizedStringResource) { self = "" }
}

public struct LocalizedStringResource: ExpressibleByStringLiteral, Equatable, Sendable {
    public var key: String
    public init(stringLiteral value: String) { key = value }
}

extension ProcessInfo {
    public enum ThermalState: Int, Sendable { case nominal, fair, serious, critical }
    public var thermalState: ThermalState { .nominal }
    public var isLowPowerModeEnabled: Bool { false }
}

extension URL {
    public static var documentsDirectory: URL { URL(fileURLWithPath: "/") }
    public static var cachesDirectory: URL { URL(fileURLWithPath: "/") }
    public static var applicationSupportDirectory: URL { URL(fileURLWithPath: "/") }
}

public typealias CFString = NSString
public typealias CFData = NSData
public typealias CFDictionary = NSDictionary
