import Foundation
import MobileCLIPCore

/// Resizes 1,024 × 1,024 pixels to 224 × 224.
func measurePixels() -> Report.Pixels? {
    var state: UInt32 = 1
    let image = PixelImage(width: 1024, height: 1024) { bytes in
        for place in bytes.indices {
            state = state &* 1_664_525 &+ 1_013_904_223
            bytes[place] = UInt8(state >> 24)
        }
        return true
    }
    guard let image else { return nil }
    func time(_ interpolation: ImageSpec.Interpolation) -> Double {
        let spec = ImageSpec(height: 224, width: 224, interpolation: interpolation)
        return median((0..<31).map { _ in milliseconds { _ = image.fitted(to: spec) } })
    }
    return Report.Pixels(from: 1024, to: 224, runs: 31, bicubic_ms: time(.bicubic), bilinear_ms: time(.bilinear))
}

func measure(_ options: Options) throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("mckit-bench-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let report = Report(
        machine: machineName(),
        system: ProcessInfo.processInfo.operatingSystemVersionString,
        date: ISO8601DateFormatter().string(from: Date()),
        load_average: loadAverage(),
        int8: try measureSearch(.int8, options.rows, folder),
        float16: try measureSearch(.float16, options.rows, folder),
        tokenizer: try measureTokenizer(options.merges),
        memory: try measureMemory(folder),
        large: options.largeRows > 0 ? try measureLarge(options.largeRows, folder) : nil)
    try printJSON(report, to: options.json)
}

private let dim = 512
private let modelHash = String(repeating: "0", count: 64)

/// Random unit vectors, reproducible by their seed.
private struct Vectors {
    var state: UInt64

    mutating func next() -> [Float] {
        var vector = [Float](repeating: 0, count: dim)
        for place in 0..<dim {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            vector[place] = Float(Int32(truncatingIfNeeded: state >> 32)) * 0x1p-31
        }
        let norm = vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return vector.map { $0 / norm }
    }
}

private func makeIndex(_ numbers: FlatIndexHeader.Numbers, rows: Int, at url: URL) throws {
    guard let header = FlatIndexHeader(dim: dim, numbers: numbers, modelHash: modelHash) else { return }
    try FlatIndexWriter.create(at: url, header: header)
    var writer = try FlatIndexWriter(opening: url, modelHash: modelHash)
    var vectors = Vectors(state: 1)
    for start in stride(from: 0, to: rows, by: 4096) {
        try writer.append(
            (start..<min(start + 4096, rows)).map { FlatIndexItem(key: "photo-\($0)/L0/001", stamp: 0, vector: vectors.next()) })
    }
}

private func measureSearch(_ numbers: FlatIndexHeader.Numbers, _ rows: Int, _ folder: URL) throws -> Report.Search {
    let url = folder.appendingPathComponent("\(numbers)")
    try makeIndex(numbers, rows: rows, at: url)
    var opening: [Double] = []
    for _ in 0..<9 { opening.append(try milliseconds { _ = try FlatIndex(contentsOf: url, modelHash: modelHash) }) }
    let index = try FlatIndex(contentsOf: url, modelHash: modelHash)
    // The same number of bytes as the matrix, from the same file.
    let matrix = try Data(contentsOf: url, options: .alwaysMapped).prefix(rows * dim * (numbers == .int8 ? 1 : 2))
    var queries = Vectors(state: 99)
    var searching: [Double] = []
    var reading: [Double] = []
    _ = try index.search(queries.next(), limit: 10)
    _ = readOnce(matrix)
    for _ in 0..<41 {
        let query = queries.next()
        var sum: UInt64 = 0
        reading.append(milliseconds { sum = readOnce(matrix) })
        precondition(sum != 1)
        searching.append(try milliseconds { _ = try index.search(query, limit: 10) })
    }
    let ratios = zip(searching, reading).map { $0 / $1 }.sorted()
    return Report.Search(
        rows: rows, dim: dim, search_ms: median(searching), read_once_ms: median(reading),
        ratio_to_reading: median(ratios), ratio_quartiles: [ratios[ratios.count / 4], ratios[ratios.count * 3 / 4]],
        open_ms: median(opening),
        queries_measured: searching.count)
}

/// Adds all 64-bit words, at the speed of memory.
@inline(never)
private func readOnce(_ data: Data) -> UInt64 {
    data.withUnsafeBytes { bytes in
        var sums = SIMD8<UInt64>()
        var offset = 0
        while offset + 64 <= bytes.count {
            sums &+= bytes.loadUnaligned(fromByteOffset: offset, as: SIMD8<UInt64>.self)
            offset &+= 64
        }
        return sums.wrappedSum()
    }
}

private func measureTokenizer(_ given: URL?) throws -> Report.Tokens? {
    struct Golden: Decodable {
        struct Record: Decodable {
            var `class`: String
            var text: String
        }
        var records: [Record]
    }
    let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("tests/golden")
    let merges = given ?? golden.appendingPathComponent("merges.txt")
    guard let data = try? Data(contentsOf: golden.appendingPathComponent("tokens.json")) else { return nil }
    let captions = try JSONDecoder().decode(Golden.self, from: data).records.filter { $0.class == "captions" }.map(\.text)
    let thousand = (0..<1000).map { captions[$0 % captions.count] }
    let tokenizer = try CLIPTokenizer(merges: merges, spec: TextSpec())
    var times: [Double] = []
    for _ in 0..<9 {
        var tokens = 0
        times.append(milliseconds { for caption in thousand { tokens += tokenizer(caption).count } })
        precondition(tokens == 77_000)
    }
    return Report.Tokens(captions: 1000, merges: tokenizer.vocabularySize - 514, total_ms: median(times))
}

private func measureMemory(_ folder: URL) throws -> Report.Memory {
    let url = folder.appendingPathComponent("small")
    try makeIndex(.int8, rows: 1000, at: url)
    let index = try FlatIndex(contentsOf: url)
    var queries = Vectors(state: 5)
    for _ in 0..<200 { _ = try index.search(queries.next(), limit: 10) }
    let before = residentBytes()
    for _ in 0..<10_000 { _ = try index.search(queries.next(), limit: 10) }
    let growth = before.flatMap { before in residentBytes().map { $0 - before } }
    return Report.Memory(searches: 10_000, growth_bytes: growth)
}

private func measureLarge(_ rows: Int, _ folder: URL) throws -> Report.Large {
    let url = folder.appendingPathComponent("large")
    try makeIndex(.int8, rows: rows, at: url)
    let bytes = try FileManager.default.attributesOfItem(atPath: url.path)[.size] as? Int ?? 0
    var opening: [Double] = []
    for _ in 0..<5 { opening.append(try milliseconds { _ = try FlatIndex(contentsOf: url, modelHash: modelHash) }) }
    let before = ownBytes()
    let index = try FlatIndex(contentsOf: url, modelHash: modelHash)
    var queries = Vectors(state: 7)
    var searching: [Double] = []
    for _ in 0..<5 {
        let query = queries.next()
        searching.append(try milliseconds { _ = try index.search(query, limit: 10) })
    }
    let own = before.flatMap { before in ownBytes().map { $0 - before } }
    let opened = threadMilliseconds()
    var writer = try FlatIndexWriter(opening: url, modelHash: modelHash)
    let openForWriting = threadMilliseconds() - opened
    let items = (0..<32).map { FlatIndexItem(key: "new \($0)", stamp: 0, vector: queries.next()) }
    let began = threadMilliseconds()
    try writer.append(items)
    return Report.Large(
        rows: rows, dim: dim, file_bytes: bytes, open_ms: median(opening), search_ms: median(searching),
        open_for_writing_ms: openForWriting, append_ms: threadMilliseconds() - began, own_memory_bytes: own)
}

/// Resident memory of the process without mapped files; nil if the system does not report it.
func ownBytes() -> Int? {
    guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else { return nil }
    let pages = text.split(separator: " ").compactMap { Int($0) }
    return pages.count > 2 ? (pages[1] - pages[2]) * Int(getpagesize()) : nil
}

/// The load averages of the last 1, 5 and 15 minutes; empty if the system does not report them.
private func loadAverage() -> [Double] {
    let text = (try? String(contentsOfFile: "/proc/loadavg", encoding: .utf8)) ?? ""
    return text.split(separator: " ").prefix(3).compactMap { Double($0) }
}

/// Resident memory of the process; nil if the system does not report it.
private func residentBytes() -> Int? {
    guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else { return nil }
    return text.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 * Int(getpagesize()) }
}

private func machineName() -> String {
    let information = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
    let line = information.split(separator: "\n").first { $0.hasPrefix("model name") }
    return line?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown"
}

/// Processor time of this thread, to reduce the influence of other programs.
private func milliseconds(_ body: () throws -> Void) rethrows -> Double {
    let before = threadMilliseconds()
    try body()
    return threadMilliseconds() - before
}

private func threadMilliseconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) * 1e3 + Double(time.tv_nsec) * 1e-6
}

func median(_ values: [Double]) -> Double {
    values.sorted()[values.count / 2]
}
