"""The mixture's terms, and its gradient when a batch is cut or shared by processes."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mobileclip_kit.distillation.captions import RunTexts
from mobileclip_kit.distillation.distributed import DistributedContext, backward_whole_batch, check_batch
from mobileclip_kit.distillation.mixture import MixtureObjective
from mobileclip_kit.distillation.objective import Batch, StepContext
from mobileclip_kit.distillation.student import set_logit_scale
from mobileclip_kit.distillation.tables import MixtureOptions
from mobileclip_kit.distillation.teachers import TeacherTargets, lookup_in, stored_targets
from mobileclip_kit.errors import UsageError
from mobileclip_kit.losses.affinity import affinity_logits, affinity_loss, sigmoid_affinity_loss
from mobileclip_kit.losses.feature import kld_l1_loss
from mobileclip_kit.losses.neighbours import neighbour_loss
from tests.cache.test_cache import tiny_teacher

IMAGES, BATCH, WIDTH = 8, 6, 16
CONTEXT = StepContext(step=2, steps=10, epoch=0, seed=0)
ROWS = np.array([5, 0, 3, 7, 1, 2])
BANK = ["cat", "dog", "house", "tree", "car"]
EVERYTHING = MixtureOptions(
    kld_l1=1.0, mse=0.3, cosine=0.2, affinity=0.7, neighbours=0.4, contrastive=0.5, neighbours_bank=4, softened=True,
    smoothing_from=0.0, bank_sample=3, both_captions=True,
)  # fmt: skip
# Sums in another order: the only difference between a whole batch and one that was put together.
SAME = {"rtol": 1e-5, "atol": 1e-5}


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def texts(bank: bool = True) -> RunTexts:
    return RunTexts.collect([(f"image {row}", f"photo {row}") for row in range(IMAGES)], BANK if bank else [])


def side(width: int, seed: int, scale: float, known: RunTexts) -> TeacherTargets:
    lookup = lookup_in(4 * numbers(IMAGES, 1, width, seed=seed))
    return TeacherTargets(stored_targets(lookup), lookup, 3 * numbers(len(known.texts), width, seed=seed + 1), scale)


def objective(options: MixtureOptions, *, known: RunTexts | None = None, towers: tuple[str, ...] = ("image", "text"),
              sides: list[TeacherTargets] | None = None, scale: float = 20.0) -> MixtureObjective:  # fmt: skip
    known = known or texts()
    tokens = torch.randint(1, 500, (len(known.texts), 8), generator=torch.Generator().manual_seed(9))
    tokens[:, -1] = 599  # the end token has the greatest identifier
    sides = sides or [side(WIDTH, 10, scale, known), side(24, 20, 50.0, known)]
    network = tiny_teacher().network.train()
    set_logit_scale(network, scale)
    return MixtureObjective(network, options, sides, images=IMAGES, texts=known,
                            towers=towers, tokens=tokens)  # fmt: skip


def batch(rows: Any = ROWS) -> Batch:
    images = numbers(IMAGES, 3, 32, 32, seed=3)
    return Batch(rows, images[torch.from_numpy(rows)], CONTEXT)


def gradients(made: MixtureObjective) -> dict[str, Tensor]:
    return {name: p.grad for name, p in made.network.named_parameters() if p.grad is not None}


def whole_gradient(options: MixtureOptions = EVERYTHING) -> tuple[float, dict[str, Tensor]]:
    made = objective(options)
    loss, _ = made.loss(batch())
    loss.backward()
    return float(loss.detach()), gradients(made)


def test_each_term_is_its_loss() -> None:
    known = texts()
    one = [side(WIDTH, 10, 20.0, known)]
    given = batch()
    images, labels = one[0].images(given), one[0].texts[known.bank]  # type: ignore[misc,index]
    student = tiny_teacher().network.encode_image(given.images)  # type: ignore[operator]

    def term(**options: float) -> Tensor:
        return objective(MixtureOptions(**options), towers=("image",), sides=one).loss(given)[0]  # type: ignore[arg-type]

    torch.testing.assert_close(term(kld_l1=1.0), kld_l1_loss(student, images, 4.0))
    torch.testing.assert_close(term(affinity=1.0), affinity_loss(student, labels, images, labels, 20.0, 20.0))
    same = torch.eye(BATCH, dtype=torch.bool)
    torch.testing.assert_close(term(neighbours=1.0), neighbour_loss(student, images, images, 30.0, same))
    torch.testing.assert_close(term(kld_l1=0.25, affinity=2.0), 0.25 * term(kld_l1=1.0) + 2.0 * term(affinity=1.0))


def test_affinities_at_a_chosen_scale_and_a_scale_for_each_teacher() -> None:
    known, given = texts(), batch()
    sides = [side(WIDTH, 10, 20.0, known), side(24, 20, 50.0, known)]
    images, labels = sides[0].images(given), sides[0].texts[known.bank]  # type: ignore[misc,index]
    student = tiny_teacher().network.encode_image(given.images)  # type: ignore[operator]

    def term(count: int, **options: Any) -> Tensor:
        made = objective(MixtureOptions(affinity=1.0, **options), towers=("image",), sides=sides[:count])
        return made.loss(given)[0]

    torch.testing.assert_close(term(1, affinity_scale=50.0), affinity_loss(student, labels, images, labels, 50.0, 50.0))
    torch.testing.assert_close(
        term(1, teacher_scales=(7.0,)), affinity_loss(student, labels, images, labels, 20.0, 7.0)
    )
    torch.testing.assert_close(term(2, teacher_scales=(20.0, 50.0)), term(2))
    assert not torch.allclose(term(2, teacher_scales=(70.0, 60.0)), term(2))


def test_a_step_sees_the_first_caption_of_an_image_and_another_one() -> None:
    """MobileCLIP: the real caption and a synthetic one, and the mean of both losses."""
    known, given = texts(bank=False), batch()
    one = [side(WIDTH, 10, 20.0, known)]
    made = objective(MixtureOptions(affinity=1.0, both_captions=True), known=known, towers=("image",), sides=one)
    images, student = one[0].images(given), tiny_teacher().network.encode_image(given.images)  # type: ignore[misc,operator]
    labels = [one[0].texts[[known.captions[row][place] for row in ROWS]] for place in (0, 1)]  # type: ignore[index]
    losses = [affinity_loss(student, each, images, each, 20.0, 20.0) for each in labels]
    torch.testing.assert_close(made.loss(given)[0], torch.stack(losses).mean())
    alone = RunTexts.collect([("one",), ("first", "second", "third")], [])
    drawn = {tuple(alone.caption_rows(np.arange(2), seed=0, epoch=epoch, which="others")) for epoch in range(20)}
    assert drawn == {(0, 2), (0, 3)}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"affinity": 1.0, "affinity_scale": 0.0}, "affinity_scale is 0.0; it must be above 0"),
     ({"affinity": 1.0, "teacher_scales": (70.0, -1.0)}, r"teacher_scales is \[70.0, -1.0\]; it must be above 0"),
     ({"affinity": 1.0, "affinity_scale": 50.0, "teacher_scales": (50.0,)}, "choose one"),
     ({"cosine": 1.0, "affinity_scale": 50.0}, "need an affinity above 0")],
)  # fmt: skip
def test_scales_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MixtureOptions(**options)


def test_only_the_asked_towers_are_trained() -> None:
    made = objective(replace(EVERYTHING, learn_scale=False), towers=("image",))
    made.loss(batch())[0].backward()
    assert {name.split(".")[0] for name in gradients(made)} == {"visual"}
    made = objective(MixtureOptions(affinity=1.0, kld_l1=1.0), towers=("text",))
    made.loss(batch())[0].backward()
    assert not any(name.startswith("visual.") for name in gradients(made))
    assert "logit_scale" in gradients(made) and "token_embedding.weight" in gradients(made)


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(micro_batch: int) -> None:
    """GradCache: the affinity still compares every image with the whole batch."""
    value, expected = whole_gradient()
    made = objective(EVERYTHING)
    parts = [batch(ROWS[start : start + micro_batch]) for start in range(0, BATCH, micro_batch)]
    loss, _, _ = backward_whole_batch(
        made, parts, CONTEXT, processes=DistributedContext(), share=BATCH, stop=False, autocast=nullcontext(),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
    )  # fmt: skip
    assert loss == pytest.approx(value, rel=1e-6)
    torch.testing.assert_close(gradients(made), expected, **SAME)


RANK = """
import sys
from contextlib import nullcontext

import torch

from mobileclip_kit.distillation.distributed import backward_whole_batch, cut, open_context, sum_gradients
from tests.distillation.test_mixture import EVERYTHING, CONTEXT, ROWS, batch, gradients, objective

processes, found = open_context("cpu"), {}
for name, without_last, micro_batch in (("whole", None, 2), ("missing", 0, None)):
    made = objective(EVERYTHING)
    rows = processes.share(ROWS)
    rows = rows[:-1] if processes.index == without_last else rows  # an image that could not be decoded
    parts = [batch(rows[part]) for part in cut(rows, micro_batch)]
    loss, log, stop = backward_whole_batch(
        made, parts, CONTEXT, processes=processes, share=3, stop=processes.index == 1, autocast=nullcontext(),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
    )
    sum_gradients(dict(made.network.named_parameters()), made.modules(), processes)
    found[name] = {"loss": loss, "stop": stop, "gradients": gradients(made)}
if processes.is_first:
    torch.save(found, sys.argv[1])
"""


def test_two_processes_have_the_gradient_of_one(tmp_path: Path) -> None:
    """With gloo under torchrun, each with half the batch: whole, and with an image missing in the first process."""
    (tmp_path / "rank.py").write_text(RANK)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
               "--rdzv-endpoint=localhost:0", str(tmp_path / "rank.py"), str(tmp_path / "out.pt")]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    for name, rows in (("whole", ROWS), ("missing", np.delete(ROWS, 2))):
        made = objective(EVERYTHING)
        loss, _ = made.loss(batch(rows))
        loss.backward()
        assert found[name]["loss"] == pytest.approx(float(loss.detach()), rel=1e-6)
        torch.testing.assert_close(found[name]["gradients"], gradients(made), **SAME)
        assert found[name]["stop"] is True  # the second process was asked to stop: the first one knows


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    check_batch(DistributedContext(count=3), 6)
    with pytest.raises(UsageError, match="cannot be shared evenly by 4"):
        check_batch(DistributedContext(count=4), 6)


@pytest.mark.parametrize(
    ("options", "known", "towers", "message"),
    [
        (MixtureOptions(affinity=1.0), RunTexts.collect([()] * IMAGES, []), ("image",), "needs texts"),
        (MixtureOptions(contrastive=1.0), RunTexts.collect([()] * IMAGES, BANK), ("image",), "caption of every image"),
        (MixtureOptions(neighbours=1.0), texts(), ("text",), "not trained"),
        (MixtureOptions(affinity=1.0, both_captions=True), texts(), ("image",), "no effect: with a bank, no loss"),
        (MixtureOptions(cosine=1.0, both_captions=True), texts(bank=False), ("image",), "no effect: no loss"),
    ],
)
def test_mixtures_without_what_they_need_are_refused(
    options: MixtureOptions, known: RunTexts, towers: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        objective(options, known=known, towers=towers)


def test_a_bank_of_other_images_needs_stored_vectors() -> None:
    live = replace(side(WIDTH, 10, 20.0, texts()), lookup=None)
    with pytest.raises(UsageError, match="answers live"):
        objective(MixtureOptions(neighbours=1.0, neighbours_bank=4), sides=[live])


@pytest.mark.parametrize("learned", [False, True])
def test_a_teachers_scale_above_100_is_kept(learned: bool) -> None:
    """SigLIP's is about 117.6: at 100 the student would differ from its own target in sharpness."""
    made = objective(MixtureOptions(affinity=1.0, learn_scale=learned), scale=117.6)
    for _ in range(2):
        _, log = made.loss(batch())
    assert log["logit_scale"] == pytest.approx(117.6, rel=1e-5)


def test_a_learned_scale_is_bounded() -> None:
    made = objective(MixtureOptions(affinity=1.0), scale=50.0)
    with torch.no_grad():
        made.network.logit_scale.fill_(math.log(300.0))
    assert made.loss(batch())[1]["logit_scale"] == pytest.approx(100.0)


def test_a_sigmoid_teacher_is_mimicked_with_its_bias() -> None:
    known = texts()
    with pytest.raises(UsageError, match="needs a teacher with a logit bias"):
        objective(MixtureOptions(sigmoid_affinity=1.0))
    one = [replace(side(WIDTH, 10, 20.0, known), logit_bias=-10.0)]
    given = batch()
    images, labels = one[0].images(given), one[0].texts[known.bank]  # type: ignore[misc,index]
    student = tiny_teacher().network.encode_image(given.images)  # type: ignore[operator]
    logits, target = (affinity_logits(rows, labels, 20.0) - 10.0 for rows in (student, images))
    loss, _ = objective(MixtureOptions(sigmoid_affinity=1.0), towers=("image",), sides=one).loss(given)
    torch.testing.assert_close(loss, sigmoid_affinity_loss(logits, target.sigmoid()))
