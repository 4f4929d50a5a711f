import Foundation
import Testing

@testable import MobileCLIPCore

private struct Crops: Decodable {
    struct Crop: Decodable {
        var size: [Int]
        var mode: ImageSpec.ResizeMode
        var target: [Int]
        var resized: [Int]
        var crop: [Int]
        var pad: [Int]
    }

    var crops: [Crop]
}

@Suite struct GeometryTests {
    @Test func rectanglesEqualThoseOfPythonsImagePath() throws {
        let crops = try Golden.read("crops.json", as: Crops.self).crops
        #expect(Set(crops.map(\.size)).count >= 195)
        for crop in crops {
            let spec = ImageSpec(height: crop.target[0], width: crop.target[1], resizeMode: crop.mode)
            let plan = try #require(ResizePlan(width: crop.size[0], height: crop.size[1], spec: spec))
            #expect([plan.resizedWidth, plan.resizedHeight] == crop.resized, "\(crop)")
            #expect([plan.cropX, plan.cropY, plan.cropWidth, plan.cropHeight] == crop.crop, "\(crop)")
            #expect([plan.padX, plan.padY] == crop.pad, "\(crop)")
        }
    }

    @Test func anImageWithoutPixelsHasNoPlan() {
        #expect(ResizePlan(width: 0, height: 5, spec: ImageSpec(height: 224, width: 224)) == nil)
    }
}
