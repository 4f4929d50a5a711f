"""Students that start from their teacher's leading channels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.inheritance import inherit_leading_channels
from mobileclip_kit.networks.students import build_student, student_config
from mobileclip_kit.spec import ImageSpec


def build(name: str, seed: int) -> Any:
    return build_student(student_config(name, embedding_dim=8, image=ImageSpec()), seed=seed)


def test_student_has_the_teachers_leading_channels() -> None:
    student, teacher = build("conv-s", 0), build("conv-m", 1)
    assert inherit_leading_channels(student, teacher) == len(student.visual.state_dict())
    ours, theirs = student.visual.state_dict(), teacher.visual.state_dict()
    name = "trunk.stages.1.0.conv.weight"
    assert torch.equal(ours[name], theirs[name][:16, :8])


def test_a_tower_of_the_same_width_inherits_everything() -> None:
    student, teacher = build("conv-m", 0), build("conv-m", 1)
    inherit_leading_channels(student, teacher)
    pictures = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(student.encode_image(pictures), teacher.encode_image(pictures))


def test_a_wider_student_is_refused() -> None:
    with pytest.raises(ModelError, match="at least as wide"):
        inherit_leading_channels(build("conv-m", 0), build("conv-s", 1))


def test_attention_is_refused() -> None:
    """Leading rows of q, k and v are heads, not channels."""
    with pytest.raises(ModelError, match="attention"):
        inherit_leading_channels(build("vit-t4-64", 0), build("vit-t4-64", 1))
