from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mobileclip_kit.bench.evaluators import Gallery, ImageEvaluator, TeacherVectors
from mobileclip_kit.bench.models import BenchModel
from mobileclip_kit.bench.process import encode_images
from mobileclip_kit.bench.request import BenchSettings
from mobileclip_kit.bench.results import BenchReport, BenchRow
from mobileclip_kit.bench.run import run_bench
from mobileclip_kit.errors import ModelError
from tests.bench.fakes import FakeEncoder, FakeProcess, draw_images

SETTINGS = BenchSettings(threads=1, seconds=0.001, rounds=2)


def model(name: str, **facts: object) -> BenchModel:
    return BenchModel(row=BenchRow(name=name, kind="fake", **facts), model=name)  # type: ignore[arg-type]


def run(encoders: dict[str, FakeEncoder], evaluators: list[ImageEvaluator] | None = None) -> BenchReport:
    return run_bench(
        [model(name) for name in encoders],
        SETTINGS,
        evaluators or [],
        start=lambda one: FakeProcess(encoders[one.name]),  # type: ignore[arg-type, return-value]
    )


def bench(encoders: dict[str, FakeEncoder], evaluators: list[ImageEvaluator] | None = None) -> dict[str, BenchRow]:
    report = run(encoders, evaluators)
    assert [row.name for row in report.rows] == list(encoders)
    return {row.name: row for row in report.rows}


def test_a_row_has_the_promised_keys() -> None:
    row = run({"a": FakeEncoder()}).document()["rows"][0]
    assert {"name", "kind", "size_bytes", "parameters", "images_per_s", "peak_memory_bytes", "metrics"} <= set(row)
    assert {"p50", "p95"} <= set(row["latency_ms"])
    assert row["text_latency_ms"]["calls"] > 0
    assert row["images_per_s"] == max(row["images_per_s_by_batch"].values()) > 0
    assert row["failure"] is None


def test_an_image_tower_alone_has_no_text_latency() -> None:
    assert bench({"a": FakeEncoder(text=False)})["a"].text_latency_ms is None


def test_a_model_that_fails_half_way_is_a_row_with_its_reason() -> None:
    rows = bench({"good": FakeEncoder(), "tired": FakeEncoder(fail_after=10), "broken": FakeEncoder(fail_after=0)})
    assert rows["good"].failure is None and rows["good"].images_per_s > 0
    assert rows["tired"].failure == rows["broken"].failure == "The fake is tired."
    assert rows["tired"].load_ms is not None
    assert rows["broken"].load_ms is None


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(ModelError, match="None of 1 models could be measured; a: The fake is tired."):
        bench({"a": FakeEncoder(fail_after=0)})


def test_accuracy_on_images_with_captions_and_a_teacher(tmp_path: Path) -> None:
    paths = draw_images(tmp_path, 30)
    keys = tuple(path.name for path in paths)
    encoder = FakeEncoder()
    worker = FakeProcess(encoder)
    worker.ask(do="open", model="x", threads=1)
    images = encode_images(worker, paths)
    gallery = Gallery(keys, tuple(paths), ("red", "blue"), (int(images[:, 0].argmax()), int(images[:, 2].argmax())))
    teacher = TeacherVectors(
        "master", images, texts=encoder.encode_texts(["red", "blue"]), queries=np.eye(3, dtype=np.float32)
    )
    rows = bench({"both": FakeEncoder(), "image only": FakeEncoder(text=False)}, [ImageEvaluator(gallery, teacher)])
    for row in rows.values():
        assert row.metrics["map_at_10_to_20"] == row.metrics["query_overlap_at_10"] == 1
        assert row.metrics["cosine"] == pytest.approx(1, abs=1e-6)
    assert rows["both"].metrics["recall_at_1_text_to_image"] == 1
    # Without a text tower of its own it is asked with the teacher's texts.
    assert rows["image only"].metrics["recall_at_1_text_to_image"] == 1


def test_one_image_gives_no_agreement_but_a_row(tmp_path: Path) -> None:
    paths = draw_images(tmp_path, 1)
    evaluator = ImageEvaluator(Gallery(("a",), tuple(paths)), TeacherVectors("master", np.ones((1, 3), np.float32)))
    row = bench({"a": FakeEncoder()}, [evaluator])["a"]
    assert set(row.metrics) == {"cosine"}
    assert row.failure is None


def test_macs_are_shared_between_exports_of_one_model() -> None:
    class Counting(FakeProcess):
        def ask(self, **request: object) -> dict:
            if request["do"] == "macs":
                counted = {"image": 7, "text": 1} if self.counts else None
                return {"multiply_accumulates": counted}
            return super().ask(**request)

    def start(one: BenchModel) -> FakeProcess:
        process = Counting(FakeEncoder())
        process.counts = one.name == "torch"  # type: ignore[attr-defined]
        return process

    models = [model("torch", model_hash="a"), model("onnx", model_hash="a"), model("other")]
    rows = run_bench(models, SETTINGS, start=start).rows  # type: ignore[arg-type]
    assert [row.multiply_accumulates for row in rows] == [{"image": 7, "text": 1}, {"image": 7, "text": 1}, None]


def test_an_interrupted_run_keeps_what_was_measured() -> None:
    """Ctrl-C while the second model is asked for the first time: the first one's row stays."""

    class Interrupting(FakeEncoder):
        def encode_texts(self, texts: object) -> np.ndarray:
            if self.calls > 4:
                raise KeyboardInterrupt
            return super().encode_texts(texts)  # type: ignore[arg-type]

    encoders = {"a": Interrupting(), "index only": FakeEncoder()}
    report = run_bench(
        [model(name) for name in encoders],
        SETTINGS,
        start=lambda one: FakeProcess(encoders[one.name]),  # type: ignore[arg-type, return-value]
    )
    assert report.interrupted
    assert all(row.latency_ms for row in report.rows)
    assert all(row.images_per_s is None for row in report.rows)


def test_every_model_is_held_against_the_first_one() -> None:
    rows = bench({"a": FakeEncoder(), "b": FakeEncoder()})
    assert rows["a"].latency_ms_to_first is None
    ratio = rows["b"].latency_ms_to_first
    assert ratio.model == "a" and ratio.low <= ratio.ratio <= ratio.high


def test_an_interrupt_within_a_phase_keeps_its_finished_turns() -> None:
    """Ctrl-C in the second round: the first round's latencies stand, with no spread."""

    class Stopping(FakeProcess):
        turns = 0

        def ask(self, **request: object) -> dict:
            if request["do"] == "calls":
                self.turns += 1
                if self.turns == SETTINGS.rounds:
                    raise KeyboardInterrupt
            return super().ask(**request)

    report = run_bench(
        [model("a")],
        SETTINGS,
        start=lambda _: Stopping(FakeEncoder()),  # type: ignore[arg-type, return-value]
    )
    (row,) = report.rows
    assert report.interrupted and row.failure is None
    assert row.latency_ms.rounds == 1 and row.latency_ms.p50_low is None
