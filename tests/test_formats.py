"""What the readers of mckit's own files accept, and what they say of the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from mobileclip_kit.errors import DataError, ModelError, UsageError
from mobileclip_kit.formats import from_document, read, to_document, write


@dataclass(frozen=True, kw_only=True)
class Part:
    name: str
    size: int
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.size < 0:
            raise UsageError(f"size is {self.size}; it must be 0 or more.")


@dataclass(frozen=True, kw_only=True)
class Whole:
    kind: Literal["big", "small"]
    parts: tuple[Part, ...] = ()
    mean: tuple[float, float, float] | None = None
    by_name: Mapping[str, Part] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    verified: bool = False


FULL = {
    "kind": "big",
    "parts": [{"name": "a", "size": 1, "share": 1}, {"name": "b", "size": 2, "share": 0.25}],
    "mean": [0.1, 0.2, 0.3],
    "by_name": {"a": {"name": "a", "size": 3, "share": 0.5}},
    "notes": {"free": [1, {"deep": None}]},
    "folder": "images/2024",
    "verified": True,
}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    whole = from_document(FULL, Whole, where="test")
    assert whole.parts[0] == Part(name="a", size=1, share=1.0) and whole.folder == Path("images/2024")
    write(tmp_path / "whole.json", whole)
    assert read(tmp_path / "whole.json", Whole) == whole
    assert to_document(whole)["by_name"] == {"a": {"name": "a", "size": 3, "share": 0.5}}


def test_toml_is_read_by_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "whole.toml"
    path.write_text('kind = "small"\n[[parts]]\nname = "a"\nsize = 4\n')
    assert read(path, Whole).parts == (Part(name="a", size=4),)
    path.write_text("kind = ")
    with pytest.raises(DataError, match="whole.toml is not valid TOML"):
        read(path, Whole)


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"knd": "big"}, "file.json has the unknown key 'knd'.", "Did you mean kind?"),
        ({"kind": "bigg"}, 'file.json: kind is "bigg"; it must be one of big, small (did you mean big?).', None),
        ({"parts": {}}, "file.json: parts is {}; it must be a list.", None),
        ({"parts": [{"name": "a", "size": 1}, {"name": 3, "size": 1}]},
         "file.json: parts[1].name is 3; it must be a text.", None),
        ({"parts": [{"name": "a"}]}, "file.json: parts[0] has no size.", None),
        ({"parts": [{"name": "a", "size": True}]},
         "file.json: parts[0].size is true; it must be a whole number.", None),
        ({"parts": [{"name": "a", "size": 1.5}]}, "file.json: parts[0].size is 1.5; it must be a whole number.", None),
        ({"parts": [{"name": "a", "size": -1}]}, "file.json: parts[0].size is -1; it must be 0 or more.", None),
        ({"parts": [{"name": "a", "size": 1, "share": float("nan")}]},
         "file.json: parts[0].share is nan; it must be a finite number.", None),
        ({"mean": [1, 2]}, "file.json: mean has 2 entries; it must have 3.", None),
        ({"mean": "abc"}, 'file.json: mean is "abc"; it must be a list.', None),
        ({"by_name": {"x": {"name": "a", "size": "1"}}},
         'file.json: by_name.x.size is "1"; it must be a whole number.', None),
        ({"verified": 1}, "file.json: verified is 1; it must be true or false.", None),
    ],
)  # fmt: skip
def test_refusals_name_file_and_key(change: dict[str, Any], message: str, hint: str | None) -> None:
    with pytest.raises(ModelError) as raised:
        from_document({**FULL, **change}, Whole, where="file.json", error=ModelError)
    assert raised.value.message == message
    assert hint is None or raised.value.hint == hint


@pytest.mark.parametrize("document", [[], "text", None, 3])
def test_a_document_that_is_no_object_is_refused(document: object) -> None:
    with pytest.raises(DataError, match="it must be an object"):
        from_document(document, Whole, where="file.json")


def test_the_keys_of_a_mapping_may_be_limited() -> None:
    @dataclass(frozen=True)
    class Named:
        parts: Mapping[Literal["left", "right"], int]

    assert from_document({"parts": {"left": 1}}, Named, where="file.json").parts == {"left": 1}
    with pytest.raises(DataError, match=r"file\.json: parts has the unknown key 'top'; known are left, right"):
        from_document({"parts": {"top": 1}}, Named, where="file.json")


def test_a_number_that_no_float_can_hold_is_refused() -> None:
    part = {"name": "a", "size": 1, "share": 10**400}
    with pytest.raises(DataError, match=r"share is 1000.*…; it must be a finite number"):
        from_document(part, Part, where="file.json")


@pytest.mark.parametrize("depth", [101, 100_000])
def test_toml_that_is_nested_without_end_is_refused(tmp_path: Path, depth: int) -> None:
    (tmp_path / "a.toml").write_text(f"a = {'[' * depth}{']' * depth}")
    with pytest.raises(DataError, match=r"a\.toml is not valid TOML"):
        read(tmp_path / "a.toml", Whole)


def test_tuples_become_lists() -> None:
    """A document equals what is read back from its JSON."""
    whole = from_document(FULL, Whole, where="test")
    document = to_document(whole)
    assert document["mean"] == [0.1, 0.2, 0.3]
    assert isinstance(document["parts"], list)
    assert json.loads(json.dumps(document)) == document
