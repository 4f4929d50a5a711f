"""Write ``TextTables.swift``: what Python's libraries know of characters, so that Swift knows the same on every system.

Run it when Python's tables change: ``python ios_demo/MobileCLIPKit/make_tables.py``. A test compares.
"""

from __future__ import annotations

import html
import html.entities
import unicodedata
from pathlib import Path

TARGET = Path(__file__).parent / "Sources" / "MobileCLIPCore" / "TextTables.swift"
HEAD = """import Foundation

// Written by make_tables.py from Python's html and unicodedata modules; do not edit.

/// Facts about characters, as text that is read when it is first needed: so large literals would take minutes to compile.
enum TextTables {
    /// The named character references of HTML 5 (https://html.spec.whatwg.org/multipage/named-characters.html), each name with
    /// its semicolon if it needs one.
    static let entities: [String: String] = Dictionary(uniqueKeysWithValues: rows(of: entityTable).map { (String($0), string($1)) })

    /// Names in capitals that mean the capital of the lower-case name's character, where HTML itself does not know them.
    static let upperCaseEntities: [String: String] = Dictionary(
        uniqueKeysWithValues: rows(of: upperCaseTable).map { (String($0), string($1)) })

    /// Numbers that stand for another character than Unicode's (HTML 5, "numeric character reference end state").
    static let replacedNumbers: [UInt32: Unicode.Scalar] = pairs(of: replacedTable).compactMapValues(\\.first)

    /// What a half-width or full-width form is in the standard width.
    static let widths: [UInt32: [Unicode.Scalar]] = pairs(of: widthTable)

    /// What a character is canonically made of, one step.
    static let decompositions: [UInt32: [Unicode.Scalar]] = pairs(of: compositionTable)
        .merging(pairs(of: decompositionTable)) { first, _ in first }

    /// What two characters compose to; the key holds the first one in its upper half.
    static let compositions: [UInt64: Unicode.Scalar] = {
        var compositions: [UInt64: Unicode.Scalar] = [:]
        for (whole, parts) in pairs(of: compositionTable) where parts.count == 2 {
            compositions[UInt64(parts[0].value) << 32 | UInt64(parts[1].value)] = Unicode.Scalar(whole)
        }
        return compositions
    }()

    private static func pairs(of table: String) -> [UInt32: [Unicode.Scalar]] {
        var pairs: [UInt32: [Unicode.Scalar]] = [:]
        for (name, scalars) in rows(of: table) {
            if let number = UInt32(name, radix: 16) { pairs[number] = scalars }
        }
        return pairs
    }

    /// Lines of a name, a space, and the numbers of characters in hex with a plus sign between.
    private static func rows(of table: String) -> [(Substring, [Unicode.Scalar])] {
        table.split(separator: "\\n").compactMap { line in
            let parts = line.split(separator: " ")
            guard parts.count == 2 else { return nil }
            return (parts[0], parts[1].split(separator: "+").compactMap { UInt32($0, radix: 16) }.compactMap(Unicode.Scalar.init))
        }
    }
"""


def swift_source() -> str:
    """The whole file."""
    numbers = [0x00, 0x0D, *range(0x80, 0xA0)]
    replaced = {f"{number:x}": html.unescape(f"&#{number};") for number in numbers}
    widths = {f"{code:x}": unicodedata.normalize("NFKC", chr(code)) for code in [0x3000, *range(0xFF01, 0xFFF0)]}
    made = {chr(code): unicodedata.decomposition(chr(code)) for code in range(0x110000)}
    canonical = {
        letter: "".join(chr(int(part, 16)) for part in parts.split())
        for letter, parts in made.items()
        if parts and not parts.startswith("<")
    }
    composing = {letter for letter in canonical if unicodedata.normalize("NFC", letter) == letter}
    tables = {
        "entityTable": dict(html.entities.html5),
        "upperCaseTable": _upper_case_entities(),
        "replacedTable": replaced,
        "widthTable": {name: text for name, text in widths.items() if text != chr(int(name, 16))},
        "compositionTable": {f"{ord(letter):x}": canonical[letter] for letter in canonical if letter in composing},
        "decompositionTable": {f"{ord(letter):x}": canonical[letter] for letter in canonical if letter not in composing},
    }
    return HEAD + "".join(_literal(name, table) for name, table in tables.items()) + "}\n"


def _upper_case_entities() -> dict[str, str]:
    return {
        name.upper(): value.upper()
        for name, value in html.entities.html5.items()
        if name.endswith(";") and name == name.lower() and html.unescape("&" + name.upper()) == "&" + name.upper()
    }


def _literal(name: str, table: dict[str, str]) -> str:
    rows = [f"        {key} {'+'.join(f'{ord(letter):x}' for letter in text)}\n" for key, text in sorted(table.items())]
    return f'\n    private static let {name} = """\n' + "".join(rows) + '        """\n'


if __name__ == "__main__":
    TARGET.write_text(swift_source(), encoding="utf-8")
