// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "MobileCLIPKit",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [
        .library(name: "MobileCLIPCore", targets: ["MobileCLIPCore"]),
        .library(name: "MobileCLIPKit", targets: ["MobileCLIPKit"]),
    ],
    targets: [
        // Foundation only: builds and is tested on Linux.
        .target(name: "MobileCLIPCore"),
        // Adds Core ML; empty on systems without it.
        .target(name: "MobileCLIPKit", dependencies: ["MobileCLIPCore"]),
        .executableTarget(name: "mckit-bench", dependencies: ["MobileCLIPCore"]),
        .testTarget(name: "MobileCLIPCoreTests", dependencies: ["MobileCLIPCore"]),
        .testTarget(name: "MobileCLIPKitTests", dependencies: ["MobileCLIPKit"]),
    ],
    swiftLanguageModes: [.v6]
)
