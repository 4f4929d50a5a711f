"""Students whose inherited layers are fitted to their teacher's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.inherit.manual import inherit_channels, kept_units
from mobileclip_kit.inherit.reconstruction import can_be_fitted, fit_head, fit_layers
from mobileclip_kit.networks.families import image_tower
from mobileclip_kit.networks.students import build_student, student_config
from mobileclip_kit.spec import ImageSpec


def build(name: str, seed: int) -> Any:
    return build_student(student_config(name, embedding_dim=8, image=ImageSpec()), seed=seed).eval()


@pytest.fixture(scope="module")
def images() -> list[torch.Tensor]:
    """Batches that have a layout, unlike noise."""
    coarse = torch.rand(160, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return list(F.interpolate(coarse, size=64, mode="bilinear").split(32))


def grids(network: Any, images: list[torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([image_tower(network).trunk.forward_features(batch) for batch in images])


@pytest.mark.parametrize("name", ["conv-x-4", "conv-x-4r"])
def test_fitted_layers_are_nearer_to_the_teachers_also_on_other_images(name: str, images: list[torch.Tensor]) -> None:
    teacher, student = build("conv-x", 1), build(name, 0)
    inherit_channels(student, teacher, choice="fitted")
    kept, first = kept_units(student, teacher, "fitted"), student.visual.trunk.stages[0][0].conv.weight.clone()
    wanted = grids(teacher, images[4:])[:, kept["image.3.stage"]]
    before = F.mse_loss(grids(student, images[4:]), wanted)
    fit_layers(student.visual.trunk, teacher.visual.trunk, kept, images[:4])
    assert F.mse_loss(grids(student, images[4:]), wanted) < 0.5 * before
    assert torch.equal(student.visual.trunk.stages[0][0].conv.weight, first)  # as wide as the teacher's: nothing to fit


@pytest.mark.parametrize("name", ["conv-x-4", "conv-x-4r"])
def test_a_fitted_head_is_nearer_to_the_vectors(name: str, images: list[torch.Tensor]) -> None:
    teacher, student = build("conv-x", 1), build(name, 0)
    inherit_channels(student, teacher, choice="fitted")
    with torch.no_grad():
        targets = 30 * torch.cat([teacher.encode_image(batch) for batch in images])
        before = F.cosine_similarity(torch.cat([student.encode_image(batch) for batch in images]), targets).mean()
        cosine = fit_head(student.visual, images, targets, length=0.5)
        vectors = torch.cat([student.encode_image(batch) for batch in images])
        after = F.cosine_similarity(vectors, targets).mean()
    assert before < cosine <= 1.0 and before < after
    assert float(vectors.norm(dim=1).mean()) == pytest.approx(0.5 * float(targets.norm(dim=1).mean()), rel=0.2)


def test_a_student_as_wide_as_its_teacher_stays_as_it_is(images: list[torch.Tensor]) -> None:
    teacher, student = build("conv-x", 1), build("conv-x", 0)
    inherit_channels(student, teacher, choice="fitted")
    fit_layers(student.visual.trunk, teacher.visual.trunk, kept_units(student, teacher, "fitted"), images)
    ours, theirs = student.state_dict(), teacher.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if name.startswith("visual.trunk"))


def test_only_convolutional_towers_of_equal_depth_can_be_fitted() -> None:
    conv, shallow, hybrid = (image_tower(build(name, 0)) for name in ("conv-x", "conv-s", "hybrid-x"))
    assert can_be_fitted(conv, conv)
    assert not can_be_fitted(shallow, conv) and not can_be_fitted(hybrid, conv)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_layers_are_fitted_on_a_gpu(images: list[torch.Tensor]) -> None:
    teacher, student = build("conv-x", 1), build("conv-x-4r", 0)
    inherit_channels(student, teacher, choice="fitted")
    (student, teacher), seen = (each.cuda() for each in (student, teacher)), [batch.cuda() for batch in images]
    fit_layers(student.visual.trunk, teacher.visual.trunk, kept_units(student, teacher, "fitted"), seen)
    with torch.no_grad():
        fit_head(student.visual, seen, torch.cat([teacher.encode_image(batch).cpu() for batch in seen]))
