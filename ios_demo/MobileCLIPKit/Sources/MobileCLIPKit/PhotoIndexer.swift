#if canImport(CoreML) && canImport(Photos)
    import CoreGraphics
    import Foundation
    import MobileCLIPCore

    /// Brings a bundle's index up to date with the photo library, a few photos at a time.
    ///
    /// Every batch is on the disk when it counts, so an app that is killed goes on where it was: what the index lacks is what is
    /// left to do.
    public actor PhotoIndexer {
        /// How far it is.
        public struct Progress: Equatable, Sendable {
            public enum State: Equatable, Sendable { case working, paused, waitingForCooling, done }

            public var state: State
            public var indexed: Int
            public var remaining: Int
            public var failures: [FailureLog.Reason: Int]
            public var photosPerSecond: Double
        }

        /// What the phone says of itself at the moment.
        public struct Conditions: Sendable {
            public var heat: IndexingPace.Heat
            public var isLowPower: Bool
            public var isInForeground: Bool
            public var allowsDownload: Bool

            public init(heat: IndexingPace.Heat, isLowPower: Bool, isInForeground: Bool, allowsDownload: Bool) {
                self.heat = heat
                self.isLowPower = isLowPower
                self.isInForeground = isInForeground
                self.allowsDownload = allowsDownload
            }
        }

        private let files: LibraryIndex
        private let encoder: ImageEncoder
        private let library: PhotoLibrary
        private let conditions: @Sendable () async -> Conditions
        /// Twice what the model sees leaves the resize something to average.
        private let pictureSide: Int
        private var isPaused = false
        private var mustLookAgain = false

        public init(
            files: LibraryIndex, bundle: ModelBundle, encoder: ImageEncoder, library: PhotoLibrary,
            conditions: @escaping @Sendable () async -> Conditions
        ) {
            self.files = files
            self.encoder = encoder
            self.library = library
            self.conditions = conditions
            pictureSide = 2 * max(bundle.model.image?.width ?? 224, bundle.model.image?.height ?? 224)
        }

        public func pause() { isPaused = true }
        public func resume() { isPaused = false }
        /// After this pass, the library is compared with the index once more.
        public func lookAgain() { mustLookAgain = true }

        /// Indexes what is new, removes what is gone, and tells how far it is. Ends when there is nothing left or when its task is
        /// cancelled.
        public func run(report: @escaping @Sendable (Progress) async -> Void) async throws {
            repeat {
                mustLookAgain = false
                try await runOnce(report)
            } while mustLookAgain && !Task.isCancelled
        }

        private func runOnce(_ report: @Sendable (Progress) async -> Void) async throws {
            try files.compactIfWorthwhile()
            var failures = FailureLog(contentsOf: files.failuresURL)
            if await conditions().allowsDownload { failures.retry(.notDownloaded) }
            var writer = try files.openWriter()
            let plan = try LibraryPlan(library: library.photos(), index: files.open(), failures: failures)
            try writer.remove(plan.toRemove)
            failures.forget(plan.toRemove)
            var left = plan.toIndex[...]
            var progress = Progress(
                state: .working, indexed: try files.open().count, remaining: left.count, failures: failures.counts, photosPerSecond: 0)
            while !left.isEmpty, !Task.isCancelled {
                let now = await conditions()
                guard let count = try await photosToTake(now, &progress, report) else { continue }
                let started = ContinuousClock.now
                let batch = Array(left.prefix(count))
                let items = try await encode(batch, now, &failures)
                try writer.append(items)
                try failures.write(to: files.failuresURL)
                left = left.dropFirst(batch.count)
                progress.indexed += items.count
                progress.remaining = left.count
                progress.failures = failures.counts
                progress.photosPerSecond = Double(batch.count) * 1e3 / max(1, (ContinuousClock.now - started).milliseconds)
                progress.state = .working
                await report(progress)
            }
            progress.state = left.isEmpty ? .done : .paused
            await report(progress)
        }

        /// How many photos come next; nil after a wait, when it is time to look again.
        private func photosToTake(
            _ now: Conditions, _ progress: inout Progress, _ report: @Sendable (Progress) async -> Void
        ) async throws -> Int? {
            if isPaused {
                progress.state = .paused
                await report(progress)
                try await Task.sleep(for: .milliseconds(300))
                return nil
            }
            switch IndexingPace(heat: now.heat, isLowPower: now.isLowPower, isInForeground: now.isInForeground) {
            case .wait(let seconds):
                progress.state = .waitingForCooling
                await report(progress)
                try await Task.sleep(for: .seconds(seconds))
                return nil
            case .work(let photos, let rest):
                if rest > 0 { try await Task.sleep(for: .milliseconds(rest)) }
                return photos
            }
        }

        private func encode(
            _ photos: [LibraryPhoto], _ now: Conditions, _ failures: inout FailureLog
        ) async throws -> [FlatIndexItem] {
            var pictures: [(photo: LibraryPhoto, image: CGImage)] = []
            for photo in photos {
                switch await library.picture(of: photo.key, side: pictureSide, allowsDownload: now.allowsDownload) {
                case .image(let image): pictures.append((photo, image))
                case .failed(let reason): failures.record(photo, reason)
                }
            }
            guard !pictures.isEmpty else { return [] }
            let results = try await encoder.encode(pictures.map(\.image))
            return zip(pictures, results).compactMap { picture, result in
                guard let vector = try? result.get() else {
                    failures.record(picture.photo, .notEncoded)
                    return nil
                }
                failures.forget([picture.photo.key])
                return FlatIndexItem(key: picture.photo.key, stamp: picture.photo.stamp, vector: vector)
            }
        }
    }
#endif
