"""Hard texts for a tokenizer, class by class, from fixed seeds."""

from __future__ import annotations

import html.entities
import random
import unicodedata
from collections.abc import Iterator

HAND_WRITTEN = [
    "",
    " ",
    "a photo of a cat",
    "A Photo  of\ta\nCAT.",
    "a red bicycle leaning against a blue door, 35mm film",
    "don't we've I'll they're 'S 'LL 'Re '\u017f ''s '' ' 'sfoo",
    "&amp;amp; &lt;b&gt; &eacute; &#39; &#x1F600; &#xD800; &#0; &notit; &nbsp;x &amp",
    "&NTILDE; &nTILDE; &SZLIG; &AMP; &ACIRC;x &COPY; &#59; &#x3b; &#38;lt; &;&#;&#x; &fjlig; &NotEqualTilde;",
    "<start_of_text>a dog<end_of_text>",
    "<START_OF_TEXT> <\u017ftart_of_text <|endoftext|> </w> a</w>b !<end_of_text>",
    "<b>&lt;</b>\n&amp; line two &lt; without markup",
    "no markup &lt; here\n<i>markup</i> &amp;\n&amp; and no more",
    "İstanbul I ı ẞ ß ǅ ΑΣ ΣΑΣ Σ ΑΣ. ΑΣ\u0301Β ΟΔΥΣΣΕΥΣ ό.Σ. \u212aelvin \u212bngstr\u00f6m",
    "“curly” ‘single’ „low‟ ﬁne ﬂow oﬃce ŉ Ĳ ǆ ﬅ",
    "ＦＵＬＬ　ｗｉｄｔｈ ﾊﾟﾋﾟ ｶﾞ ﾡ ￦ ￨ Ⅷ ½ ³ ① x² ㎏ ㍿",
    "👩‍👩‍👧 🇩🇪 🏳️‍🌈 ❤️ 1️⃣ 🏴󠁧󠁢󠁷󠁬󠁳󠁿 👍🏽",
    "漢字かな交じり文 한국어 텍스트 ภาษาไทย हिन्दी தமிழ் 𠮷野家",
    "نص عربي مع تشكيل: قِطَّةٌ ١٢٣ עברית שָׁלוֹם ـــ ﻻ",
    "\x00\x01\x1b[31mred\x7f\x85\u2028line\ufeff\u200d\u0301\u2029\ufffc\u206a",
    "\x1b[1;٣1mdigits\x1b[mx \x1b[ 3m \x1b\x1b[0K[",
    "e\u0301 vs \u00e9, Z\u0351\u036b\u0343, \u1e9b\u0323, \u0344, \u2126, \u0958, \ufb2a",
    "\u1100\u1161\u11a8 \uac00\u11a8 \u0f73 \u0f71\u0f72 q\u0307\u0323 q\u0323\u0307",
    "a\x1cb\x1db\x1ec\x1fd\x0be\x0cf\xa0g\u1680h\u2003i\u202fj\u205fk\u3000l\u200bm\u180en",
    "tab\tcr\rcrlf\r\nlf\n\n\rend \x85 next \x91quoted\x92 \x80 \x81",
    "__init__ a_b-c/d #tag @me $9.99 100% !!!??? ^~` {x|y} \\ [z]",
    "12345 3.14 1,000 ½¾ ٣٤ 五 Ⅻ ⅳ 𝟘 ༳ ௧",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
]
MOJIBAKE = [
    "schÃ¶n",
    "â€œquotedâ€\x9d",
    "ï¬\x81ne",
    "voilÃ le travail",
    "l\u2019humanitÃ©",
    "Ð¿Ñ€Ð¸Ð²ÐµÑ‚",
    "æ¼¢å\xad—",
    "âœ” Ã©tÃ©",
]

WORDS = (
    "a the photo of picture of two red blue small wooden cat dog bicycle street sign mountain lake people standing near"
    " old house window Beach SUNSET Kitchen table with coffee cup and flowers skiing snowboarder giraffe zebra's"
    " grazing herd can't train"
).split()

# Class → code point ranges that its texts are drawn from; a space stands among them.
RANGES: dict[str, list[tuple[int, int]]] = {
    "ascii": [(0x20, 0x7F)],
    "latin": [(0x41, 0x5B), (0x61, 0x7B), (0xC0, 0x250), (0x1E00, 0x1F00)],
    "combining": [(0x61, 0x7B), (0x300, 0x370), (0x1DC0, 0x1E00), (0xC0, 0x180)],
    "greek": [(0x370, 0x400), (0x3A3, 0x3A4), (0x3A3, 0x3A4), (0x1F00, 0x2000), (0x2E, 0x2F)],
    "cyrillic": [(0x400, 0x530), (0x2DE0, 0x2E00), (0xA640, 0xA6A0)],
    "armenian and georgian": [(0x531, 0x590), (0x10A0, 0x1100), (0x1C90, 0x1CC0), (0x2D00, 0x2D30)],
    "hebrew": [(0x591, 0x5F5), (0xFB1D, 0xFB50)],
    "arabic": [(0x600, 0x700), (0x750, 0x780), (0xFB50, 0xFE00), (0xFE70, 0xFF00)],
    "indic": [(0x900, 0xE00)],
    "thai, lao, tibetan, burmese": [(0xE00, 0x10A0)],
    "hangul": [(0x1100, 0x1200), (0x3130, 0x3190), (0xAC00, 0xD7A4), (0xD7B0, 0xD800)],
    "kana": [(0x3000, 0x3100), (0x31F0, 0x3200), (0xFF61, 0xFFA0)],
    "han": [(0x4E00, 0x9FFF), (0x3400, 0x4DC0), (0xF900, 0xFB00), (0x20000, 0x2A6D0), (0x2F800, 0x2FA20)],
    "african and american": [(0x1200, 0x1700), (0x2D80, 0x2DE0), (0xA500, 0xA640), (0xAB00, 0xABFF)],
    "emoji": [
        (0x1F300, 0x1FB00),
        (0x2600, 0x27C0),
        (0x200D, 0x200E),
        (0xFE0F, 0xFE10),
        (0x1F3FB, 0x1F400),
        (0x1F1E6, 0x1F200),
    ],
    "symbols": [(0x2000, 0x2C00), (0xA0, 0xC0), (0x3200, 0x3400)],
    "numbers": [
        (0x30, 0x3A),
        (0x660, 0x66A),
        (0xB2, 0xBF),
        (0x2150, 0x2190),
        (0x2460, 0x2500),
        (0x10100, 0x10200),
        (0x1D7CE, 0x1D800),
    ],
    "widths": [(0xFF01, 0xFFF0), (0x3000, 0x3001), (0x41, 0x5B)],
    "controls": [(0x00, 0x20), (0x7F, 0xA1), (0x2000, 0x2070), (0xFE00, 0xFE10), (0xFFF0, 0xFFFE), (0x61, 0x7B)],
    "quotes and dashes": [(0x2010, 0x2040), (0x2B0, 0x300), (0x22, 0x2F), (0x61, 0x7B)],
    "mathematics": [(0x1D400, 0x1D800), (0x2200, 0x2300)],
    "private use": [(0xE000, 0xF900), (0xF0000, 0xF0100), (0x100000, 0x100100), (0x61, 0x7B)],
    "old scripts": [(0x10000, 0x12000), (0x16800, 0x17000), (0x1E000, 0x1F000)],
    "tags and selectors": [(0xE0000, 0xE0200), (0x1F3F4, 0x1F3F5)],
    "any": [(0x00, 0xD800), (0xE000, 0x30000)],
}


def hard_texts() -> Iterator[tuple[str, str]]:
    """Class and text, always the same ones; more than 2,000."""
    for text in HAND_WRITTEN:
        yield "hand-written", text
    for text in MOJIBAKE:
        yield "mojibake", text
    for name, ranges in RANGES.items():
        generator = random.Random(name)
        for _ in range(60):
            yield name, _drawn(generator, ranges)
    yield from _captions(random.Random(1))
    yield from _entities(random.Random(2))
    yield from _case_pairs()
    yield from _decomposed()
    yield from _long(random.Random(3))


def _drawn(generator: random.Random, ranges: list[tuple[int, int]]) -> str:
    letters = []
    while len(letters) < generator.randint(1, 22):
        low, high = generator.choice(ranges)
        letter = chr(generator.randrange(low, high))
        # What a later Unicode assigns depends on who reads it, and half a surrogate pair is no text in Swift.
        if unicodedata.category(letter) not in ("Cn", "Cs"):
            letters.append(" " if generator.random() < 0.12 else letter)
    return "".join(letters)


def _captions(generator: random.Random) -> Iterator[tuple[str, str]]:
    for _ in range(300):
        words = generator.choices(WORDS, k=generator.randint(1, 12))
        style = generator.choice([str.lower, str.upper, str.title, str])
        yield "captions", style(generator.choice([" ", "  ", ", ", "-", "\n"]).join(words)) + generator.choice("..!? ")


def _entities(generator: random.Random) -> Iterator[tuple[str, str]]:
    names = sorted(html.entities.html5)
    for _ in range(300):
        parts = []
        for _ in range(generator.randint(1, 5)):
            name, number = (
                generator.choice(names),
                generator.choice([generator.randrange(300), generator.randrange(0x120000)]),
            )
            scraps = [
                f"&{name}",
                f"&{name.upper()}",
                f"&{name.rstrip(';')}",
                f"&amp;{name}",
                f"&#{number};",
                f"&#x{number:X}",
                f"&{name[:-2]}q;",
                generator.choice(["<br>", " ", "&", ";", "x"]) if generator.random() < 0.3 else " ",
            ]
            parts.append(generator.choice(scraps))
        yield "entities", generator.choice(["", " "]).join(parts)


def _case_pairs() -> Iterator[tuple[str, str]]:
    """Every character that lower-casing changes, 24 to a text."""
    changed = [chr(code) for code in range(0x110000) if chr(code).lower() != chr(code)]
    for start in range(0, len(changed), 24):
        yield "case", "".join(changed[start : start + 24])


def _decomposed() -> Iterator[tuple[str, str]]:
    """Every character outside Hangul that is made of several, taken apart, 24 to a text."""
    letters = [chr(code) for code in range(0x110000) if not 0xAC00 <= code < 0xD7A4]
    apart = [taken for letter in letters if (taken := unicodedata.normalize("NFD", letter)) != letter]
    for start in range(0, len(apart), 24):
        yield "decomposed", " ".join(apart[start : start + 24])


def _long(generator: random.Random) -> Iterator[tuple[str, str]]:
    yield "long", " ".join(generator.choices(WORDS, k=400))
    yield "long", "x" * 3000
    yield "long", "".join(chr(generator.randrange(97, 123)) for _ in range(3000))
    yield "long", "長い" * 300
    yield "long", "!" * 500 + "👩‍👧" * 60
