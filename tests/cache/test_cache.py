"""Teacher caches: round trips, extending, import, damage."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mobileclip_kit.cache.build import build_cache, import_vectors
from mobileclip_kit.cache.folder import CACHE_FILE, CacheDescription, TeacherCache
from mobileclip_kit.cache.writer import CacheWriter, cache_place
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distillation.caching import merge_caches
from mobileclip_kit.errors import CacheError, DataError, ModelMismatchError, OutputError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.images import load_pixels, normalize
from mobileclip_kit.networks.families import encode_raw
from mobileclip_kit.networks.model import Model, build_network, describe
from mobileclip_kit.spec import ImageSpec

TINY: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 600, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": ImageSpec(height=32, width=32).to_open_clip(),
}
DESCRIPTION = CacheDescription(teacher="t", teacher_hash=None, embedding_dim=4, normalized=False)
# Half of float16's last place, relative: 11 significant bits.
FLOAT16 = 2.0**-11


def tiny_teacher(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    network = build_network(TINY["model_cfg"])
    return Model(network, TINY, describe("tiny", network, TINY))


def draw(folder: Path, count: int, start: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(start, start + count):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


def write_vectors(folder: Path, vectors: NDArray[Any], names: Sequence[str]) -> dict[str, Path]:
    np.save(folder / "v.npy", vectors)
    (folder / "names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return {"vectors": folder / "v.npy", "names": folder / "names.txt"}


def random_vectors(count: int, dim: int = 4) -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(size=(count, dim)).astype(np.float32) * 3


def test_writer_round_trip_over_several_shards(tmp_path: Path) -> None:
    vectors = random_vectors(10)[:, None, :]
    keys = [f"a/{row} 猫 \udcff.jpg" for row in range(10)]
    hashes = [f"{row:064x}" for row in range(10)]
    with CacheWriter(tmp_path / "c", DESCRIPTION, shard_items=4) as writer:
        for start in range(0, 10, 2):
            writer.add(keys[start : start + 2], hashes[start : start + 2], vectors[start : start + 2])
    cache = TeacherCache.open(tmp_path / "c")
    assert cache.keys == keys
    assert cache.hashes == hashes
    assert len(cache.shards) == 3
    order = [7, 0, 9]
    np.testing.assert_allclose(cache.vectors([keys[row] for row in order]), vectors[order], rtol=FLOAT16)
    assert cache.rows_by_content()[hashes[5]] == 5


def test_norms_are_kept(tmp_path: Path) -> None:
    vectors = random_vectors(3)
    with CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        writer.add(list("abc"), list("xyz"), vectors[:, None, :])
    kept = TeacherCache.open(tmp_path / "c").vectors(list("abc"))[:, 0]
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), np.linalg.norm(vectors, axis=1), rtol=FLOAT16)


def test_changed_image_takes_its_new_vector(tmp_path: Path) -> None:
    for sha256, value in (("old", 1.0), ("new", 2.0)):
        with CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
            writer.add(["a"], [sha256], np.full((1, 1, 4), value, np.float32))
    cache = TeacherCache.open(tmp_path / "c")
    assert cache.keys == ["a"] and cache.hashes == ["new"]
    assert cache.vectors(["a"])[0, 0, 0] == 2.0


def test_interruption_keeps_what_was_added(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        writer.add(["a"], ["x"], np.ones((1, 1, 4), np.float32))
        raise KeyboardInterrupt
    assert TeacherCache.open(tmp_path / "c").keys == ["a"]


def test_a_second_writer_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    """Each would list its own shards alone, and the last one to finish would win."""
    code = (  # which imports no torch
        "from pathlib import Path; import sys\n"
        "from mobileclip_kit.cache.folder import CacheDescription\n"
        "from mobileclip_kit.cache.writer import CacheWriter\n"
        f"with CacheWriter(Path(sys.argv[1]), {DESCRIPTION!r}): pass"
    )

    def second() -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-c", code, str(tmp_path / "c")]
        return subprocess.run(call, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)

    with CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        done = second()
        assert done.returncode != 0
        assert "CacheError: Another process is writing the cache" in done.stderr
        with pytest.raises(CacheError, match="Another process is writing the cache .*c. Wait until it is done"):
            CacheWriter(tmp_path / "c", DESCRIPTION)
        writer.add(["a"], ["x"], np.ones((1, 1, 4), np.float32))
    assert second().returncode == 0
    assert TeacherCache.open(tmp_path / "c").keys == ["a"]


def test_the_lock_ends_with_a_writer_that_fails(tmp_path: Path) -> None:
    with CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        writer.add(["a"], ["x"], np.ones((1, 1, 4), np.float32))
    with pytest.raises(ModelMismatchError):
        CacheWriter(tmp_path / "c", replace(DESCRIPTION, teacher="other"))
    with pytest.raises(KeyboardInterrupt), CacheWriter(tmp_path / "c", DESCRIPTION):
        raise KeyboardInterrupt
    with CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        assert writer.holds("a", "x")


def test_shard_without_its_listing_is_not_there(tmp_path: Path) -> None:
    """A kill between a shard's files and cache.json costs the shard, nothing else."""
    with CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        writer.add(["a"], ["x"], np.ones((1, 1, 4), np.float32))
    (tmp_path / "c" / "shards" / "00001.npy").write_bytes(b"half")
    assert TeacherCache.open(tmp_path / "c").keys == ["a"]
    with CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        writer.add(["b"], ["y"], np.ones((1, 1, 4), np.float32))
    assert TeacherCache.open(tmp_path / "c").keys == ["a", "b"]


@pytest.mark.parametrize("value", [np.nan, np.inf, 70_000.0])
def test_vectors_that_float16_cannot_hold_are_refused(tmp_path: Path, value: float) -> None:
    vectors = np.ones((2, 1, 4), np.float32)
    vectors[1, 0, 2] = value
    with pytest.raises(CacheError, match="vector of b"), CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        writer.add(["a", "b"], ["x", "y"], vectors)


@pytest.mark.parametrize("file", ["00000.npy", "00000.jsonl"])
@pytest.mark.parametrize("damage", ["gone", "short", "altered"])
def test_damage_is_noticed(tmp_path: Path, file: str, damage: str) -> None:
    with CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        writer.add(["a"], ["x"], np.ones((1, 1, 4), np.float32))
    path = tmp_path / "c" / "shards" / file
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-3] if damage == "short" else data[:-1] + b"\x55")
    with pytest.raises(CacheError, match=file):
        TeacherCache.open(tmp_path / "c")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "not valid JSON"),
        ('{"format_version": 99}', "format version 99"),
        ('{"format_version": 1}', "cache.json has no teacher"),
        (
            '{"format_version": 1, "teacher": "a", "teacher_hash": null, "embedding_dim": 4, "normalized": true, '
            '"items": 0, "shards": [], "logit_scale": 0.0}',
            "cache.json: logit_scale is 0; it must be above 0",
        ),
    ],
)
def test_unreadable_description_is_refused(tmp_path: Path, document: str, message: str) -> None:
    (tmp_path / CACHE_FILE).write_text(document)
    with pytest.raises(CacheError, match=message):
        TeacherCache.open(tmp_path)


def refused_at(path: Path) -> None:
    with pytest.raises(OutputError):
        CacheWriter(path, DESCRIPTION)
    with pytest.raises(OutputError), cache_place(path, {}, force=True):
        pass


def test_other_folders_are_not_caches(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="is not a teacher cache"):
        TeacherCache.open(tmp_path)
    (tmp_path / "photo.jpg").touch()
    refused_at(tmp_path)
    assert (tmp_path / "photo.jpg").exists()


def test_teachers_are_not_mixed(tmp_path: Path) -> None:
    with CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        writer.add(["a"], ["x"], np.ones((1, 1, 4), np.float32))
    with pytest.raises(ModelMismatchError, match="teacher t, not other"):
        CacheWriter(tmp_path / "c", replace(DESCRIPTION, teacher="other"))
    with pytest.raises(ModelMismatchError, match="has preprocessing None, not ImageSpec"):
        CacheWriter(tmp_path / "c", replace(DESCRIPTION, preprocessing=ImageSpec(height=32, width=32)))


def test_import_matches_rows_with_images(tmp_path: Path) -> None:
    images = draw(tmp_path / "images", 3)
    vectors = random_vectors(4)
    given = write_vectors(tmp_path, vectors, ["02.png", "gone.png", "00.png", "01.png"])
    report = import_vectors(images, out=tmp_path / "c", **given)
    cache = TeacherCache.open(tmp_path / "c")
    assert (report.items, report.added, [skip.item for skip in report.failed]) == (3, 3, ["gone.png"])
    np.testing.assert_allclose(cache.vectors(["02.png", "01.png"])[:, 0], vectors[[0, 3]], rtol=FLOAT16)
    assert cache.hashes[0] == sha256_of_file(images / "02.png")
    assert not cache.description.normalized
    assert import_vectors(images, out=tmp_path / "c", **given).added == 0


def test_a_corrected_matrix_replaces_the_vectors_that_changed(tmp_path: Path) -> None:
    images, vectors = draw(tmp_path / "images", 3), random_vectors(3)
    given = write_vectors(tmp_path, vectors, ["00.png", "01.png", "02.png"])
    import_vectors(images, out=tmp_path / "c", teacher="t", **given)
    given = write_vectors(tmp_path, vectors[[0, 2, 1]], ["00.png", "01.png", "02.png"])
    report = import_vectors(images, out=tmp_path / "c", teacher="t", **given)
    assert (report.items, report.added) == (3, 2)
    found = TeacherCache.open(tmp_path / "c").vectors(["00.png", "01.png", "02.png"])[:, 0]
    np.testing.assert_allclose(found, vectors[[0, 2, 1]], rtol=FLOAT16)


def test_an_image_under_two_names_has_the_vector_that_came_last(tmp_path: Path) -> None:
    images, vectors = draw(tmp_path / "images", 1), random_vectors(3)
    (images / "copy.png").write_bytes((images / "00.png").read_bytes())
    for row, name in ((0, "00.png"), (1, "copy.png"), (2, "00.png"), (1, "copy.png"), (0, "00.png")):
        import_vectors(images, out=tmp_path / "c", teacher="t", **write_vectors(tmp_path, vectors[[row]], [name]))
        merge_caches([tmp_path / "c"], tmp_path / "merged", force=True)
        for cache in (TeacherCache.open(tmp_path / "c"), TeacherCache.open(tmp_path / "merged")):
            [place] = cache.rows_by_content().values()
            np.testing.assert_allclose(cache.vectors_at([place])[0, 0], vectors[row], rtol=FLOAT16)


def test_a_changed_vector_is_replaced_once(tmp_path: Path) -> None:
    """A caption that many images share comes many times."""
    for values, added in (((1.0,), 1), ((2.0, 2.0, 3.0), 1), ((2.0, 3.0), 0), ((2.0,), 0)):
        with CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
            vectors = [np.full((1, 1, 4), value, np.float32) for value in values]
            assert sum(writer.add_fresh(["a"], ["x"], vector) for vector in vectors) == added
        assert (TeacherCache.open(tmp_path / "c").vectors(["a"]) == values[0]).all(), "the first one counts"


def test_import_recognises_unit_vectors(tmp_path: Path) -> None:
    vectors = random_vectors(2)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    given = write_vectors(tmp_path, vectors.astype(np.float16), ["00.png", "01.png"])
    import_vectors(draw(tmp_path / "images", 2), out=tmp_path / "c", teacher="CLIP", **given)
    description = TeacherCache.open(tmp_path / "c").description
    assert description.normalized and description.teacher == "CLIP"


@pytest.mark.parametrize(
    ("names", "value", "message"),
    [
        (["00.png"], 1.0, "1 name, but .* 2 rows"),
        (["00.png", "00.png"], 1.0, "'00.png' on the lines 1 and 2"),
        (["00.png", "01.png"], np.nan, "vector of 01.png, is not finite"),
        (["x.png", "y.png"], 1.0, "None of the 2 images"),
        (["00.png", "../01.png"], 1.0, "'../01.png' on line 2, which leads out"),
        (["00.png", "/01.png"], 1.0, "'/01.png' on line 2, which leads out"),
    ],
)
def test_import_refuses(tmp_path: Path, names: list[str], value: float, message: str) -> None:
    vectors = np.ones((2, 4), np.float32)
    vectors[1, 0] = value
    given = write_vectors(tmp_path, vectors, names)
    with pytest.raises(DataError, match=message):
        import_vectors(draw(tmp_path / "images", 2), out=tmp_path / "c", **given)
    assert not (tmp_path / "c").exists()


def test_live_teacher_equals_its_network(tmp_path: Path) -> None:
    images = draw(tmp_path / "images", 5)
    (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    teacher = tiny_teacher()
    report = build_cache(teacher, open_source(images), tmp_path / "c", batch_size=2)
    assert (report.items, report.added) == (5, 5)
    assert [skip.item for skip in report.failed] == ["broken.png"]
    cache = TeacherCache.open(tmp_path / "c")
    spec = teacher.spec.require_image()
    pixels = np.stack([load_pixels(images / key, spec) for key in cache.keys])
    with torch.no_grad():
        expected = encode_raw(teacher.network, torch.from_numpy(normalize(pixels, spec))).numpy()
    # float16 storage, and batches of another size may be summed in another order.
    np.testing.assert_allclose(cache.vectors(cache.keys)[:, 0], expected, rtol=2e-3, atol=2e-3)
    assert cache.description.teacher_hash == teacher.spec.model_hash
    assert cache.description.preprocessing == spec


def test_cache_is_extended_not_rebuilt(tmp_path: Path) -> None:
    images = draw(tmp_path / "images", 3)
    build_cache(tiny_teacher(), open_source(images), tmp_path / "c")
    first = (tmp_path / "c" / "shards" / "00000.npy").stat().st_mtime_ns
    report = build_cache(tiny_teacher(), open_source(draw(images, 2, start=3)), tmp_path / "c")
    assert (report.items, report.added) == (5, 2)
    assert (tmp_path / "c" / "shards" / "00000.npy").stat().st_mtime_ns == first
    with pytest.raises(ModelMismatchError, match="teacher_hash"):
        build_cache(tiny_teacher(seed=1), open_source(images), tmp_path / "c")


def test_renamed_images_are_not_asked_again(tmp_path: Path) -> None:
    images = draw(tmp_path / "images", 3)
    build_cache(tiny_teacher(), open_source(images), tmp_path / "c")
    (images / "00.png").rename(images / "new.png")
    report = build_cache(tiny_teacher(), open_source(images), tmp_path / "c")
    assert (report.items, report.added) == (3, 0)


def test_a_renamed_image_whose_name_another_one_took_keeps_its_vector(tmp_path: Path) -> None:
    images = draw(tmp_path / "images", 3)
    build_cache(tiny_teacher(), open_source(images), tmp_path / "c")
    (images / "00.png").rename(images / "new.png")
    draw(tmp_path / "other", 1, start=7)
    (tmp_path / "other" / "07.png").rename(images / "00.png")
    build_cache(tiny_teacher(), open_source(images), tmp_path / "c")
    assert {sha256_of_file(path) for path in images.iterdir()} == set(TeacherCache.open(tmp_path / "c").hashes)


@pytest.mark.parametrize(
    "left",
    [
        ["writer.lock", "writer.lock-journal"],
        ["shards/"],
        ["shards/00000.npy", "shards/.00000.jsonl.ab12.part", f".{CACHE_FILE}.x1.part"],
    ],
)
def test_what_a_killed_writer_began_is_begun_again(tmp_path: Path, left: list[str]) -> None:
    """Killed before the first cache.json was there."""
    for name in left:
        place = tmp_path / "c" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(parents=True) if name.endswith("/") else place.touch()
    with CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        writer.add(["a"], ["x"], np.ones((1, 1, 4), np.float32))
    assert TeacherCache.open(tmp_path / "c").keys == ["a"]


def test_the_writers_lock_is_one_file(tmp_path: Path) -> None:
    """A journal beside it would be left by a kill, and was taken for something of somebody else's."""
    with CacheWriter(tmp_path / "c", DESCRIPTION):
        assert not list((tmp_path / "c").glob("*-journal"))


def test_shards_of_somebody_else_are_not_taken_for_a_caches(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00000.tar").touch()
    refused_at(tmp_path)
    assert (tmp_path / "shards" / "00000.tar").exists()


def test_no_usable_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="No image could be used"):
        build_cache(tiny_teacher(), open_source(tmp_path / "images"), tmp_path / "c")


def test_a_full_disk_names_the_file_and_keeps_what_was_there(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: both reach numpy as a failed write."""
    resource = pytest.importorskip("resource")
    with CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        writer.add(["a"], ["x"], np.ones((1, 1, 4), np.float32))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError) as caught, CacheWriter(tmp_path / "c", DESCRIPTION) as writer:
        writer.add([f"{row}" for row in range(5000)], ["y"] * 5000, np.ones((5000, 1, 4), np.float32))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        try:
            writer.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            writer._keys = []
    assert caught.value.errno == errno.EFBIG and ".00001.npy." in caught.value.filename
    assert TeacherCache.open(tmp_path / "c").keys == ["a"]


def test_description_survives_json(tmp_path: Path) -> None:
    full = replace(DESCRIPTION, preprocessing=ImageSpec(), logit_scale=50.0, augmentation={"flip": 0.5}, views=2)
    with CacheWriter(tmp_path / "c", full):
        pass
    assert TeacherCache.open(tmp_path / "c").description == full
