"""``tokenizer.json`` gives the identifiers of mckit's own tokenizer, executed by the tokenizers library.

Five thousand texts by default; ``MCKIT_TOKENIZER_TEXTS=100000`` for as many as a release is checked with.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from mobileclip_kit.errors import ExportError, MissingExtraError, ModelError
from mobileclip_kit.exporting.folder import EXPORT_FILE, Export, open_export
from mobileclip_kit.spec import TOKENIZER_FILE, Cleaning, TextSpec
from mobileclip_kit.tokenizer import (
    HuggingFaceTokenizer,
    Tokenizer,
    clean_text,
    find_tokenizer,
    load_tokenizer,
    standard_merges,
    tokenizer_document,
    trim_merges,
)
from tests.test_tokenizer import HARD_TEXTS, random_texts

tokenizers = pytest.importorskip("tokenizers")

MARKERS = re.compile("<(?:start|end)_of_text>", re.IGNORECASE)
COUNT = int(os.environ.get("MCKIT_TOKENIZER_TEXTS", "5000"))
CAPTIONS = (
    "A dog's ball, don't throw it!", "two CATS on a table", "the word café on a street sign", "x-ray of 3 ribs",
    "un été à la plage", "Müller's straße", "naïve façade — 50% off", "größe: 12,5 cm", "a  photo\tof\na lake",
)  # fmt: skip


def texts(count: int, seed: int = 5) -> list[str]:
    """Random Unicode, captions in several languages, emoji, accents, white space and long texts."""
    generator = random.Random(seed)
    captions = [" ".join(generator.sample(CAPTIONS, generator.randrange(1, 4))) for _ in range(count // 4)]
    long = [" ".join(generator.choices(CAPTIONS, k=30)) for _ in range(count // 50)]
    emoji = ["".join(chr(generator.randrange(0x1F300, 0x1FAFF)) for _ in range(5)) for _ in range(count // 20)]
    others = random_texts(count - len(captions) - len(long) - len(emoji) - len(HARD_TEXTS), seed)
    return [_assigned(text) for text in (*HARD_TEXTS, *captions, *long, *emoji, *others)]


def _assigned(text: str) -> str:
    """Without the markers, which have a test of their own, and without characters that Unicode has not assigned.

    Whether an unassigned character is a letter depends on the year of a library's tables.
    """
    return "".join(letter for letter in MARKERS.sub(" ", text) if unicodedata.category(letter) != "Cn")


def clean(text: str, cleaning: Cleaning) -> str:
    """Cleaned until it stays as it is: what the repair of an encoding leaves may itself look broken."""
    while (cleaned := _assigned(clean_text(text, cleaning))) != text:
        text = cleaned
    return text


def as_library(tokenizer: Tokenizer) -> Any:
    return tokenizers.Tokenizer.from_str(json.dumps(tokenizer_document(tokenizer)))


def assert_equal_ids(tokenizer: Tokenizer, given: list[str]) -> None:
    library = as_library(tokenizer)
    for start in range(0, len(given), 5000):
        part = given[start : start + 5000]
        found = np.array([row.ids for row in library.encode_batch(part)])
        wanted = tokenizer(part)
        wrong = np.flatnonzero((found != wanted).any(axis=1))
        assert not wrong.size, (repr(part[wrong[0]]), found[wrong[0]][:20], wanted[wrong[0]][:20])


@pytest.fixture(scope="module")
def trimmed() -> list[tuple[str, str]]:
    return trim_merges(CAPTIONS, Tokenizer(standard_merges()))[0]


@pytest.mark.parametrize("cleaning", get_args(Cleaning))
def test_cleaned_texts_have_equal_ids(cleaning: Cleaning) -> None:
    cleaned = [clean(text, cleaning) for text in texts(COUNT)]
    assert_equal_ids(Tokenizer(standard_merges(), cleaning=cleaning), cleaned)


@pytest.mark.parametrize("cleaning", get_args(Cleaning))
def test_a_trimmed_vocabulary_has_equal_ids(cleaning: Cleaning, trimmed: list[tuple[str, str]]) -> None:
    cleaned = [clean(text, cleaning) for text in texts(COUNT, seed=6)]
    assert_equal_ids(Tokenizer(trimmed, context_length=12, cleaning=cleaning, pad_id=3), cleaned)


@pytest.mark.parametrize("cleaning", get_args(Cleaning))
def test_raw_captions_need_no_cleaning(cleaning: Cleaning) -> None:
    """What is already composed and free of HTML is lowered, stripped of punctuation and split by the file alone."""
    generator = random.Random(1)
    letters = "abcXYZ äöüßéñçÀÉ0123456789 .,;:!?'\"()[]_-+*/=<>@#$%^~`|\\{} \t\n"
    raw = ["".join(generator.choices(letters, k=generator.randrange(60))) for _ in range(COUNT // 2)]
    # A random row of letters may look like a broken encoding, which the file cannot repair.
    plain = [text for text in raw if clean_text(text, "whitespace") == " ".join(text.split())]
    assert len(plain) > 0.99 * len(raw)
    assert_equal_ids(Tokenizer(standard_merges(), cleaning=cleaning), [*CAPTIONS, *plain])


def test_a_marker_between_words_is_the_special_token() -> None:
    tokenizer = Tokenizer(standard_merges())
    assert_equal_ids(tokenizer, ["<start_of_text>a dog<end_of_text>", "a <end_of_text> dog", "<end_of_text>"])


def test_every_export_with_a_text_tower_carries_it(onnx_export: Export, coreml_export: Export) -> None:
    for export in (onnx_export, coreml_export):
        library = tokenizers.Tokenizer.from_file(str(export.path / TOKENIZER_FILE))
        own = load_tokenizer(export.spec.require_text(), export.tokenizer_file)
        assert library.encode("a red house by the lake").ids == own("a red house by the lake")[0].tolist()
        digest = json.loads((export.path / EXPORT_FILE).read_text())["tokenizer_sha256"]
        assert export.tokenizer_sha256 == digest


def test_a_changed_file_is_refused(onnx_export: Export, tmp_path: Path) -> None:
    import shutil

    copied = Path(shutil.copytree(onnx_export.path, tmp_path / "copied"))
    (copied / TOKENIZER_FILE).write_text("{}")
    with pytest.raises(ExportError, match=r"tokenizer\.json was changed"):
        open_export(copied)
    (copied / TOKENIZER_FILE).unlink()
    with pytest.raises(ExportError, match=r"tokenizer\.json is missing"):
        open_export(copied)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A tokenizer of another kind, as a hub's: words, a separator, padding."""
    words = {"[PAD]": 0, "[UNK]": 1, "[SEP]": 2, "a": 3, "dog": 4}
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    library.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    library.post_processor = tokenizers.processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 2)])
    library.enable_truncation(5)
    library.enable_padding(length=5, pad_id=0, pad_token="[PAD]")
    library.save(str(tmp_path / TOKENIZER_FILE))
    return tmp_path


def test_a_saved_hub_tokenizer_is_executed_without_transformers(
    foreign: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    common: dict[str, Any] = {"tokenizer": "huggingface", "tokenizer_name": "o/t", "context_length": 5}
    spec = TextSpec(cleaning="canonicalize", **common)
    loaded = load_tokenizer(spec, find_tokenizer(foreign, spec))
    assert loaded(["A dog!", "dog cat a a a a"]).tolist() == [[3, 4, 2, 0, 0], [4, 1, 3, 3, 2]]
    stripped = load_tokenizer(TextSpec(kwargs={"strip_sep_token": True}, **common), foreign / TOKENIZER_FILE)
    assert stripped("a dog").tolist() == [[3, 4, 0, 0, 0]]
    assert isinstance(loaded, HuggingFaceTokenizer)
    again = tmp_path_factory.mktemp("again") / TOKENIZER_FILE
    loaded.write(again)
    assert load_tokenizer(spec, again)("a dog").tolist() == loaded("a dog").tolist()


def test_a_tower_with_a_hub_tokenizer_is_searched_without_torch_or_transformers(foreign: Path, tmp_path: Path) -> None:
    """The file travels from the model folder into the export, where the tokenizers library alone executes it."""
    from mobileclip_kit.exporting.exporter import export_model
    from mobileclip_kit.exporting.request import ExportOptions
    from mobileclip_kit.networks.model import build_network, describe, load_model, save_model
    from tests.exports import tiny_config

    config = tiny_config(5)
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "o/t", "context_length": 5}
    network = build_network(config["model_cfg"])
    (tmp_path / "model").mkdir()
    spec = describe("hub", network, config)
    save_model(tmp_path / "model", network, config, spec, foreign / TOKENIZER_FILE)
    export = export_model(load_model(tmp_path / "model"), tmp_path / "out", ExportOptions())
    assert export.tokenizer_file == tmp_path / "out" / TOKENIZER_FILE
    assert export.merges_sha256 is None and export.tokenizer_sha256 is not None
    code = (
        "import sys; sys.modules.update(torch=None, transformers=None)\n"
        "from mobileclip_kit.runtime.open import open_encoder\n"
        f"print(open_encoder({str(export.path)!r}).encode_texts('a dog').shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 16)"


def test_an_export_without_the_hub_says_that_its_tokenizer_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mobileclip_kit.exporting.exporter import export_model
    from mobileclip_kit.exporting.request import ExportOptions
    from mobileclip_kit.networks.model import Model, build_network, describe
    from tests.exports import tiny_config

    monkeypatch.setitem(sys.modules, "transformers", None)
    config = tiny_config(5)
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "o/t"}
    network = build_network(config["model_cfg"])
    told: list[str] = []
    model = Model(network, config, describe("hub", network, config))
    export = export_model(model, tmp_path / "out", ExportOptions(report=told.append))
    assert export.tokenizer_file is None
    (warning,) = (line for line in told if line.startswith("warning"))
    assert "has no tokenizer.json: The tokenizer o/t needs the extra [hf]" in warning
    assert told[:2] == ["onnx fp32: writing the image tower", "onnx fp32: writing the text tower"]


def test_a_saved_tokenizer_without_the_extra_or_damaged_is_one_sentence(
    foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TextSpec(tokenizer="huggingface", tokenizer_name="o/t", context_length=5)
    (foreign / "damaged.json").write_text("{}")
    with pytest.raises(ModelError, match=r"damaged\.json cannot be used"):
        load_tokenizer(spec, foreign / "damaged.json")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"needs the extra \[hf\]; install it with: pip install"):
        load_tokenizer(spec, foreign / TOKENIZER_FILE)


def test_the_file_that_a_folder_splits_texts_by(tmp_path: Path) -> None:
    for name, kind in itertools.product(("merges.txt", TOKENIZER_FILE), ("clip-bpe", "huggingface")):
        (tmp_path / name).touch()
        found = find_tokenizer(tmp_path, TextSpec(tokenizer=kind))  # type: ignore[arg-type]
        assert (found == tmp_path / name) is ((name == "merges.txt") is (kind == "clip-bpe"))
        (tmp_path / name).unlink()
    assert find_tokenizer(tmp_path, None) is None
