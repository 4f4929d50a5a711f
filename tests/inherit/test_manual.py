"""Students that start from their teacher's leading channels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mobileclip_kit.errors import ModelError
from mobileclip_kit.inherit.layout import layout_of
from mobileclip_kit.inherit.manual import heaviest_units, inherit_channels
from mobileclip_kit.networks.conv_tower import ConvTower
from mobileclip_kit.networks.students import build_student, student_config
from mobileclip_kit.spec import ImageSpec
from tests.inherit.networks import clip


def build(name: str, seed: int) -> Any:
    return build_student(student_config(name, embedding_dim=8, image=ImageSpec()), seed=seed)


def test_student_has_the_teachers_leading_channels() -> None:
    student, teacher = build("conv-s", 0), build("conv-m", 1)
    assert inherit_channels(student, teacher) == len(student.visual.state_dict())
    ours, theirs = student.visual.state_dict(), teacher.visual.state_dict()
    name = "trunk.stages.1.0.conv.weight"
    assert torch.equal(ours[name], theirs[name][:16, :8])


@pytest.mark.parametrize("name", ["conv-m", "vit-t4-64"])
def test_a_tower_of_the_same_width_inherits_everything(name: str) -> None:
    student, teacher = build(name, 0), build(name, 1)
    inherit_channels(student, teacher)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(student.encode_image(images), teacher.encode_image(images))


def test_query_key_and_value_are_cut_head_by_head() -> None:
    """Two of three heads: rows 0-15 of each of the three stacked blocks of 24, not rows 0-47 of all of them."""
    student, teacher = clip(0, {"width": 16}), clip(1)
    inherit_channels(student, teacher)
    ours = student.visual.transformer.resblocks[0].attn.in_proj_weight
    theirs = teacher.visual.transformer.resblocks[0].attn.in_proj_weight
    rows = [*range(0, 16), *range(24, 40), *range(48, 64)]
    assert torch.equal(ours, theirs[rows][:, :16])
    out = student.visual.transformer.resblocks[0].attn.out_proj.weight
    assert torch.equal(out, teacher.visual.transformer.resblocks[0].attn.out_proj.weight[:16, :16])


def test_narrower_heads_take_the_leading_places_of_each_head() -> None:
    """As many heads of half the width: of each head's 8 places the first 4."""
    student, teacher = clip(0, {"width": 12, "head_width": 4}), clip(1)
    inherit_channels(student, teacher)
    ours = student.visual.transformer.resblocks[0].attn.in_proj_bias
    rows = [block * 24 + head * 8 + place for block in range(3) for head in range(3) for place in range(4)]
    assert torch.equal(ours, teacher.visual.transformer.resblocks[0].attn.in_proj_bias[rows])


def test_layers_lie_at_an_even_stride() -> None:
    student, teacher = clip(0, {"layers": 2}, {"layers": 3}), clip(1)
    inherit_channels(student, teacher, ("image", "text"))
    for own, source in ((0, 0), (1, 2)):
        ours, theirs = student.visual.transformer.resblocks[own], teacher.visual.transformer.resblocks[source]
        assert torch.equal(ours.mlp.c_fc.weight, theirs.mlp.c_fc.weight)
    for own, source in ((0, 0), (1, 1), (2, 2)):
        ours, theirs = student.transformer.resblocks[own], teacher.transformer.resblocks[source]
        assert torch.equal(ours.attn.out_proj.bias, theirs.attn.out_proj.bias)


def test_the_text_tower_inherits_positions_projection_and_table() -> None:
    student, teacher = clip(0, None, {"width": 8, "heads": 1, "context_length": 5}), clip(1)
    before = student.visual.proj.clone()
    inherit_channels(student, teacher, ("text",))
    assert torch.equal(student.token_embedding.weight, teacher.token_embedding.weight[:, :8])
    assert torch.equal(student.positional_embedding, teacher.positional_embedding[:5, :8])
    assert torch.equal(student.text_projection, teacher.text_projection[:8])
    assert torch.equal(student.visual.proj, before), "the image tower was not asked for"


def test_networks_that_name_their_text_tower_differently_inherit() -> None:
    student, teacher = clip(0, custom_text=True), clip(1)
    inherit_channels(student, teacher, ("image", "text"))
    ids = torch.randint(0, 30, (3, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(student.encode_text(ids), teacher.encode_text(ids))


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"width": 32}, "image.channels are 32, wider than the teacher's 24"),
        ({"layers": 6}, "has 6 layers .* the teacher 4"),
        ({"width": 15, "head_width": 5}, "heads are 5 wide, which does not divide the teacher's 8"),
        ({"width": 24, "head_width": 4}, "heads are 6, wider than the teacher's 3"),
        ({"mlp_ratio": 5.0}, "ffn are 120, wider than the teacher's 96"),
        ({"patch_size": 8}, "positional_embedding is .* the student needs|conv1.weight is"),
    ],
)
def test_students_that_do_not_fit_are_refused(student: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        inherit_channels(clip(0, student), clip(1))


def test_a_tower_of_another_kind_is_refused() -> None:
    with pytest.raises(ModelError, match="has 1 layers below visual.trunk.stages.0, the teacher 0"):
        inherit_channels(build("conv-s", 0), build("vit-t4-64", 1))
    with pytest.raises(ModelError, match="student's image tower is of a kind whose weights cannot be cut"):
        inherit_channels(build("resnet-w8", 0), build("vit-t4-64", 1))


def test_a_wider_student_is_refused() -> None:
    with pytest.raises(ModelError, match="at least as wide"):
        inherit_channels(build("conv-m", 0), build("conv-s", 1))


def test_a_hybrid_tower_inherits_a_convolutional_teachers_stages() -> None:
    student, teacher = build("hybrid-x", 0), build("conv-x", 1)
    before = {name: tensor.clone() for name, tensor in student.visual.state_dict().items()}
    count = inherit_channels(student, teacher)
    ours, theirs = student.visual.state_dict(), teacher.visual.state_dict()
    stages = [name for name in ours if name.startswith("trunk.stages.")]
    assert count == len(stages)
    name = "trunk.stages.3.0.conv.weight"  # the only stage that is narrower
    assert torch.equal(ours[name], theirs[name][:112])
    assert torch.equal(ours["trunk.stages.2.1.norm.running_var"], theirs["trunk.stages.2.1.norm.running_var"])
    assert all(torch.equal(ours[name], before[name]) for name in set(ours) - set(stages))


def test_a_hybrid_tower_refuses_a_teacher_of_fewer_or_narrower_stages() -> None:
    with pytest.raises(ModelError, match=r"stages.0.0.conv.weight is \(8, 3, 3, 3\)"):
        inherit_channels(build("hybrid-s", 0), build("conv-s", 1))
    with pytest.raises(ModelError, match="is missing"):
        inherit_channels(build("hybrid-s", 0), build("vit-t4-64", 1))


def test_the_heaviest_channels_are_inherited_wherever_they_stand() -> None:
    """The same units in every tensor that reads or writes them: a tower whose other units do nothing stays as it is."""
    teacher, student = build("conv-l", 1), build("conv-l-4", 0)
    small, large = layout_of(student), layout_of(teacher)
    state = teacher.state_dict()
    kept = {}
    for group, units in large.groups.items():
        if group.startswith("image."):
            kept[group] = torch.randperm(units, generator=torch.Generator().manual_seed(2))[: small.groups[group]]
    with torch.no_grad():
        for name, axes in large.axes.items():
            for dimension, axis in enumerate(axes):
                if axis is not None and axis.group in kept and state[name].is_floating_point():
                    idle = torch.ones(state[name].shape[dimension], dtype=torch.bool)
                    idle[axis.places(kept[axis.group], large.groups[axis.group])] = False
                    state[name].transpose(0, dimension)[idle] = 0.0
    inherit_channels(student, teacher, choice="heaviest")
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = student.eval().encode_image(images), teacher.eval().encode_image(images)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_low_rank_head_starts_from_the_nearest_product() -> None:
    """A teacher whose head has that rank: the student of its width computes the same."""
    teacher, student = build("conv-x", 1), build("conv-x-4r", 0)
    rank = student.visual.trunk.rank
    student.visual.trunk = ConvTower((16, 32, 64, 128), (0, 0, 1, 2), 64, pooled=True, products=4, rank=rank)
    head = teacher.visual.head.proj.weight
    with torch.no_grad():
        head[4:] = head[:4]
    assert inherit_channels(student, teacher, choice="heaviest") == len(student.visual.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = student.eval().encode_image(images), teacher.eval().encode_image(images)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    again = build("conv-x-4r", 2)
    narrow = build("conv-x-4r", 3)
    inherit_channels(again, narrow)  # of the same kind: both matrices are cut, or taken, as they are
    assert torch.equal(again.visual.trunk.reduce.weight, narrow.visual.trunk.reduce.weight)


def test_the_weight_of_a_mean_of_places_is_the_sum_of_theirs() -> None:
    """Where all places of a cell hold the same, the student of its teacher's width computes the same."""
    teacher, student = build("conv-x", 1), build("conv-x", 0)
    student.visual.trunk = ConvTower((16, 32, 64, 128), (0, 0, 1, 2), 64, pooled=True, products=4, cell=2)
    student.visual.head.proj = torch.nn.Linear(student.visual.trunk.num_features, 8, bias=False)
    assert student.visual.trunk.num_features == 128 * (4 + 1 + 4)
    inherit_channels(student, teacher)
    grid = torch.rand(2, 128, 2, 2).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    for network in (student.eval(), teacher.eval()):
        network.visual.trunk.forward_features = lambda images: grid
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = student.encode_image(images), teacher.encode_image(images)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_heads_are_weighed_whole() -> None:
    teacher = clip(1)
    layout, state = layout_of(teacher), teacher.state_dict()
    with torch.no_grad():
        state["visual.transformer.resblocks.0.attn.in_proj_weight"].view(3, 3, 8, -1)[:, 1] *= 0.1
    assert heaviest_units(layout, state, "image.0.heads", 2).tolist() == [0, 2]
