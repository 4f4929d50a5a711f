"""CLIP's byte-pair tokenizer without torch, with the standard merges or with fewer of them.

The rule (Sennrich et al., arXiv 1508.07909, on bytes as in GPT-2 and CLIP): a text is cleaned and cut into words; a
word is the row of its UTF-8 bytes, the last one marked ``</w>``; of all neighbours that the merges list, the pair
listed first is joined, again and again. The vocabulary is 256 bytes, the same 256 with ``</w>``, one piece for each
merge in order, start, end: the merges say everything.

Identifiers equal those of open_clip's SimpleTokenizer. A trimmed vocabulary is the same rule with fewer merges, see
:func:`trim_merges`.
"""

from __future__ import annotations

import functools
import gzip
import heapq
import html
import importlib.util
import json
import string
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import regex

from mobileclip_kit.arrays import Ids
from mobileclip_kit.errors import DataError, ModelError, first_line
from mobileclip_kit.extras import missing_extra
from mobileclip_kit.files import atomic_file, write_json
from mobileclip_kit.spec import MERGES_FILE, TOKENIZER_FILE, Cleaning, TextSpec

Merge = tuple[str, str]

MERGES_HEADER = "#version: mckit clip-bpe 1"
STANDARD_MERGES_COUNT = 48_894
START, END = "<start_of_text>", "<end_of_text>"

_WORD_END = "</w>"
_BYTE_PIECES = 512
_WORDS = regex.compile(rf"{START}|{END}|'(?:[stmd]|re|ve|ll)|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}]+", regex.IGNORECASE)
# The same for the tokenizers library, to whose regular expressions the separators 0x1C to 0x1F are no white space.
_WORDS_ONIGURUMA = rf"(?i:{START}|{END}|'(?:[stmd]|re|ve|ll)|\p{{L}}+|\p{{N}}|[^\s\x1c-\x1f\p{{L}}\p{{N}}]+)"
_LOWER = {"type": "Lowercase"}
_NORMALIZERS: dict[str, list[dict[str, Any]]] = {
    "lower": [_LOWER],
    "canonicalize": [
        {"type": "Replace", "pattern": {"String": "_"}, "content": " "},
        {"type": "Replace", "pattern": {"Regex": r"[!-/:-@\[-^`{-~]"}, "content": ""},
        _LOWER,
    ],
    "whitespace": [],
}
# How the separator is called in the tokenizers of open_clip's models.
_SEPARATORS = ("[SEP]", "</s>", "<sep>")
# ftfy and HTML unescaping leave such text as it is; most captions are.
_PLAIN = regex.compile(r"[ -%'-~]*")
_NO_PUNCTUATION = str.maketrans("_", " ", string.punctuation.replace("_", ""))
# Bounds of the table of words already split: some 20 MB, and no room for a 10,000-character word.
_REMEMBERED_WORDS = 65_536
_REMEMBERED_LENGTH = 64


class TextTokenizer(Protocol):
    """Texts in, rows of identifiers out."""

    context_length: int

    def __call__(self, texts: str | Sequence[str]) -> Ids:
        """``(n, context_length)`` int64, start and end included."""
        ...


def load_tokenizer(spec: TextSpec, file: Path | None = None) -> TextTokenizer:
    """The tokenizer that a text tower was trained with, of either kind.

    Args:
        spec: The text half of a model's spec.
        file: From :func:`find_tokenizer`; None for the standard merges, or for a tokenizer of the hub.

    Raises:
        MissingExtraError: A Hugging Face tokenizer without the extra ``[hf]``.
        ModelError: See :meth:`Tokenizer.for_spec` and :class:`HuggingFaceTokenizer`.
    """
    return HuggingFaceTokenizer(spec, file) if spec.tokenizer == "huggingface" else Tokenizer.for_spec(spec, file)


def find_tokenizer(folder: Path, spec: TextSpec | None) -> Path | None:
    """The file that a model folder's or an export's texts are split by: ``merges.txt`` or ``tokenizer.json``.

    Args:
        folder: A model folder or an export.
        spec: The text half of its spec; None for no text tower.
    """
    if spec is None:
        return None
    path = folder / (TOKENIZER_FILE if spec.tokenizer == "huggingface" else MERGES_FILE)
    return path if path.is_file() else None


class Tokenizer:
    """CLIP's byte-pair tokenizer.

    Args:
        merges: Pairs of pieces in the order of :func:`standard_merges`, most frequent first.
        context_length: Length of a row, start and end included.
        cleaning: What is done to a text before it is split, in open_clip's words.
        pad_id: What fills a row after the end token.

    Raises:
        ModelError: A merge joins pieces that no earlier merge makes, or is listed twice.
    """

    def __init__(
        self, merges: Iterable[Merge], *, context_length: int = 77, cleaning: Cleaning = "lower", pad_id: int = 0
    ) -> None:
        self.merges = list(merges)
        self.context_length, self.cleaning, self.pad_id = context_length, cleaning, pad_id
        self._joined = _number_merges(self.merges)
        self.start_id = _BYTE_PIECES + len(self.merges)
        self.end_id = self.start_id + 1
        self.vocab_size = self.end_id + 1
        self._words: dict[str, list[int]] = {}

    @classmethod
    def for_spec(cls, spec: TextSpec, merges: Path | None = None) -> Self:
        """The tokenizer that a text tower was trained with.

        Args:
            spec: The text half of a model's spec, of kind ``clip-bpe``.
            merges: The folder's ``merges.txt``; None for the standard merges.

        Raises:
            ModelError: The spec is of another kind, wants a ``merges.txt`` that was not given, or has fewer embedding
                rows than the merges have pieces.
        """
        if spec.tokenizer != "clip-bpe":
            raise ModelError(f"The tokenizer {spec.tokenizer} ({spec.tokenizer_name}) is not a clip-bpe tokenizer.")
        if merges is None and spec.merges == "trimmed":
            raise ModelError("A trimmed vocabulary needs the merges.txt of its model folder.")
        pairs = standard_merges() if merges is None else read_merges(merges)
        tokenizer = cls(pairs, context_length=spec.context_length, cleaning=spec.cleaning, pad_id=spec.pad_id)
        if tokenizer.vocab_size > spec.vocab_size:
            raise ModelError(
                f"{merges or 'The standard list'} makes {tokenizer.vocab_size} pieces, but the model's embedding table "
                f"has {spec.vocab_size} rows.",
                hint="Use the merges.txt that belongs to the model.",
            )
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """Identifiers of a text, without start and end, of any length."""
        ids: list[int] = []
        for word in _WORDS.findall(clean_text(text, self.cleaning)):
            ids += self._split(word)
        return ids

    def __call__(self, texts: str | Sequence[str]) -> Ids:
        """Identifiers of texts, as the text tower takes them.

        Args:
            texts: One text or more.

        Returns:
            ``(n, context_length)`` int64: start, the text, end, padding. A text that is too long is cut; its row ends
            with the end token.
        """
        texts = [texts] if isinstance(texts, str) else texts
        rows = np.full((len(texts), self.context_length), self.pad_id, np.int64)
        for row, text in zip(rows, texts, strict=True):
            ids = [self.start_id, *self.encode(text), self.end_id][: self.context_length]
            ids[-1] = self.end_id
            row[: len(ids)] = ids
        return rows

    def decode(self, ids: Iterable[int]) -> str:
        """The cleaned text again, a space after every word; half characters become U+FFFD.

        Raises:
            DataError: An identifier is not in the vocabulary.
        """
        pieces = []
        for number in ids:
            if not 0 <= number < self.vocab_size:
                raise DataError(f"The identifier {number} is outside the vocabulary of {self.vocab_size} pieces.")
            pieces.append(self._piece_bytes[number])
        return b"".join(pieces).decode("utf-8", errors="replace").replace(_WORD_END, " ")

    def _split(self, word: str) -> list[int]:
        ids = self._words.get(word)
        if ids is None:
            if word in (START, END):
                return [self.start_id if word == START else self.end_id]
            ids, _ = _merge_word(word, self._joined)
            if len(word) <= _REMEMBERED_LENGTH:
                if len(self._words) >= _REMEMBERED_WORDS:
                    self._words.clear()
                self._words[word] = ids
        return ids

    @functools.cached_property
    def _piece_bytes(self) -> list[bytes]:
        to_byte = {letter: byte for byte, letter in enumerate(_letters())}
        single = [bytes([byte]) for byte in _byte_order()]
        pieces = single + [piece + _WORD_END.encode() for piece in single]
        pieces += [bytes(to_byte[letter] for letter in first + second) for first, second in self.merges]
        return [*pieces, START.encode(), END.encode()]


class HuggingFaceTokenizer:
    """A tokenizer of another kind than CLIP's, executed by the tokenizers library.

    Its ``tokenizer.json`` is data and runs no code. Without the file it comes from the hub through the transformers
    library, of which only its own classes are used: a tokenizer that brings code is refused, whatever the spec says.

    Args:
        spec: The text half of a model's spec, of kind ``huggingface``.
        file: The ``tokenizer.json`` of a model folder or an export; None fetches the tokenizer.

    Raises:
        MissingExtraError: The extra ``[hf]`` is not installed.
        ModelError: The file is damaged, the hub does not have the tokenizer, or the spec asks for a language or mode.
    """

    def __init__(self, spec: TextSpec, file: Path | None = None) -> None:
        self.context_length, self.cleaning = spec.context_length, spec.cleaning
        self._backend, separator = _fetch_tokenizer(spec) if file is None else _read_tokenizer(file)
        # open_clip overwrites the separator by 0 in some models.
        self._separator = separator if spec.kwargs.get("strip_sep_token") else None

    def __call__(self, texts: str | Sequence[str]) -> Ids:
        """``(n, context_length)`` int64, as open_clip's HFTokenizer gives them."""
        cleaned = [clean_text(text, self.cleaning) for text in ([texts] if isinstance(texts, str) else texts)]
        ids = np.array([row.ids for row in self._backend.encode_batch(cleaned)], np.int64)
        return ids if self._separator is None else np.where(ids == self._separator, 0, ids)

    def write(self, path: Path) -> None:
        """Write ``tokenizer.json``, with the truncation and padding of the model's rows."""
        document = json.loads(self._backend.to_str())
        write_json(path, document)


def _read_tokenizer(file: Path) -> tuple[Any, int | None]:
    """A tokenizer of the tokenizers library, and its separator."""
    try:
        import tokenizers  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise missing_extra(f"The tokenizer {file}", "hf") from error
    try:
        backend = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise ModelError(f"{file} cannot be used: {error}.", hint="Copy it again, or make it again.") from error
    found = (backend.token_to_id(name) for name in _SEPARATORS)
    return backend, next((number for number in found if number is not None), None)


def _fetch_tokenizer(spec: TextSpec) -> tuple[Any, int | None]:
    try:
        from transformers import AutoTokenizer  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise missing_extra(f"The tokenizer {spec.tokenizer_name}", "hf") from error
    kwargs = {name: value for name, value in spec.kwargs.items() if name != "strip_sep_token"}
    if unknown := sorted({"language", "tokenizer_mode"} & {name for name, value in kwargs.items() if value}):
        raise ModelError(f"The tokenizer {spec.tokenizer_name} needs {unknown[0]}, which mckit does not support.")
    try:
        # None would let the library ask on the terminal whether it may run the tokenizer's own code.
        fetched = AutoTokenizer.from_pretrained(spec.tokenizer_name, **{**kwargs, "trust_remote_code": False})
    except (OSError, ValueError) as error:
        reason = first_line(error).rstrip(".")
        raise ModelError(f"The tokenizer {spec.tokenizer_name} cannot be loaded: {reason}.") from error
    backend = getattr(fetched, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(f"The tokenizer {spec.tokenizer_name} has no form that the tokenizers library executes.")
    backend.enable_truncation(spec.context_length)
    backend.enable_padding(
        length=spec.context_length, pad_id=fetched.pad_token_id or 0, pad_token=fetched.pad_token or ""
    )
    return backend, fetched.sep_token_id


def tokenizer_document(tokenizer: Tokenizer) -> dict[str, Any]:
    """CLIP's tokenizer as the JSON of the tokenizers library, ``tokenizer.json``.

    It gives the same identifiers for texts that :func:`clean_text` has cleaned. It lowers and strips punctuation
    itself, but cannot repair broken encodings, compose characters or resolve HTML entities, as ftfy and
    ``html.unescape`` do.
    """
    letters = [_letters()[byte] for byte in _byte_order()]
    joined = [first + second for first, second in tokenizer.merges]
    pieces = [*letters, *(letter + _WORD_END for letter in letters), *joined, START, END]
    special = {START: tokenizer.start_id, END: tokenizer.end_id}
    return {
        "version": "1.0",
        "truncation": {
            "direction": "Right", "max_length": tokenizer.context_length, "strategy": "LongestFirst", "stride": 0,
        },
        "padding": {
            "strategy": {"Fixed": tokenizer.context_length}, "direction": "Right", "pad_to_multiple_of": None,
            "pad_id": tokenizer.pad_id, "pad_type_id": 0, "pad_token": pieces[tokenizer.pad_id],
        },
        "added_tokens": [
            {"id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for token, number in special.items()
        ],
        "normalizer": {"type": "Sequence", "normalizers": _NORMALIZERS[tokenizer.cleaning]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": _WORDS_ONIGURUMA}, "behavior": "Removed", "invert": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        ]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": START, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": END, "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {
                token: {"id": token, "ids": [number], "tokens": [token]} for token, number in special.items()
            },
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
            "end_of_word_suffix": _WORD_END, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {piece: number for number, piece in enumerate(pieces)},
            "merges": [list(pair) for pair in tokenizer.merges],
        },
    }  # fmt: skip


def clean_text(text: str, cleaning: Cleaning) -> str:
    """Repair broken encodings and HTML entities, then lower, strip punctuation or only tidy white space."""
    if not _PLAIN.fullmatch(text):
        import ftfy  # not needed, and not loaded, for plain ASCII

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    if cleaning == "canonicalize":
        text = text.translate(_NO_PUNCTUATION)
    text = " ".join(text.split())
    return text if cleaning == "whitespace" else text.lower()


@functools.cache
def standard_merges() -> tuple[Merge, ...]:
    """CLIP's 48,894 merges, from the data file that open_clip is installed with (open_clip is not imported).

    Raises:
        ModelError: open_clip or its data file is not there.
    """
    found = importlib.util.find_spec("open_clip")
    folders = [] if found is None else list(found.submodule_search_locations or ())
    paths = [path for folder in folders if (path := Path(folder) / "bpe_simple_vocab_16e6.txt.gz").is_file()]
    if not paths:
        raise ModelError(
            "CLIP's standard merges are not installed: open_clip's bpe_simple_vocab_16e6.txt.gz was not found.",
            hint="Install open_clip_torch, or give a merges.txt.",
        )
    try:
        # The file lists more merges than CLIP uses.
        lines = gzip.decompress(paths[0].read_bytes()).decode("utf-8").split("\n")[1 : STANDARD_MERGES_COUNT + 1]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ModelError(f"{paths[0]} is damaged: {error}.", hint="Install open_clip_torch again.") from error
    if len(lines) < STANDARD_MERGES_COUNT:
        raise ModelError(
            f"{paths[0]} lists {len(lines)} merges, not {STANDARD_MERGES_COUNT}.", hint="Install open_clip_torch again."
        )
    return tuple(_parse_merge(line, paths[0], number) for number, line in enumerate(lines, start=2))


def read_merges(path: Path) -> list[Merge]:
    """Read a ``merges.txt``.

    Raises:
        ModelError: The file is missing, is not UTF-8 text, or is not a list of merges.
    """
    try:
        lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is not UTF-8 text.") from error
    if lines[0] != MERGES_HEADER:
        raise ModelError(f"{path} does not begin with the line {MERGES_HEADER!r}.")
    return [_parse_merge(line, path, number) for number, line in enumerate(lines[1:], start=2)]


def write_merges(path: Path, merges: Iterable[Merge]) -> None:
    """Write a ``merges.txt``: UTF-8, a header line, then one merge a line, its two pieces with a space between."""
    with atomic_file(path) as staging:
        lines = [MERGES_HEADER, *(f"{first} {second}" for first, second in merges)]
        staging.write_bytes(("\n".join(lines) + "\n").encode("utf-8"))


def trim_merges(texts: Iterable[str], tokenizer: Tokenizer) -> tuple[list[Merge], Ids]:
    """Keep the merges that the splitting of these texts applies.

    Every text whose splitting applies kept merges alone splits as before: at each step the pair that was chosen is
    still there, and nothing that was not a candidate before is one now. Other texts fall back on smaller pieces.

    Args:
        texts: All that should split as before.
        tokenizer: With the full merges.

    Returns:
        The kept merges in their order, and the rows of the full embedding table that the trimmed one keeps, ``(rows,)``
        int64, so that ``trimmed = full[rows]``.
    """
    words = {word for text in texts for word in _WORDS.findall(clean_text(text, tokenizer.cleaning))} - {START, END}
    kept = {joined for word in words for joined in _merge_word(word, tokenizer._joined)[1]}
    pieces = sorted(kept)
    rows = [*range(_BYTE_PIECES), *pieces, tokenizer.start_id, tokenizer.end_id]
    return [tokenizer.merges[piece - _BYTE_PIECES] for piece in pieces], np.array(rows, np.int64)


def _merge_word(word: str, joined: Mapping[tuple[int, int], int]) -> tuple[list[int], set[int]]:
    """Split one word, in O(n log n) for its n bytes.

    Returns:
        The word's identifiers, and those of all pieces that were joined on the way.
    """
    to_id = _byte_ids()
    pieces = [to_id[byte] for byte in word.encode("utf-8")]
    count = len(pieces)
    pieces[-1] += 256
    following, previous = list(range(1, count + 1)), list(range(-1, count - 1))
    # A piece's identifier grows with its merge's place in the list, so the least is the next to join, leftmost first.
    # A joined piece can only take part in later merges: joining one pair after the other equals joining all at once.
    waiting = [
        (joined[pair], left) for left, pair in enumerate(zip(pieces, pieces[1:], strict=False)) if pair in joined
    ]
    heapq.heapify(waiting)
    applied: set[int] = set()
    while waiting:
        piece, left = heapq.heappop(waiting)
        right = following[left]
        if right == count or joined.get((pieces[left], pieces[right])) != piece:
            continue  # one of the two has been joined to another neighbour meanwhile
        applied.add(piece)
        pieces[left], pieces[right] = piece, -1
        after, before = following[right], previous[left]
        following[left] = after
        if after < count:
            previous[after] = left
            if (candidate := joined.get((piece, pieces[after]))) is not None:
                heapq.heappush(waiting, (candidate, left))
        if before >= 0 and (candidate := joined.get((pieces[before], piece))) is not None:
            heapq.heappush(waiting, (candidate, before))
    return [piece for piece in pieces if piece >= 0], applied


def _number_merges(merges: Sequence[Merge]) -> dict[tuple[int, int], int]:
    """What a pair of identifiers is joined to."""
    letters = _letters()
    pieces = {letters[byte]: number for number, byte in enumerate(_byte_order())}
    pieces |= {letter + _WORD_END: number + 256 for letter, number in pieces.items()}
    joined = {}
    for number, (first, second) in enumerate(merges, start=_BYTE_PIECES):
        left, right, piece = pieces.get(first), pieces.get(second), first + second
        if left is None or right is None or first.endswith(_WORD_END):
            raise ModelError(f"The merge {first!r} {second!r} joins pieces that no earlier merge makes.")
        if piece in pieces:
            raise ModelError(f"The merge {first!r} {second!r} makes a piece that is there already.")
        pieces[piece] = joined[left, right] = number
    return joined


def _parse_merge(line: str, path: Path, number: int) -> Merge:
    first, _, second = line.partition(" ")
    if not first or not second or " " in second:
        raise ModelError(f"Line {number} of {path} is {line!r}, not two pieces with a space between.")
    return first, second


@functools.cache
def _byte_order() -> tuple[int, ...]:
    """The bytes in the order of their identifiers: those that print in Latin-1 first."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return (*printing, *sorted(set(range(256)) - set(printing)))


@functools.cache
def _letters() -> tuple[str, ...]:
    """The letter that stands for each byte in a list of merges: itself where it prints, else one from U+0100 on."""
    order = _byte_order()
    printing = 256 - sum(byte < 0x21 or 0x7F <= byte < 0xA1 or byte == 0xAD for byte in range(256))
    letters = {byte: chr(byte) if place < printing else chr(256 + place - printing) for place, byte in enumerate(order)}
    return tuple(letters[byte] for byte in range(256))


@functools.cache
def _byte_ids() -> tuple[int, ...]:
    order = _byte_order()
    return tuple(order.index(byte) for byte in range(256))
