import Foundation

/// Updates the index of a bundle from the photo library, a few photos at a time.
///
/// Each batch is on disk before it counts. An app that is killed therefore continues where it was: the photos to index are
/// those that the index lacks. While the model works on a batch, the images of the next one are fetched.
public actor PhotoIndexer<Source: PhotoSource, Encoder: ImageEncoding> where Source.Image == Encoder.Image {
    /// Told of progress.
    public typealias Report = @Sendable (IndexingProgress) async -> Void

    /// Number of photos after which the log of failures is written, and of names that are looked up at a time.
    private static var chunk: Int { 1000 }

    private let files: LibraryIndex
    private let source: Source
    private let encoder: Encoder
    private let input: ImageSpec
    private let readyIndex: URL?
    private let conditions: @Sendable () async -> IndexingConditions
    private let sleep: @Sendable (Duration) async throws -> Void

    /// - Parameters:
    ///   - files: The index.
    ///   - source: The photos.
    ///   - encoder: Computes the vectors.
    ///   - input: The model's input.
    ///   - readyIndex: The bundle's ready-made index; an empty index copies the vectors of photos with equal names from it.
    ///   - conditions: Called before each batch.
    ///   - sleep: Waits; tests replace it.
    public init(
        files: LibraryIndex, source: Source, encoder: Encoder, input: ImageSpec, readyIndex: URL? = nil,
        conditions: @escaping @Sendable () async -> IndexingConditions,
        sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
    ) {
        self.files = files
        self.source = source
        self.encoder = encoder
        self.input = input
        self.readyIndex = readyIndex
        self.conditions = conditions
        self.sleep = sleep
    }

    /// Indexes new photos, removes deleted ones and reports progress. Ends when nothing is left to do, indexing is paused,
    /// the app must wait in the background, or its task is cancelled. The model is then released.
    public func run(report: Report) async throws {
        do {
            try await runOnce(report)
        } catch {
            await encoder.unload()
            throw error
        }
        await encoder.unload()
    }

    // MARK: One pass

    private func runOnce(_ report: Report) async throws {
        try files.compactIfWorthwhile()
        var progress = IndexingProgress(state: .preparing, indexed: try files.open().count)
        await report(progress)
        var failures = FailureLog(contentsOf: files.failuresURL)
        var writer = try files.openWriter()
        // Taken before the photos are listed: what changes in between is seen again.
        let token = await source.changeToken()
        let plan = try await makePlan(&writer, &failures, &progress)
        try writer.remove(plan.toRemove)
        failures.forget(plan.toRemove)
        let index = try files.open()
        progress.indexed = index.count
        progress.provisional = try index.provisionalPhotos().count
        progress.remaining = plan.toIndex.count
        progress.failures = failures.counts
        progress.state = .working
        await report(progress)
        defer { try? failures.write(to: files.failuresURL) }
        try await work(on: plan.toIndex, &writer, &failures, &progress, report)
        if progress.state == .done, let token {
            try LibraryState(token: token, items: progress.indexed).write(to: files.stateURL)
        }
        await report(progress)
    }

    private func makePlan(
        _ writer: inout FlatIndexWriter, _ failures: inout FailureLog, _ progress: inout IndexingProgress
    ) async throws -> LibraryPlan {
        let allowsDownload = await conditions().allowsDownload
        var retried = allowsDownload ? failures.retry(.notDownloaded) : []
        let index = try files.open()
        if let state = LibraryState(contentsOf: files.stateURL), state.items == index.count,
            let changes = await source.changes(since: state.token)
        {
            // The log no longer has them: after an interruption, only a comparison of the whole library finds them.
            if !retried.isEmpty { try FileManager.default.removeItem(at: files.stateURL) }
            if allowsDownload { retried += try index.provisionalPhotos() }
            return LibraryPlan(changes: changes, retried: retried, failures: failures) { key in
                writer.row(ofKey: key).map(index.stamp(ofRow:))
            }
        }
        let photos = await source.photos()
        try await copyReadyVectors(photos, &writer, &progress)
        failures.forgetAll(but: photos)
        return try LibraryPlan(library: photos, index: files.open(), failures: failures, renewsProvisional: allowsDownload)
    }

    /// Indexes photos batch by batch; the progress then says whether all are done.
    private func work(
        on photos: [LibraryPhoto], _ writer: inout FlatIndexWriter, _ failures: inout FailureLog,
        _ progress: inout IndexingProgress, _ report: Report
    ) async throws {
        var left = photos[...]
        var fetched: Batch?
        var logged = photos.count
        while !left.isEmpty {
            let now = await conditions()
            guard !now.isPaused, !Task.isCancelled else {
                progress.state = .paused
                return
            }
            let (count, wait) = Self.pace(now)
            if count == 0 {
                progress.state = .waitingForCooling
                await report(progress)
                // Background time is for work.
                guard now.isInForeground else { return }
            }
            if wait > .zero {
                do { try await sleep(wait) } catch { continue }
            }
            if count == 0 { continue }
            let started = ContinuousClock.now
            let batch: Batch
            if let fetched { batch = fetched } else { batch = await fetch(left.prefix(count), now) }
            // A cancelled request looks like a photo without an image.
            if Task.isCancelled { continue }
            left = left.dropFirst(batch.photos.count)
            async let following = fetch(left.prefix(count), now)
            try await add(batch, &writer, &failures, &progress)
            fetched = await following
            if fetched?.photos.isEmpty == true || Task.isCancelled { fetched = nil }
            progress.remaining = left.count
            progress.failures = failures.counts
            let seconds = max(1, (ContinuousClock.now - started).milliseconds) * 1e-3
            progress.photosPerSecond = Double(batch.photos.count) / seconds
            progress.state = .working
            if logged - left.count >= Self.chunk {
                logged = left.count
                try failures.write(to: files.failuresURL)
            }
            await report(progress)
        }
        progress.state = .done
    }

    /// Number of photos in the next batch, 0 if there must be none, and how long to wait first.
    private static func pace(_ now: IndexingConditions) -> (photos: Int, wait: Duration) {
        switch IndexingPace(thermalState: now.thermalState, isLowPower: now.isLowPower, isInForeground: now.isInForeground) {
        case .wait(let seconds): (0, .seconds(seconds))
        case .work(let photos, let rest): (photos, .milliseconds(rest))
        }
    }

    // MARK: One batch

    private typealias Batch = PhotoBatch<Source.Image>

    private nonisolated func fetch(_ photos: ArraySlice<LibraryPhoto>, _ now: IndexingConditions) async -> Batch {
        await Batch(photos, from: source, for: input, allowsDownload: now.allowsDownload)
    }

    private func add(
        _ batch: Batch, _ writer: inout FlatIndexWriter, _ failures: inout FailureLog, _ progress: inout IndexingProgress
    ) async throws {
        var fetched: [(photo: LibraryPhoto, image: FetchedImage<Source.Image>)] = []
        for (photo, image) in zip(batch.photos, batch.images) {
            switch image {
            case .success(let image): fetched.append((photo, image))
            case .failure(let reason): failures.record(photo, reason)
            }
        }
        var items: [FlatIndexItem] = []
        for (entry, vector) in zip(fetched, try await vectors(of: fetched.map(\.image.image))) {
            guard let vector, vector.count == files.header.dim, FlatIndexFormat.isUnit(vector) else {
                failures.record(entry.photo, .notEncoded)
                continue
            }
            failures.forget([entry.photo.key])
            let stamp = entry.image.isProvisional ? entry.photo.provisionalStamp : entry.photo.stamp
            items.append(FlatIndexItem(key: entry.photo.key, stamp: stamp, vector: vector))
        }
        let replaced = items.compactMap { writer.row(ofKey: $0.key) }
        if !replaced.isEmpty {
            let index = try files.open()
            // Somebody has removed or replaced the file under this pass.
            guard index.rows == writer.rows else { throw FlatIndexError.missing(path: files.indexURL.path) }
            progress.provisional -= replaced.count { index.stamp(ofRow: $0) < 0 }
        }
        try writer.append(items)
        progress.indexed += items.count - replaced.count
        progress.provisional += items.count { $0.stamp < 0 }
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

    /// A ready-made index that cannot be used costs only the time that it would have saved.
    private func copyReadyVectors(
        _ photos: [LibraryPhoto], _ writer: inout FlatIndexWriter, _ progress: inout IndexingProgress
    ) async throws {
        guard let readyIndex, writer.rows == 0, !photos.isEmpty else { return }
        let ready: FlatIndex
        do {
            ready = try FlatIndex(contentsOf: readyIndex, modelHash: files.header.modelHash)
            try ready.verify()
        } catch {
            progress.readyIndexProblem = error
            return
        }
        guard ready.count > 0 else { return }
        var names: [String: String] = [:]
        for start in stride(from: 0, to: photos.count, by: Self.chunk) {
            try Task.checkCancellation()
            let keys = photos[start..<min(start + Self.chunk, photos.count)].map(\.key)
            names.merge(await source.fileNames(of: keys)) { $1 }
        }
        try writer.append(ready.items(for: photos, named: names))
    }
}

extension Duration {
    /// Used for reports.
    public var milliseconds: Double {
        Double(components.seconds) * 1e3 + Double(components.attoseconds) * 1e-15
    }
}
