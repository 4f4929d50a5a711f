"""A changed ``merges.txt`` is refused: by its digest, and in exports without one by verification and bundles."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mobileclip_kit.bundle import make_bundle, open_bundle
from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.folder import EXPORT_FILE, Export, open_export
from mobileclip_kit.exporting.verify import verify_export
from mobileclip_kit.networks.model import Model
from mobileclip_kit.runtime.open import open_encoder
from tests.documents import edited


def swap_lines(text: str) -> str:
    lines = text.splitlines()
    return "\n".join([lines[0], lines[2], lines[1], *lines[3:]]) + "\n"


def drop_line(text: str) -> str:
    return text[: text.rstrip("\n").rindex("\n") + 1]


def break_header(text: str) -> str:
    return "x" + text


HARMS = [swap_lines, drop_line, break_header]


@pytest.fixture
def copied(coreml_export: Export, tmp_path: Path) -> Path:
    return Path(shutil.copytree(coreml_export.path, tmp_path / "copied"))


@pytest.fixture
def old(copied: Path) -> Path:
    """The export as mckit wrote it before: nothing is said of ``merges.txt``."""
    with edited(copied / EXPORT_FILE) as document:
        document.pop("merges_sha256", None)
    return copied


def harm_merges(folder: Path, harm: Callable[[str], str]) -> None:
    path = folder / "merges.txt"
    path.write_text(harm(path.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.mark.parametrize("harm", HARMS)
def test_changed_merges_are_refused_wherever_the_export_is_opened(copied: Path, harm: Callable[[str], str]) -> None:
    harm_merges(copied, harm)
    for open_it in (open_export, open_encoder):
        with pytest.raises(ExportError, match=r"merges\.txt was changed"):
            open_it(copied)
    with pytest.raises(ExportError, match=r"merges\.txt was changed"):
        make_bundle(copied.with_name("bundle"), copied)


def test_missing_merges_are_refused(copied: Path) -> None:
    (copied / "merges.txt").unlink()
    with pytest.raises(ExportError, match=r"merges\.txt is missing"):
        open_export(copied)


def test_a_digest_that_is_no_text_is_refused(copied: Path) -> None:
    with edited(copied / EXPORT_FILE) as document:
        document["merges_sha256"] = 5
    with pytest.raises(ExportError, match="merges_sha256 is 5; it must be a text"):
        open_export(copied)


def test_an_export_without_a_digest_of_its_merges_is_read(old: Path, tiny_model: Model) -> None:
    opened = open_export(old, check_hashes=True)
    assert opened.merges_sha256 is None
    assert all(result.passed for result in verify_export(opened, tiny_model))
    bundle = make_bundle(old.with_name("bundle"), old)
    assert open_bundle(bundle.path, check=True) == bundle


@pytest.mark.parametrize("harm", [drop_line, break_header])
def test_a_bundle_is_not_made_of_merges_that_it_would_refuse(old: Path, harm: Callable[[str], str]) -> None:
    harm_merges(old, harm)
    with pytest.raises(ExportError, match=r"merges\.txt"):
        make_bundle(old.with_name("bundle"), old)
    assert not old.with_name("bundle").exists()


def test_verification_finds_other_merges_than_the_models(old: Path, tiny_model: Model) -> None:
    """The towers are compared on the model's own identifiers, so vectors alone would not tell."""
    harm_merges(old, swap_lines)
    with pytest.raises(ExportError, match="other merges than tiny has"):
        verify_export(open_export(old, check_hashes=True), tiny_model)


def test_a_link_to_another_file_does_not_get_into_a_bundle(old: Path) -> None:
    (old / "merges.txt").rename(old.with_name("other.txt"))
    (old / "merges.txt").symlink_to(old.with_name("other.txt"))
    with pytest.raises(ExportError, match=r"merges\.txt links to another file"):
        make_bundle(old.with_name("bundle"), old)


def test_linked_merges_with_a_digest_are_what_they_should_be(copied: Path) -> None:
    """A hub's cache stores every file as a link."""
    (copied / "merges.txt").rename(copied.with_name("other.txt"))
    (copied / "merges.txt").symlink_to(copied.with_name("other.txt"))
    bundle = make_bundle(copied.with_name("bundle"), copied)
    assert not (bundle.path / "merges.txt").is_symlink()


def test_a_linked_folder_within_a_package_is_refused(copied: Path) -> None:
    (copied.with_name("other")).mkdir()
    (copied.with_name("other") / "secret").write_text("x")
    (copied / "image.mlpackage" / "more").symlink_to(copied.with_name("other"))
    with pytest.raises(ExportError, match="links to another folder"):
        make_bundle(copied.with_name("bundle"), copied)
    assert not copied.with_name("bundle").exists()
