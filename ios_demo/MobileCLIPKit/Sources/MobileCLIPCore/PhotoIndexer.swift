import Foundation

/// Updates the index of a bundle from the photo library, a few photos at a time.
///
/// Each batch is on disk before it counts. An app that is killed therefore continues where it was: the photos to index are
/// those that the index lacks.
public actor PhotoIndexer<Source: PhotoSource, Encoder: ImageEncoding> where Source.Image == Encoder.Image {
    public typealias Report = @Sendable (IndexingProgress) async -> Void

    private let files: LibraryIndex
    private let source: Source
    private let encoder: Encoder
    private let imageSide: Int
    private let readyIndex: URL?
    private let conditions: @Sendable () async -> IndexingConditions
    private let sleep: @Sendable (Duration) async throws -> Void
    private var isPaused = false
    private var needsRescan = false

    /// - Parameters:
    ///   - files: The index.
    ///   - source: The photos.
    ///   - encoder: Computes the vectors.
    ///   - imageSide: Wanted pixels on an image's shorter side, see `ModelBundle.imageSide`.
    ///   - readyIndex: The bundle's ready-made index; an empty index copies the vectors of photos with equal names from it.
    ///   - conditions: Called before each batch.
    ///   - sleep: Waits; tests replace it.
    public init(
        files: LibraryIndex, source: Source, encoder: Encoder, imageSide: Int, readyIndex: URL? = nil,
        conditions: @escaping @Sendable () async -> IndexingConditions,
        sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
    ) {
        self.files = files
        self.source = source
        self.encoder = encoder
        self.imageSide = imageSide
        self.readyIndex = readyIndex
        self.conditions = conditions
        self.sleep = sleep
    }

    public func pause() { isPaused = true }
    public func resume() { isPaused = false }
    /// Compares the library with the index once more after this pass.
    public func rescan() { needsRescan = true }

    /// Indexes new photos, removes deleted ones and reports progress. Ends when nothing is left to do or its task is
    /// cancelled.
    public func run(report: Report) async throws {
        repeat {
            needsRescan = false
            try await runOnce(report)
        } while needsRescan && !Task.isCancelled
    }

    private func runOnce(_ report: Report) async throws {
        try files.compactIfWorthwhile()
        var failures = FailureLog(contentsOf: files.failuresURL)
        if await conditions().allowsDownload { failures.retry(.notDownloaded) }
        let photos = await source.photos()
        var writer = try files.openWriter()
        try await copyReadyVectors(photos, &writer)
        let plan = try LibraryPlan(library: photos, index: files.open(), failures: failures)
        try writer.remove(plan.toRemove)
        failures.forgetAll(but: photos)
        var left = plan.toIndex[...]
        var progress = IndexingProgress(
            state: .working, indexed: try files.open().count, remaining: left.count, failures: failures.counts, photosPerSecond: 0)
        await report(progress)
        while !left.isEmpty, !Task.isCancelled {
            let now = await conditions()
            guard let count = try await photosToTake(now, &progress, report) else { continue }
            let started = ContinuousClock.now
            let batch = Array(left.prefix(count))
            let replaced = batch.count { writer.row(ofKey: $0.key) != nil }
            let items = try await encode(batch, now, &failures)
            try writer.append(items)
            try failures.write(to: files.failuresURL)
            left = left.dropFirst(batch.count)
            progress.indexed += items.count - replaced
            progress.remaining = left.count
            progress.failures = failures.counts
            progress.photosPerSecond = Double(batch.count) * 1e3 / max(1, (ContinuousClock.now - started).milliseconds)
            progress.state = .working
            await report(progress)
        }
        progress.state = left.isEmpty ? .done : .paused
        await report(progress)
    }

    /// Number of photos in the next batch; nil after a wait, when the conditions must be checked again.
    private func photosToTake(
        _ now: IndexingConditions, _ progress: inout IndexingProgress, _ report: Report
    ) async throws -> Int? {
        if isPaused {
            progress.state = .paused
            await report(progress)
            try await sleep(.milliseconds(300))
            return nil
        }
        switch IndexingPace(thermalState: now.thermalState, isLowPower: now.isLowPower, isInForeground: now.isInForeground) {
        case .wait(let seconds):
            progress.state = .waitingForCooling
            await report(progress)
            try await sleep(.seconds(seconds))
            return nil
        case .work(let photos, let rest):
            if rest > 0 { try await sleep(.milliseconds(rest)) }
            return photos
        }
    }

    private func encode(
        _ photos: [LibraryPhoto], _ now: IndexingConditions, _ failures: inout FailureLog
    ) async throws -> [FlatIndexItem] {
        var images: [(photo: LibraryPhoto, image: Source.Image)] = []
        for photo in photos {
            switch await source.image(of: photo.key, side: imageSide, allowsDownload: now.allowsDownload) {
            case .success(let image): images.append((photo, image))
            case .failure(let reason): failures.record(photo, reason)
            }
        }
        let vectors = try await vectors(of: images.map(\.image))
        return zip(images, vectors).compactMap { entry, vector in
            guard let vector, vector.count == files.header.dim, FlatIndexFormat.isUnit(vector) else {
                failures.record(entry.photo, .notEncoded)
                return nil
            }
            failures.forget([entry.photo.key])
            return FlatIndexItem(key: entry.photo.key, stamp: entry.photo.stamp, vector: vector)
        }
    }

    /// If a batch fails, its images are tried one by one, so that one bad image does not exclude the others.
    private func vectors(of images: [Source.Image]) async throws -> [[Float]?] {
        guard !images.isEmpty else { return [] }
        do {
            return try await encoder.vectors(of: images)
        } catch {
            var vectors: [[Float]?] = []
            for image in images { vectors.append(try? await encoder.vectors(of: [image]).first ?? nil) }
            // If all fail, the problem is the model and not the photos.
            if vectors.allSatisfy({ $0 == nil }) { throw error }
            return vectors
        }
    }

    private func copyReadyVectors(_ photos: [LibraryPhoto], _ writer: inout FlatIndexWriter) async throws {
        guard let readyIndex, writer.rows == 0, !photos.isEmpty else { return }
        let ready = try FlatIndex(contentsOf: readyIndex, modelHash: files.header.modelHash)
        guard ready.count > 0 else { return }
        let names = await source.fileNames(of: photos.map(\.key))
        try writer.append(ready.items(for: photos, named: names))
    }
}

extension Duration {
    /// Used for reports.
    public var milliseconds: Double {
        Double(components.seconds) * 1e3 + Double(components.attoseconds) * 1e-15
    }
}
