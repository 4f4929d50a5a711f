import Foundation
import MobileCLIPCore

/// `mckit-bench [--json FILE] [--rows N] [--large-rows N] [--merges FILE]` measures the core on one processor core.
///
/// For the tests, `mckit-bench bundle DIR [QUERIES]` opens a bundle as the app does, `mckit-bench index FILE` writes a small
/// index, and `mckit-bench grow FILE COUNT` adds items to one. `mckit-bench pixels` measures resizing, and
/// `mckit-bench library` following a large photo library.
func run(_ arguments: [String]) async throws {
    switch arguments.first {
    case "bundle" where arguments.count == 2: try printJSON(describeBundle(URL(fileURLWithPath: arguments[1]), BundleQueries()))
    case "bundle" where arguments.count == 3:
        let queries = try JSONDecoder().decode(BundleQueries.self, from: Data(contentsOf: URL(fileURLWithPath: arguments[2])))
        try printJSON(describeBundle(URL(fileURLWithPath: arguments[1]), queries))
    case "grow" where arguments.count == 3:
        try printJSON(growIndex(URL(fileURLWithPath: arguments[1]), by: Int(arguments[2]) ?? 1))
    case "pixels" where arguments.count == 1: try printJSON(measurePixels())
    case "library" where arguments.count == 1: try await printJSON(measureLibrary())
    case "index" where arguments.count == 2: try writeSampleIndex(URL(fileURLWithPath: arguments[1]))
    default: try measure(Options(arguments))
    }
}

struct Options {
    var json: URL?
    var rows = 100_000
    var largeRows = 1_000_000
    var merges: URL?

    init(_ arguments: [String]) throws {
        for place in stride(from: 0, to: arguments.count - 1, by: 2) {
            let value = arguments[place + 1]
            switch arguments[place] {
            case "--json": json = URL(fileURLWithPath: value)
            case "--rows": rows = Int(value) ?? rows
            case "--large-rows": largeRows = Int(value) ?? largeRows
            case "--merges": merges = URL(fileURLWithPath: value)
            default: throw CocoaError(.featureUnsupported, userInfo: [NSLocalizedDescriptionKey: "\(arguments[place])?"])
            }
        }
    }
}

func printJSON(_ value: some Encodable, to file: URL? = nil) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let data = try encoder.encode(value) + Data("\n".utf8)
    FileHandle.standardOutput.write(data)
    if let file { try data.write(to: file) }
}

do {
    try await run(Array(CommandLine.arguments.dropFirst()))
} catch {
    FileHandle.standardError.write(Data("mckit-bench: \(error)\n".utf8))
    exit(1)
}
