import Foundation

@testable import MobileCLIPCore

/// A photo library whose images are the keys of its photos.
actor FakeLibrary: PhotoSource {
    private(set) var listed: [LibraryPhoto]
    /// Numbers of calls, and of the images that are requested at the same time.
    private(set) var listings = 0
    private(set) var requested: [String] = []
    private(set) var open = 0
    private(set) var mostOpen = 0
    private(set) var cancelled = 0
    private var inCloud: Set<String> = []
    private var thumbnails: Set<String> = []
    private var broken: Set<String> = []
    private var names: [String: String] = [:]
    private var slow: Set<String> = []
    private var history: [(changed: [LibraryPhoto], removed: [String])] = []
    private let keepsHistory: Bool

    init(_ keys: [String], keepsHistory: Bool = false) {
        listed = keys.map { LibraryPhoto(key: $0, stamp: 1) }
        self.keepsHistory = keepsHistory
    }

    func photos() -> [LibraryPhoto] {
        listings += 1
        return listed
    }

    func changeToken() -> Data? { keepsHistory ? Data("\(history.count)".utf8) : nil }

    func changes(since token: Data) -> LibraryChanges? {
        guard keepsHistory, let start = Int(String(decoding: token, as: UTF8.self)), start <= history.count else { return nil }
        return LibraryChanges(
            token: Data("\(history.count)".utf8), changed: history[start...].flatMap(\.changed),
            removed: history[start...].flatMap(\.removed))
    }

    func fileNames(of keys: [String]) -> [String: String] { names.filter { keys.contains($0.key) } }

    func image(
        of key: String, for input: ImageSpec, allowsDownload: Bool
    ) async -> Result<FetchedImage<String>, FailureLog.Reason> {
        requested.append(key)
        open += 1
        mostOpen = max(mostOpen, open)
        defer { open -= 1 }
        if slow.contains(key) {
            do { try await Task.sleep(for: .seconds(60)) } catch { cancelled += 1 }
        }
        await Task.yield()
        if broken.contains(key) { return .failure(.undecodable) }
        if inCloud.contains(key), !allowsDownload {
            return thumbnails.contains(key) ? .success(FetchedImage(key, isProvisional: true)) : .failure(.notDownloaded)
        }
        return .success(FetchedImage(key))
    }

    func set(_ keys: [String], stamp: Int64 = 1) { listed = keys.map { LibraryPhoto(key: $0, stamp: stamp) } }
    func put(inCloud keys: Set<String>, thumbnails: Set<String> = []) { (inCloud, self.thumbnails) = (keys, thumbnails) }
    func spoil(_ keys: Set<String>) { broken = keys }
    func name(_ names: [String: String]) { self.names = names }
    func stall(_ keys: Set<String>) { slow = keys }
    func forgetRequests() { (requested, listings) = ([], 0) }

    /// Changes some photos as the user would, so that it is also part of the history.
    func edit(_ keys: [String], stamp: Int64, removing removed: Set<String> = []) {
        let changed = keys.map { LibraryPhoto(key: $0, stamp: stamp) }
        let gone = removed.union(keys)
        listed = changed + listed.filter { !gone.contains($0.key) }
        history.append((changed, removed.sorted()))
    }
}
