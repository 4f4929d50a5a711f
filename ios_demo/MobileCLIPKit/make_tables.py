"""Write ``Generated/``: tables of Python's libraries and of mckit, so that Swift knows the same on every system.

``TextTables.swift`` holds facts about characters that cannot be computed, ``ScorerWeights.swift`` the network of
``mobileclip_kit/confidence/scorer.json``. Run it when one of them changes: ``python ios_demo/MobileCLIPKit/make_tables.py``.
A test compares.
"""

from __future__ import annotations

import html.entities
import json
import textwrap
import unicodedata
from pathlib import Path

GENERATED = Path(__file__).parent / "Sources" / "MobileCLIPCore" / "Generated"
SCORER = Path(__file__).parent.parent.parent / "mobileclip_kit" / "confidence" / "scorer.json"
HEAD = """import Foundation

// Written by make_tables.py from Python's html and unicodedata modules; do not edit.

/// Facts about characters, as text that is read when it is first needed: so large literals would take minutes to compile.
enum TextTables {
    /// The named character references of HTML 5 (https://html.spec.whatwg.org/multipage/named-characters.html), each name with
    /// its semicolon if it needs one.
    static let entities: [String: String] = {
        var entities: [String: String] = [:]
        for (name, scalars) in rows(of: entityTable) { entities[name + ";"] = string(scalars) }
        for name in namesWithoutSemicolon.split(whereSeparator: \\.isWhitespace) { entities[String(name)] = entities[name + ";"] }
        return entities
    }()

    /// What a half-width or full-width form is in the standard width, where that is more than a distance.
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

    /// Words of a name, an equals sign, and the numbers of characters in hex with a plus sign between.
    private static func rows(of table: String) -> [(Substring, [Unicode.Scalar])] {
        table.split(whereSeparator: \\.isWhitespace).compactMap { row in
            let parts = row.split(separator: "=")
            guard parts.count == 2 else { return nil }
            return (parts[0], parts[1].split(separator: "+").compactMap { UInt32($0, radix: 16) }.compactMap(Unicode.Scalar.init))
        }
    }
"""


def text_tables() -> str:
    """The whole of ``TextTables.swift``."""
    # The full-width forms of ASCII lie at a fixed distance from it.
    widths = {f"{code:x}": unicodedata.normalize("NFKC", chr(code)) for code in [0x3000, *range(0xFF5F, 0xFFF0)]}
    made = {chr(code): unicodedata.decomposition(chr(code)) for code in range(0x110000)}
    canonical = {
        letter: "".join(chr(int(part, 16)) for part in parts.split())
        for letter, parts in made.items()
        if parts and not parts.startswith("<")
    }
    composing = {letter for letter in canonical if unicodedata.normalize("NFC", letter) == letter}
    names = html.entities.html5
    tables = {
        "entityTable": {name.removesuffix(";"): value for name, value in names.items() if name.endswith(";")},
        "widthTable": {name: text for name, text in widths.items() if text != chr(int(name, 16))},
        "compositionTable": {f"{ord(letter):x}": canonical[letter] for letter in canonical if letter in composing},
        "decompositionTable": {f"{ord(letter):x}": canonical[letter] for letter in canonical if letter not in composing},
    }
    rows = {
        "namesWithoutSemicolon": sorted(name for name in names if not name.endswith(";")),
        **{name: [_row(*entry) for entry in sorted(table.items())] for name, table in tables.items()},
    }
    return HEAD + "".join(_literal(name, words) for name, words in rows.items()) + "}\n"


def scorer_weights() -> str:
    """The whole of ``ScorerWeights.swift``."""
    weights = json.loads(SCORER.read_text())
    lines = ["// Written by make_tables.py from mobileclip_kit/confidence/scorer.json; do not edit.\n"]
    lines += ["/// One hidden layer of tanh over the standardised features of `ConfidenceScorer`.", "enum ScorerWeights {"]
    for name, words in SCORER_NAMES.items():
        value, kind = weights[name], "Double"
        while isinstance(value, list):
            value, kind = value[0], f"[{kind}]"
        lines += [f"    /// {words}", f"    static let {_camel(name)}: {kind} = {json.dumps(weights[name])}"]
    return "\n".join(lines) + "\n}\n"


SCORER_NAMES = {
    "mean": "Of each feature.",
    "scale": "Its standard deviation.",
    "hidden": "A row for each hidden unit.",
    "hidden_bias": "Of each hidden unit.",
    "output": "Weights of the hidden units.",
    "output_bias": "Of the logit.",
    "line": "The confidence below which hits are uncertain.",
}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _row(key: str, text: str) -> str:
    return f"{key}={'+'.join(f'{ord(letter):x}' for letter in text)}"


def _literal(name: str, words: list[str]) -> str:
    body = textwrap.fill(" ".join(words), 128, initial_indent=" " * 8, subsequent_indent=" " * 8, break_long_words=False,
                         break_on_hyphens=False)  # fmt: skip
    return f'\n    private static let {name} = """\n{body}\n        """\n'


def sources() -> dict[str, str]:
    """The files of ``Generated/`` by name."""
    return {"TextTables.swift": text_tables(), "ScorerWeights.swift": scorer_weights()}


if __name__ == "__main__":
    for name, source in sources().items():
        (GENERATED / name).write_text(source, encoding="utf-8")
