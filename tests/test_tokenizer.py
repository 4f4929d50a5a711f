"""Identifiers against open_clip's own tokenizer, and what trimming keeps."""

import gzip
import random
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from open_clip.tokenizer import SimpleTokenizer

from mobileclip_kit import tokenizer as tokenizer_module
from mobileclip_kit.errors import DataError, MissingExtraError, ModelError
from mobileclip_kit.spec import TextSpec
from mobileclip_kit.tokenizer import (
    MERGES_HEADER,
    HuggingFaceTokenizer,
    Tokenizer,
    clean_text,
    load_tokenizer,
    read_merges,
    standard_merges,
    trim_merges,
    write_merges,
)

CLEANINGS = ("lower", "canonicalize", "whitespace")
BYTE_PIECES = 512

HARD_TEXTS = [
    "",
    " ",
    "a photo of a cat",
    "A Photo  of\ta\nCAT.",
    "don't we've I'll they're 'S 'LL '\u017f ''s",
    "&amp;amp; &lt;b&gt; &eacute; &#39; &#x1F600; &#xD800; &#0; &notit; &nbsp;x",
    "<start_of_text>a dog<end_of_text>",
    "<START_OF_TEXT> <start_of_text <|endoftext|> </w> a</w>b",
    "schÃ¶n â€œquotedâ€\x9d ï¬\x81ne",
    "“curly” ﬁne ＦＵＬＬ width Ⅷ ½ ३ ① x² İstanbul ẞ ǅ \u212aelvin",
    "👩‍👩‍👧 🇩🇪 🏳️‍🌈 ❤️ 1️⃣",
    "漢字かな交じり文 한국어 텍스트 ภาษาไทย हिन्दी",
    "نص عربي مع تشكيل: قِطَّةٌ ١٢٣ עברית",
    "\x00\x01\x1b[31mred\x7f\x85\u2028line\ufeff\u200d\u0301",
    "e\u0301 vs \u00e9, Z\u0351\u036b\u0343",
    "\ud800 lone surrogate \udfff",
    "__init__ a_b-c/d #tag @me $9.99 100% !!!???",
    "12345 3.14 1,000",
]


def random_texts(count, seed):
    """Texts of characters from all planes, from the common scripts, and from pieces of markup."""
    generator = random.Random(seed)
    ranges = [
        (0, 128),
        (0, 0x250),
        (0x370, 0x530),
        (0x600, 0x700),
        (0x3040, 0x3100),
        (0x4E00, 0x9FFF),
        (0x2000, 0x2070),
    ]
    ranges += [(0xAC00, 0xD7A4), (0x1F300, 0x1FAFF), (0x300, 0x370), (0xE000, 0x110000), (0, 0xD800)]
    scraps = [
        "&amp;",
        "&quot;",
        "<br>",
        "<end_of_text>",
        "'s",
        "'re",
        " ",
        "  ",
        "\n",
        "the",
        "RED",
        "ing",
        "_",
        "é",
        "Ã©",
    ]

    def scrap():
        return (
            chr(generator.randrange(*generator.choice(ranges)))
            if generator.random() < 0.5
            else generator.choice(scraps)
        )

    return ["".join(scrap() for _ in range(generator.randrange(1, 40))) for _ in range(count)]


@pytest.fixture(scope="module")
def standard():
    return Tokenizer(standard_merges())


@pytest.mark.parametrize("cleaning", CLEANINGS)
def test_identifiers_equal_open_clip(cleaning):
    ours, theirs = Tokenizer(standard_merges(), cleaning=cleaning), SimpleTokenizer(clean=cleaning)
    for text in HARD_TEXTS + random_texts(1500, seed=CLEANINGS.index(cleaning)):
        ids = ours.encode(text)
        assert ids == theirs.encode(text), repr(text)
        assert ours.decode(ids) == theirs.decode(ids), repr(text)


def test_rows_equal_open_clip(standard):
    texts = [*HARD_TEXTS, "a cat " * 60, "long" * 500]
    theirs = SimpleTokenizer()
    rows = standard(texts)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(rows, theirs(texts).numpy())
    short = Tokenizer(standard_merges(), context_length=16)
    np.testing.assert_array_equal(short(texts), theirs(texts, context_length=16).numpy())


def test_rows_by_hand(standard):
    """The identifiers of CLIP's own example, ``a photo of a cat``."""
    assert standard.encode("a photo of a cat") == [320, 1125, 539, 320, 2368]
    row = standard("a photo of a cat")
    assert row.shape == (1, 77)
    assert row[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 0]
    assert (standard.start_id, standard.end_id, standard.vocab_size) == (49406, 49407, 49408)


def test_a_cut_row_ends_with_the_end_token_and_padding_is_the_pad_id():
    tokenizer = Tokenizer(standard_merges(), context_length=5, pad_id=7)
    assert tokenizer("cat " * 9)[0].tolist() == [49406, 2368, 2368, 2368, 49407]
    assert tokenizer("cat")[0].tolist() == [49406, 2368, 49407, 7, 7]
    assert tokenizer([]).shape == (0, 5)


@pytest.mark.parametrize("text", ["a" * 10_000, "ab" * 5_000, "漢" * 10_000, "é🙂" * 5_000])
def test_very_long_words_are_quick(standard, text):
    """open_clip needs time that grows with the square of a word; equality is checked on a shorter one."""
    started = time.perf_counter()
    ids = standard.encode(text)
    assert time.perf_counter() - started < 2
    assert standard.decode(ids).replace(" ", "") == text
    assert standard.encode(text[:500]) == SimpleTokenizer().encode(text[:500])


def test_plain_text_is_left_alone_by_the_repair_it_skips():
    """Printable ASCII without & takes a short way round ftfy; both ways give the same."""
    import ftfy

    generator = random.Random(0)
    letters = [chr(code) for code in range(0x20, 0x7F) if chr(code) != "&"]
    for _ in range(500):
        text = "".join(generator.choices(letters, k=40))
        assert ftfy.fix_text(text) == text
        assert clean_text(text, "whitespace") == " ".join(text.split())


def test_remembered_words_do_not_change_what_follows(standard, monkeypatch):
    monkeypatch.setattr(tokenizer_module, "_REMEMBERED_WORDS", 3)
    forgetful = Tokenizer(standard_merges())
    for text in random_texts(50, seed=9) * 2:
        assert forgetful.encode(text) == standard.encode(text)
        assert len(forgetful._words) <= 3
    first = forgetful.encode("cat")
    first.append(1)
    assert forgetful.encode("cat") == [2368]


def test_decode_refuses_unknown_identifiers(standard):
    with pytest.raises(DataError, match="49408 is outside the vocabulary of 49408"):
        standard.decode([49408])


def test_trimmed_vocabulary_splits_its_texts_as_before(standard):
    texts = ["a photo of a cat", "two dogs playing with a frisbee", "Überraschung! 漢字", "<start_of_text> it's"]
    merges, rows = trim_merges(texts, standard)
    trimmed = Tokenizer(merges)
    assert trimmed.vocab_size == len(rows) == BYTE_PIECES + len(merges) + 2
    assert len(merges) < 100
    for text in texts:
        # A row number of the full table for each identifier of the trimmed one.
        assert rows[trimmed.encode(text)].tolist() == standard.encode(text)
    np.testing.assert_array_equal(rows[trimmed(texts)[:, 0]], standard(texts)[:, 0])
    # New texts of kept words too.
    assert rows[trimmed.encode("a dogs photo of two cat")].tolist() == standard.encode("a dogs photo of two cat")


def test_trimmed_embedding_rows_are_those_of_the_same_pieces(standard):
    merges, rows = trim_merges(["red bicycle", "green apples"], standard)
    trimmed = Tokenizer(merges)
    full_table = np.arange(standard.vocab_size * 2).reshape(-1, 2)
    table = full_table[rows]
    np.testing.assert_array_equal(table[trimmed.encode("green bicycle")], full_table[standard.encode("green bicycle")])
    for number in (0, 300, BYTE_PIECES, trimmed.start_id - 1, trimmed.start_id, trimmed.end_id):
        assert trimmed.decode([number]) == standard.decode([rows[number]])
    assert list(merges) == [merge for merge in standard.merges if merge in set(merges)]


@pytest.mark.parametrize("kept_texts", [[], ["a photo of a cat"]])
def test_every_other_text_stays_encodable(standard, kept_texts):
    trimmed = Tokenizer(trim_merges(kept_texts, standard)[0])
    for text in HARD_TEXTS + random_texts(200, seed=4):
        assert trimmed.decode(trimmed.encode(text)) == standard.decode(standard.encode(text)), repr(text)


def test_bytes_alone_by_hand():
    """Without merges a word is its bytes, the last one with a word end: ``!`` is byte piece 0."""
    tokenizer = Tokenizer([])
    assert tokenizer.encode("!") == [256]
    assert tokenizer.encode('!!"') == [0, 0, 256 + 1]
    assert tokenizer.encode("ab") == [ord("a") - 33, ord("b") - 33 + 256]
    assert (tokenizer.start_id, tokenizer.end_id) == (512, 513)


def test_the_merge_listed_first_wins_and_equal_ones_go_from_left_to_right():
    tokenizer = Tokenizer([("b", "c"), ("a", "b"), ("a", "a"), ("aa", "a</w>")])
    a, d = ord("a") - 33, ord("d") - 33
    assert tokenizer.encode("abcd") == [a, 512, d + 256]
    assert tokenizer.encode("aaaad") == [514, 514, d + 256]
    assert tokenizer.encode("aaa") == [515]


def test_merges_survive_a_file(tmp_path):
    path = tmp_path / "merges.txt"
    write_merges(path, standard_merges())
    lines = path.read_bytes().split(b"\n")
    assert lines[0] == MERGES_HEADER.encode() == b"#version: mckit clip-bpe 1"
    assert lines[1:3] == [b"i n", b"t h"]
    assert (len(lines), lines[-1]) == (48_894 + 2, b"")
    assert read_merges(path) == list(standard_merges())
    write_merges(path, [])
    assert read_merges(path) == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "does not begin with"),
        (b"i n\n", "does not begin with"),
        (MERGES_HEADER.encode() + b"\ni n\nabc\n", "Line 3 of .* is 'abc'"),
        (MERGES_HEADER.encode() + b"\ni n g\n", "Line 2"),
        (MERGES_HEADER.encode() + b"\ni n\n\nt h\n", "Line 3"),
        (MERGES_HEADER.encode() + b"\n\xff\xfe\n", "not UTF-8"),
        (MERGES_HEADER.encode() + b"\nin g\n", "no earlier merge makes"),
        (MERGES_HEADER.encode() + b"\ni n\ni n\n", "there already"),
        (MERGES_HEADER.encode() + b"\ni n</w>\nin</w> g\n", "no earlier merge makes"),
    ],
)
def test_damaged_merges_are_refused(tmp_path, content, sentence):
    path = tmp_path / "merges.txt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=sentence):
        Tokenizer.for_spec(TextSpec(), path)


def test_a_missing_merges_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"merges\.txt cannot be read: No such file"):
        read_merges(tmp_path / "merges.txt")


def test_for_spec_takes_everything_from_the_spec(tmp_path, standard):
    merges, rows = trim_merges(["a photo of a cat"], standard)
    path = tmp_path / "merges.txt"
    write_merges(path, merges)
    spec = TextSpec(context_length=9, vocab_size=len(rows), merges="trimmed", cleaning="canonicalize", pad_id=3)
    tokenizer = Tokenizer.for_spec(spec, path)
    assert rows[tokenizer("A cat!")[0, :4]].tolist() == [49406, 320, 2368, 49407]
    assert tokenizer("a cat")[0, 4:].tolist() == [3] * 5
    with pytest.raises(ModelError, match=r"needs the merges\.txt"):
        Tokenizer.for_spec(spec)
    with pytest.raises(ModelError, match="makes 49408 pieces, but the model's embedding table has 5[0-9]{2} rows"):
        Tokenizer.for_spec(TextSpec(vocab_size=len(rows)))


def test_standard_merges_without_open_clip_are_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="Install open_clip_torch"):
        standard_merges.__wrapped__()


def test_standard_merges_with_a_damaged_data_file_are_refused(monkeypatch, tmp_path):
    data = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    found = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    for content in (b"not gzip", gzip.compress(b"#version\ni n\n"), gzip.compress(b"x" * 999)[:-9]):
        data.write_bytes(content)
        with pytest.raises(ModelError, match="bpe_simple_vocab"):
            standard_merges.__wrapped__()


def test_tokenizing_needs_neither_torch_nor_open_clip():
    code = (
        "import sys; from mobileclip_kit.tokenizer import *; Tokenizer(standard_merges())(['é cat']);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'open_clip')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_huggingface_without_transformers_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    spec = TextSpec(tokenizer="huggingface", tokenizer_name="some/tokenizer")
    with pytest.raises(MissingExtraError, match=r"some/tokenizer needs the extra \[hf\]; install it with: pip install"):
        load_tokenizer(spec)
    with pytest.raises(ModelError, match="not a clip-bpe tokenizer"):
        Tokenizer.for_spec(spec)


class FakeAutoTokenizer:
    """Stands in for the transformers library: it knows some characters, 1 separates, 0 pads."""

    sep_token_id, pad_token_id, pad_token = 1, 0, "[PAD]"

    def __init__(self):
        tokenizers = pytest.importorskip("tokenizers")
        vocab = {"[PAD]": 0, "[SEP]": 1, "a": 97, "b": 98, "c": 99}
        self.backend_tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="[PAD]"))
        self.backend_tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
        self.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="$A [SEP]", special_tokens=[("[SEP]", 1)]
        )

    @classmethod
    def from_pretrained(cls, name, **kwargs):  # noqa: D102
        if name == "unknown":
            raise OSError("unknown is not a tokenizer\nSecond line.")
        assert kwargs == {"revision": "v1", "trust_remote_code": False}
        return cls()


def test_huggingface_tokenizers_are_asked_through_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(AutoTokenizer=FakeAutoTokenizer))
    kwargs = {"revision": "v1", "strip_sep_token": True}
    common = {"tokenizer": "huggingface", "context_length": 4, "cleaning": "canonicalize", "kwargs": kwargs}
    loaded = load_tokenizer(TextSpec(tokenizer_name="known", **common))
    assert isinstance(loaded, HuggingFaceTokenizer)
    assert loaded(["A.b"]).tolist() == [[97, 98, 0, 0]]
    assert loaded("c").dtype == np.int64
    with pytest.raises(ModelError, match=r"unknown cannot be loaded: unknown is not a tokenizer\.$"):
        load_tokenizer(TextSpec(tokenizer_name="unknown", **common))
    with pytest.raises(ModelError, match="needs language, which mckit does not support"):
        load_tokenizer(TextSpec(tokenizer="huggingface", tokenizer_name="known", kwargs={"language": "de"}))


def test_code_of_a_tokenizer_is_refused_even_if_the_spec_was_changed_later(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(AutoTokenizer=FakeAutoTokenizer))
    kwargs = {"revision": "v1"}
    spec = TextSpec(tokenizer="huggingface", tokenizer_name="known", context_length=4, kwargs=kwargs)
    kwargs["trust_remote_code"] = True
    load_tokenizer(spec)  # FakeAutoTokenizer asserts that it gets False
