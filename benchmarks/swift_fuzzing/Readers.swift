// The readers of the Swift package, for libFuzzer: the first byte of an input chooses one. Compiled into one module with
// the package's sources by benchmarks/guided_fuzzing.py.

import Foundation

private let file = FileManager.default.temporaryDirectory.appendingPathComponent("mckit-fuzz-\(getpid())")

/// Opens an index as the app does, and reads everything in it.
private func readIndex(_ data: Data) throws {
    try data.write(to: file)
    let index = try FlatIndex(contentsOf: file)
    var query = [Float](repeating: 0, count: index.header.dim)
    query[0] = 1
    let hits = try index.search(query, limit: 5)
    precondition(hits.count == min(5, index.count))
    for item in try index.items() {
        precondition(!index.isRemoved(item.row))
        precondition(index.vector(ofRow: item.row).count == index.header.dim)
        precondition(index.stamp(ofRow: item.row) == item.stamp)
    }
    _ = try index.row(ofKey: "red.png")
    try? index.verify()
}

/// Makes the checksums of all blocks right, so that mutations come further than to the comparison.
private func resealed(_ data: Data) -> Data {
    var bytes = Array(data)
    func seal(_ start: Int) {
        guard start + 64 <= bytes.count else { return }
        bytes.replaceSubrange(start..<start + 64, with: FlatIndexFormat.sealed(Array(bytes[start..<start + 60])))
    }
    for start in stride(from: 0, to: bytes.count, by: 64)
    where bytes[start...].starts(with: FlatIndexFormat.headerMagic) || bytes[start...].starts(with: FlatIndexFormat.batchMagic) {
        seal(start)
    }
    return Data(bytes)
}

private let spec = TextSpec(contextLength: 16, vocabularySize: 1024, tokenizer: .clipBPE, cleaning: .lower, padID: 0)

private let readers: [@Sendable (Data) throws -> Void] = [
    { try readIndex($0) },
    { try readIndex(resealed($0)) },
    { _ = try Manifest(data: $0) },
    { data in
        guard let file = SafetensorsFile(data) else { return }
        for name in ["texts", "best", "image_covariance"] {
            if let shape = file.shape(of: name) { _ = file.numbers(of: name, shape: shape) }
        }
    },
    { data in
        let tokenizer = try CLIPTokenizer(merges: data, spec: spec)
        precondition(tokenizer("a red star, zwölf Boote 猫").count == spec.contextLength)
    },
    { _ = QueryTerm.parse(String(decoding: $0, as: UTF8.self)) },
]

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count > 0 else { return 0 }
    let data = Data(bytes: start + 1, count: count - 1)
    try? readers[Int(start[0]) % readers.count](data)
    return 0
}
