"""Stored views: the student is shown what the teacher saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mobileclip_kit.cache.build import build_cache, describe_teacher
from mobileclip_kit.cache.folder import TeacherCache
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distillation.augment import Replay, plan_views, replay_views
from mobileclip_kit.distillation.run import distill
from mobileclip_kit.distillation.tables import Augmentation
from mobileclip_kit.distillation.trainer import Trainer
from mobileclip_kit.errors import ModelMismatchError, UsageError
from mobileclip_kit.networks.families import encode_raw
from tests.cache.test_cache import TINY, draw, tiny_teacher
from tests.distillation.test_run import RECIPE, request, student_file

AUGMENTATION = Augmentation(crop_scale=(0.3, 0.8), flip=0.5, brightness=0.3)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    teacher = tiny_teacher()
    description, make = plan_views(describe_teacher(teacher), AUGMENTATION, views=3, seed=9)
    build_cache(teacher, open_source(draw(tmp_path / "images", 6)), tmp_path / "c", description=description, views=make)
    return tmp_path / "c"


def test_training_replays_the_views_exactly(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher, asked again about the images that the trainer makes, gives the stored vectors."""
    vision = TINY["model_cfg"]["vision_cfg"]
    student = student_file(tmp_path, image_size=vision["image_size"])
    teacher, seen = tiny_teacher(), []
    stored = TeacherCache.open(cache)
    original = Trainer._step

    def spy(self: Trainer, rows, pixels):  # type: ignore[no-untyped-def]
        loss = self._objective.loss

        def watched(batch):  # type: ignore[no-untyped-def]
            with torch.no_grad():
                seen.append((batch.context.epoch, batch.rows, encode_raw(teacher.network, batch.images)))
            return loss(batch)

        monkeypatch.setattr(self._objective, "loss", watched)
        done = original(self, rows, pixels)
        monkeypatch.setattr(self._objective, "loss", loss)
        return done

    monkeypatch.setattr(Trainer, "_step", spy)
    distill(request(tmp_path, cache=cache, student=student, recipe=RECIPE.with_training(epochs=5, batch_size=6)))
    assert [epoch for epoch, _, _ in seen] == [0, 1, 2, 3, 4]
    everything = torch.from_numpy(stored.vectors(stored.keys))
    for epoch, rows, vectors in seen:
        # float16 storage, and another batch order.
        torch.testing.assert_close(vectors, everything[rows, epoch % 3], rtol=2e-3, atol=2e-3)
    first, other = everything[:, 0], everything[:, 1]
    assert not torch.allclose(first, other, rtol=2e-3, atol=2e-3)


def test_first_view_is_the_image_itself(tmp_path: Path, cache: Path) -> None:
    build_cache(tiny_teacher(), open_source(tmp_path / "images"), tmp_path / "plain")
    plain, views = TeacherCache.open(tmp_path / "plain"), TeacherCache.open(cache)
    assert views.description.views == 3
    torch.testing.assert_close(
        torch.from_numpy(plain.vectors(plain.keys)[:, 0]), torch.from_numpy(views.vectors(plain.keys)[:, 0]),
        rtol=2e-3, atol=2e-3,
    )  # fmt: skip


def test_recipe_takes_the_caches_augmentation(cache: Path) -> None:
    description = TeacherCache.open(cache).description
    recipe, replay = replay_views(RECIPE, description)
    assert recipe.augmentation == AUGMENTATION
    assert replay == Replay(seed=9, views=3)
    with pytest.raises(UsageError, match="in another way"):
        replay_views(replace(RECIPE, augmentation=Augmentation(flip=1.0)), description)


def test_caches_of_other_views_are_not_mixed(tmp_path: Path, cache: Path) -> None:
    teacher = tiny_teacher()
    for seed, views, wrong in ((9, 2, "views 3, not 2"), (8, 3, "augmentation")):
        description, make = plan_views(describe_teacher(teacher), AUGMENTATION, views=views, seed=seed)
        with pytest.raises(ModelMismatchError, match=wrong):
            build_cache(teacher, open_source(tmp_path / "images"), cache, description=description, views=make)
    description, make = plan_views(describe_teacher(teacher), AUGMENTATION, views=3, seed=9)
    again = build_cache(teacher, open_source(tmp_path / "images"), cache, description=description, views=make)
    assert again.added == 0


def test_views_without_augmentation_are_refused() -> None:
    with pytest.raises(UsageError, match="3 views would be the same"):
        plan_views(describe_teacher(tiny_teacher()), Augmentation(), views=3, seed=0)
