"""One job on many machines: shards, and a Ray cluster of three nodes of which one is killed."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import warnings
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mobileclip_kit.cache.folder import TeacherCache
from mobileclip_kit.cache.writer import CacheWriter
from mobileclip_kit.cli.cache import command as cache_command
from mobileclip_kit.cluster import check_cluster, part_of, run_on_cluster
from mobileclip_kit.distillation.caching import CacheRequest, make_caches, merge_caches
from mobileclip_kit.errors import ClusterError, DataError, ModelMismatchError, OutputError, UsageError
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.index.folder import IndexReader
from mobileclip_kit.indexing import update
from mobileclip_kit.indexing.distributed import EncodedPart, PartEncoder, encode_on_cluster
from mobileclip_kit.indexing.options import IndexOptions
from mobileclip_kit.runtime.open import open_encoder

IMAGES = 120


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes of one processor each, as processes of this machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        from ray.cluster_utils import Cluster

        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        nodes.spare = [nodes.add_node(num_cpus=1) for _ in range(2)]
        yield nodes
        nodes.shutdown()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(IMAGES):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "copy.png").write_bytes((folder / "000.png").read_bytes())
    return folder


def vectors_of(index: Path) -> dict[str, np.ndarray]:
    with IndexReader(index) as reader:
        assert reader.matrix.shape[0] == IMAGES + 1  # nothing doubled
        return {item.name: np.array(reader.matrix[item.row]) for item in reader.store.items() if item.row is not None}


def test_a_cluster_that_loses_a_machine_makes_the_index_that_one_process_makes(
    cluster: Any, photos: Path, onnx_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobileclip_kit.indexing.distributed._PART_ITEMS", 4)
    encoder = open_encoder(onnx_export.path)
    update.update_index(photos, encoder, tmp_path / "one")
    lost: list[Any] = []

    def lose_a_node(*given: Any, **options: Any) -> Generator[EncodedPart]:
        for part in encode_on_cluster(*given, **options):
            if not lost:
                lost.append(cluster.spare.pop())
                cluster.remove_node(lost[0], allow_graceful=False)
            yield part

    monkeypatch.setattr(update, "encode_on_cluster", lose_a_node)
    # By its URL here, so that the machines read through fsspec.
    report = update.update_index(f"file://{photos}", encoder, tmp_path / "many", IndexOptions(ray=cluster.address))
    assert lost and (report.added, [item.name for item in report.failed]) == (IMAGES + 1, ["broken.png"])
    one, many = vectors_of(tmp_path / "one"), vectors_of(tmp_path / "many")
    assert one.keys() == many.keys()
    np.testing.assert_allclose([many[name] for name in one], [one[name] for name in one], atol=1e-6)
    again = update.update_index(f"file://{photos}", encoder, tmp_path / "many", IndexOptions(ray=cluster.address))
    assert (again.added, again.unchanged) == (0, IMAGES + 1)


def test_errors_of_workers_arrive_as_they_were_raised(cluster: Any, onnx_export: Export, tmp_path: Path) -> None:
    work = PartEncoder(images=tmp_path / "gone", model=str(onnx_export.path), model_hash="")
    with pytest.raises(DataError, match="gone is not on the cluster's machine") as caught:
        list(run_on_cluster(work, [[]], cluster.address))
    assert caught.value.hint == "Every machine must see the images under the same path."


def test_a_part_that_kills_every_process_is_an_error_and_not_a_loop(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobileclip_kit.cluster._TRIES", 1)
    with pytest.raises(ClusterError, match="was lost 2 times"):
        list(run_on_cluster(os._exit, [1], cluster.address))


def test_a_cluster_that_shrinks_below_the_parts_that_it_computes_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    processors = iter([4, 1, 1, 1, 1, 1, 1])
    ray = SimpleNamespace(
        nodes=list,
        put=lambda work: work,
        remote=lambda **options: lambda work_on: SimpleNamespace(remote=work_on),
        cluster_resources=lambda: {"CPU": next(processors)},
        wait=lambda running, num_returns: (running[:1], running[1:]),
        get=lambda done: done,
    )
    monkeypatch.setattr("mobileclip_kit.cluster._connected", lambda address: contextlib.nullcontext(ray))
    assert sorted(run_on_cluster(len, ["a" * length for length in range(6)], "local")) == [0, 1, 2, 3, 4, 5]


def test_a_gpu_computes_parts_with_the_processors_of_its_own_machine(cluster: Any) -> None:
    with pytest.raises(ClusterError, match="has no GPU"):
        list(run_on_cluster(len, [[1]], cluster.address, device="cuda"))
    node = cluster.add_node(num_cpus=1, num_gpus=1)  # of two or more processors
    try:
        assert list(run_on_cluster(len, [[1], [1, 2]], cluster.address, device="cuda")) in ([1, 2], [2, 1])
        assert list(run_on_cluster(os.getenv, ["CUDA_VISIBLE_DEVICES"], cluster.address, device="auto")) == ["0"]
    finally:
        cluster.remove_node(node)


def test_workers_compute_where_the_encoder_does(onnx_export: Export, tmp_path: Path, monkeypatch: Any) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("mobileclip_kit.indexing.distributed.run_on_cluster",
                        lambda work, parts, address, device: asked.append((work.device, device)))  # fmt: skip
    encoder = open_encoder(onnx_export.path)
    for device in ("cuda:1", "auto", "cpu"):
        monkeypatch.setattr(type(encoder), "device", device)
        encode_on_cluster([], tmp_path, encoder, "local", batch_size=1, draft=True)
    assert asked == [("cuda", "cuda"), ("auto", "auto"), (None, "cpu")]


def test_a_machine_with_another_model_is_refused(onnx_export: Export, tmp_path: Path) -> None:
    work = PartEncoder(images=tmp_path, model=str(onnx_export.path), model_hash="another")
    with pytest.raises(ModelMismatchError):
        work([])


@pytest.mark.parametrize("address", ["photos", "host:", ":6379", "host:0", "host:99999", "host:x"])
def test_what_is_no_address_is_refused_before_anything_is_loaded(address: str) -> None:
    with pytest.raises(UsageError, match="not the address of a Ray cluster"):
        check_cluster(address)


def test_an_address_at_which_nobody_answers_is_one_sentence() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ClusterError, match=f"No Ray cluster answers at 127.0.0.1:{port}: Connection refused"):
        check_cluster(f"127.0.0.1:{port}")


def test_a_server_that_is_not_rays_is_one_sentence_and_not_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobileclip_kit.cluster._ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"What answers at {address} is no Ray cluster"):
            check_cluster(address)
        silent.accept()[0].close()

        def answer() -> None:
            with silent.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        web = threading.Thread(target=answer)
        web.start()
        with pytest.raises(ClusterError, match="is no Ray cluster"):
            check_cluster(f"ray://{address}")
        web.join()


def test_shards_of_a_cache_are_merged_into_the_cache_of_one_run(photos: Path, tiny_model_folder: Path,
                                                                tmp_path: Path) -> None:  # fmt: skip
    (tmp_path / "bank.txt").write_text("a dog\n", encoding="utf-8")

    def cache(out: str, shard: str | None = None) -> Path:
        request = CacheRequest(teachers=(str(tiny_model_folder),), data=photos, out=tmp_path / out, shard=shard,
                               bank=tmp_path / "bank.txt")  # fmt: skip
        make_caches(request)
        return tmp_path / out

    parts = [cache("part1", "1/2"), cache("part2", "2/2")]
    report = merge_caches(parts, tmp_path / "merged")
    whole, merged = TeacherCache.open(cache("whole")), TeacherCache.open(tmp_path / "merged")
    assert report.items == len(whole) and sorted(merged.keys) == sorted(whole.keys)
    assert dict(zip(merged.keys, merged.hashes, strict=True)) == dict(zip(whole.keys, whole.hashes, strict=True))
    # float16 storage; a batch of another size may round otherwise.
    np.testing.assert_allclose(merged.vectors(whole.keys), whole.vectors(whole.keys), atol=2e-3)
    assert TeacherCache.open(tmp_path / "merged" / "texts").keys == ["a dog"]
    assert {part_of(key, 2) for key in TeacherCache.open(parts[0]).keys} == {1}
    assert report.missing == [] and merged.description.parts == whole.description.parts == ()
    assert merge_caches([parts[1]], tmp_path / "half").missing == ["1/2"]
    assert merge_caches([tmp_path / "half", parts[0]], tmp_path / "both").missing == []
    assert merge_caches([parts[1], tmp_path / "whole"], tmp_path / "all").missing == []
    said = CliRunner().invoke(cache_command, ["merge", str(parts[0]), "-o", str(tmp_path / "some")])
    assert f"warning: {tmp_path / 'some'} lacks these parts: 2/2." in said.output
    with pytest.raises(OutputError, match="is one of the caches"):
        merge_caches(parts, parts[0], force=True)
    with pytest.raises(OutputError):
        merge_caches(parts, tmp_path / "merged")


def test_caches_of_different_teachers_are_not_merged(photos: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    make_caches(CacheRequest(teachers=(str(tiny_model_folder),), data=photos, out=tmp_path / "a", limit=2))
    description = replace(TeacherCache.open(tmp_path / "a").description, teacher_hash="0", teacher_weights="1")
    with CacheWriter(tmp_path / "b", description):
        pass
    with pytest.raises(ModelMismatchError):
        merge_caches([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_cache_of_a_cluster_is_that_of_one_process(
    photos: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Workers that import torch take seconds each; what is sent to them and what becomes of it is the same here.
    monkeypatch.setattr("mobileclip_kit.distillation.caching.check_cluster", lambda address: None)
    monkeypatch.setattr("mobileclip_kit.distillation.caching.run_on_cluster",
                        lambda work, parts, address, device: (work(part) for part in parts))  # fmt: skip
    monkeypatch.setattr("mobileclip_kit.distillation.caching._PART_ITEMS", 50)
    request = {"teachers": (str(tiny_model_folder),), "data": photos, "recipe": "lightclip", "views": 2}
    (one,), _ = make_caches(CacheRequest(**request, out=tmp_path / "one"))
    (many,), _ = make_caches(CacheRequest(**request, out=tmp_path / "many", ray="auto"))
    assert [skip.item for skip in many.failed] == [skip.item for skip in one.failed] == ["broken.png"]
    here, there = TeacherCache.open(tmp_path / "one"), TeacherCache.open(tmp_path / "many")
    assert here.description == there.description and sorted(here.keys) == sorted(there.keys)
    np.testing.assert_allclose(there.vectors(here.keys), here.vectors(here.keys), atol=2e-3)
