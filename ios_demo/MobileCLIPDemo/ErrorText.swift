import Foundation
import MobileCLIPCore
import MobileCLIPKit

/// The package's errors as messages that tell the user what to do.
enum ErrorText {
    static func describe(_ error: any Error) -> String {
        switch error {
        case let error as ManifestError: describe(error)
        case let error as FlatIndexError: describe(error)
        case let error as TokenizerError: describe(error)
        case let error as QueryError: describe(error)
        case let error as TowerError: describe(error)
        case let error as CheckedTowerError: describe(error)
        case is BundleTextEncoderError: String(localized: "The model gave no vector.")
        case is PhotoLibraryError: String(localized: "The photo is no longer in the library.")
        default: error.localizedDescription
        }
    }

    private static func describe(_ error: ManifestError) -> String {
        switch error {
        case .missing: String(localized: "The folder is not a bundle: it has no manifest.")
        case .damaged(let reason): String(localized: "The bundle's manifest is damaged: \(reason)")
        case .otherVersion(let version): String(localized: "The bundle has format version \(version), which this app cannot read.")
        case .partMissing(let part): String(localized: "The bundle lacks its part “\(part.rawValue)”.")
        case .fileMissing(let name): String(localized: "The bundle's file \(name) is missing. Copy the bundle again.")
        case .wrongSize(let name, _, _): String(localized: "The bundle's file \(name) is cut off. Copy the bundle again.")
        case .altered(let name): String(localized: "The bundle's file \(name) was changed. Copy the bundle again.")
        case .unreadable(let name): String(localized: "The bundle's file \(name) cannot be read.")
        case .outsideBundle(let name): String(localized: "The bundle names a file outside itself: \(name)")
        case .otherModel(let part): String(localized: "The bundle's part “\(part.rawValue)” belongs to another model.")
        }
    }

    private static func describe(_ error: FlatIndexError) -> String {
        switch error {
        case .missing, .unreadable: String(localized: "The index cannot be read.")
        case .notAnIndex, .headerDamaged, .damaged: String(localized: "The index is damaged. Rebuild it; your photos are not touched.")
        case .otherVersion(let version): String(localized: "The index has format version \(version), which this app cannot read.")
        case .otherModel: String(localized: "The index belongs to another model.")
        case .busy: String(localized: "The index is being written. Try again in a moment.")
        case .diskFull: String(localized: "The phone's storage is full. Nothing indexed is lost; free some space to go on.")
        case .cannotWrite(let code): String(localized: "The index cannot be written (error \(Int(code))).")
        case .wrongShape(let expected, let found):
            String(localized: "The model gives \(found) numbers for a photo, but the index holds \(expected).")
        case .notUnitLength(let key), .badKey(let key), .repeatedKey(let key), .unknownKey(let key):
            String(localized: "The photo \(key) cannot be put into the index.")
        }
    }

    private static func describe(_ error: TokenizerError) -> String {
        switch error {
        case .unsupportedKind(let kind): String(localized: "The model's tokenizer “\(kind)” is not one that this app has.")
        case .unreadable, .wrongHeader, .badLine, .impossibleMerge, .tooManyPieces:
            String(localized: "The bundle's tokenizer is damaged. Copy the bundle again.")
        }
    }

    private static func describe(_ error: QueryError) -> String {
        switch error {
        case .empty: String(localized: "Say what to look for.")
        case .noDirection: String(localized: "The parts of the query cancel each other.")
        case .differentWidths: String(localized: "The textness vector does not fit the model.")
        }
    }

    private static func describe(_ error: TowerError) -> String {
        switch error {
        case .compilation(let part, let reason): String(localized: "The part “\(part.rawValue)” cannot be compiled: \(reason)")
        case .loading(let part, let reason): String(localized: "The part “\(part.rawValue)” cannot be loaded: \(reason)")
        case .unexpectedInterface(let part, _), .wrongInput(let part):
            String(localized: "The part “\(part.rawValue)” is not a model made by mckit.")
        case .prediction(let reason): String(localized: "The model failed: \(reason)")
        }
    }

    private static func describe(_ error: CheckedTowerError) -> String {
        guard case .noneWorks(let rows) = error, let row = rows.last else { return String(localized: "The model gave no vector.") }
        if let reason = row.reason { return reason }
        return String(localized: "This phone computes wrong results with the model. See Settings, Comparison.")
    }
}
