"""Both towers or one, text banks, several teachers: whole runs on a tiny teacher."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobileclip_kit.cache.build import build_cache, import_vectors
from mobileclip_kit.cache.texts import cache_texts, open_texts
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distillation.objective import Batch, StepContext
from mobileclip_kit.distillation.recipe import Recipe
from mobileclip_kit.distillation.request import DistillRequest
from mobileclip_kit.distillation.run import distill
from mobileclip_kit.distillation.tables import Augmentation, MixtureOptions, StageOptions, TrainingPlan
from mobileclip_kit.distillation.teachers import live_targets, open_teachers, seen_by_both
from mobileclip_kit.errors import CacheError, DataError, ModelError, ModelMismatchError, UsageError
from mobileclip_kit.images import load_pixels, normalize
from mobileclip_kit.networks.families import encode_raw
from mobileclip_kit.networks.model import Model, build_network, describe, load_model, save_model
from mobileclip_kit.networks.vocabulary import trim_vocabulary
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.spec import ImageSpec
from tests.cache.test_cache import TINY, draw

WORDS = ["a red star", "a blue house", "two green cats", "a tree by a road", "the word dog"]
TOWER = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 1}
PLAN = TrainingPlan(steps=6, batch_size=4, lr=1e-2)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return make_teacher(tmp_path / "teacher", seed=0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = draw(tmp_path / "images", 10)
    lines = [f"{row:02d}.png,{WORDS[row % len(WORDS)]}" for row in range(10)]
    (folder / "captions.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    return folder


def make_teacher(folder: Path, *, seed: int, width: int = 16) -> Path:
    """A teacher that reads :data:`WORDS` with a small vocabulary."""
    text_cfg = {**TINY["model_cfg"]["text_cfg"], "context_length": 20, "vocab_size": 49408}
    config = {**TINY, "model_cfg": {**TINY["model_cfg"], "embed_dim": width, "text_cfg": text_cfg}}
    torch.manual_seed(seed)
    network = build_network(config["model_cfg"])
    folder.mkdir()
    whole = Model(network, config, describe("tiny", network, config))
    model = trim_vocabulary(whole, WORDS, folder.parent / f"{folder.name}.txt")
    save_model(folder, model.network, model.config, model.spec, model.tokenizer_file)
    return folder


def cache_of(teacher: Path, data: Path, out: Path, *, texts: list[str] | None = None) -> Path:
    build_cache(load_model(teacher), open_source(data), out)
    if texts is not None:
        cache_texts(load_model(teacher), texts, out)
    return out


def recipe(**options: Any) -> Recipe:
    return Recipe(name="r", objective="mixture", training=PLAN, options=MixtureOptions(**options))


def run(tmp_path: Path, data: Path, **changes: Any) -> Any:
    """Distil; ``tiny`` names a student or a text tower that a file describes."""
    values: dict[str, Any] = {"data": data, "out": tmp_path / "student", **changes}
    for name, config in (("student", TOWER), ("text", TEXT)):
        if values.get(name) == "tiny":
            (tmp_path / f"tiny-{name}.json").write_text(json.dumps(config))
            values[name] = str(tmp_path / f"tiny-{name}.json")
    return distill(DistillRequest(**values))


def text_state(folder: Path) -> dict[str, torch.Tensor]:
    state = load_model(folder).network.state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith(("visual.", "logit_"))}


def test_affinity_on_captions_trains_the_image_tower_and_leaves_the_text_tower(
    tmp_path: Path, data: Path, teacher: Path
) -> None:
    report = run(tmp_path, data, teacher=str(teacher), student="tiny", recipe=recipe(affinity=1.0))
    assert report.spec.towers == ("image", "text")
    ours, theirs = text_state(tmp_path / "student"), text_state(teacher)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_bank_needs_no_captions(tmp_path: Path, teacher: Path) -> None:
    images = draw(tmp_path / "bare", 8)
    (tmp_path / "bank.txt").write_text("star\nhouse\ncat\n")
    (tmp_path / "templates.txt").write_text("a red {}\n{}\n")
    given = {"teacher": str(teacher), "student": "tiny", "recipe": recipe(affinity=1.0, bank_sample=4)}
    report = run(tmp_path, images, **given, bank=tmp_path / "bank.txt", templates=tmp_path / "templates.txt")
    assert report.images == 8
    with pytest.raises(DataError, match="No image of .* has a caption"):
        run(tmp_path, images, **given, out=tmp_path / "other")


def test_a_cache_with_texts_needs_no_teacher(tmp_path: Path, data: Path, teacher: Path) -> None:
    cache = cache_of(teacher, data, tmp_path / "cache", texts=WORDS)
    wanted = recipe(affinity=1.0, kld_l1=0.5)
    run(tmp_path, data, teacher=str(teacher), student="tiny", recipe=wanted)
    report = run(tmp_path, data, cache=cache, student="tiny", recipe=wanted, out=tmp_path / "cached")
    assert report.spec.towers == ("image",)
    live, cached = (load_model(tmp_path / name).network.state_dict() for name in ("student", "cached"))
    for name in cached:
        if name.startswith("visual."):
            torch.testing.assert_close(live[name], cached[name], rtol=0, atol=1e-4)


def test_a_cache_that_lacks_texts_names_the_first(tmp_path: Path, data: Path, teacher: Path) -> None:
    cache = cache_of(teacher, data, tmp_path / "cache", texts=WORDS[1:])
    given = {"cache": cache, "student": "tiny", "recipe": recipe(affinity=1.0)}
    with pytest.raises(CacheError, match="no vectors of 1 of 5 texts; the first is 'a red star'"):
        run(tmp_path, data, **given)
    assert run(tmp_path, data, **given, text_from=str(teacher), force=True).spec.towers == ("image", "text")


def test_a_cache_takes_no_texts_of_another_teacher(tmp_path: Path, data: Path, teacher: Path) -> None:
    cache = cache_of(teacher, data, tmp_path / "cache")
    assert open_texts(cache) is None
    with pytest.raises(ModelMismatchError, match="their spaces differ|Their spaces differ"):
        cache_texts(load_model(make_teacher(tmp_path / "stranger", seed=1)), WORDS, cache)
    assert cache_texts(load_model(teacher), WORDS, cache) == len(WORDS)
    assert cache_texts(load_model(teacher), [*WORDS, "more"], cache) == 1


def test_several_teachers_are_averaged(tmp_path: Path, data: Path, teacher: Path) -> None:
    wide = make_teacher(tmp_path / "wide", seed=2, width=24)
    one = cache_of(teacher, data, tmp_path / "caches" / "00", texts=WORDS)
    cache_of(wide, data, tmp_path / "caches" / "01", texts=WORDS)
    DistillRequest(data=data, out=tmp_path / "x", cache=tmp_path / "caches", student="vit-t4-64").check()
    both = run(tmp_path, data, cache=tmp_path / "caches", student="tiny", recipe=recipe(affinity=1.0))
    assert len(both.spec.provenance["teachers"]) == 2
    assert both.spec.embedding_dim == 16  # the first teacher's space
    alone = run(tmp_path, data, cache=one, student="tiny", recipe=recipe(affinity=1.0), out=tmp_path / "alone")
    assert both.result.loss != alone.result.loss
    with pytest.raises(UsageError, match="2 teachers are averaged in the affinity, whose weight is 0"):
        run(tmp_path, data, cache=tmp_path / "caches", student="tiny", recipe=recipe(mse=1.0), out=tmp_path / "no")


def test_text_alone_is_trained_beside_a_finished_image_tower(tmp_path: Path, data: Path, teacher: Path) -> None:
    """MoTIS: fewer layers for the text tower; the image tower stays bit by bit."""
    cosines = []
    for steps in (1, 80):
        plan = replace(recipe(mse=1.0, cosine=1.0), training=replace(PLAN, steps=steps))
        report = run(tmp_path, data, teacher=str(teacher), text="tiny", recipe=plan, out=tmp_path / f"{steps}")
        cosines.append(report.metrics["cosine_text"])
    assert report.spec.towers == ("image", "text")
    ours, theirs = (load_model(folder).network.state_dict() for folder in (tmp_path / "80", teacher))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if name.startswith("visual."))
    assert cosines[1] > max(cosines[0], 0.9)
    assert open_encoder(tmp_path / "80").encode_texts(WORDS).shape == (5, 16)


def test_a_text_tower_is_not_trained_beside_another_teachers_student(tmp_path: Path, data: Path, teacher: Path) -> None:
    stranger = make_teacher(tmp_path / "stranger", seed=1)
    run(tmp_path, data, teacher=str(stranger), student="tiny", recipe=recipe(mse=1.0))
    given = {"text": "tiny", "recipe": recipe(cosine=1.0), "out": tmp_path / "both"}
    with pytest.raises(ModelMismatchError, match="was distilled from another teacher"):
        run(tmp_path, data, **given, teacher=str(teacher), init=str(tmp_path / "student"))
    unknown = run(tmp_path, data, **given, teacher=str(teacher), init=str(stranger))
    assert any("Nothing says" in note for note in unknown.notes)
    known = run(
        tmp_path, data, **{**given, "out": tmp_path / "known"}, teacher=str(stranger), init=str(tmp_path / "student")
    )
    assert not known.notes


def test_both_towers_are_trained_together(tmp_path: Path, data: Path, teacher: Path) -> None:
    mixture = recipe(affinity=1.0, contrastive=0.5, kld_l1=0.1, neighbours=0.2)
    report = run(tmp_path, data, teacher=str(teacher), student="tiny", text="tiny", recipe=mixture)
    assert report.spec.towers == ("image", "text")
    assert {"loss_affinity", "loss_contrastive", "loss_kld_l1", "loss_neighbours", "cosine_text"} <= set(
        report.result.parts
    )
    again = run(tmp_path, data, teacher=str(teacher), text="teacher", recipe=recipe(affinity=1.0), out=tmp_path / "own")
    assert again.spec.require_text().vocab_size == load_model(teacher).spec.require_text().vocab_size


def test_a_trimmed_vocabulary_keeps_the_texts_vectors(tmp_path: Path, data: Path, teacher: Path) -> None:
    (data / "captions.csv").write_text("image,caption\n" + "\n".join(f"{row:02d}.png,a red star" for row in range(10)))
    run(tmp_path, data, teacher=str(teacher), student="tiny", recipe=recipe(mse=1.0), trim_vocab=True)
    student, whole = open_encoder(tmp_path / "student"), open_encoder(teacher)
    assert student.spec.require_text().vocab_size < whole.spec.require_text().vocab_size
    assert (student.encode_texts(["a red star"]) == whole.encode_texts(["a red star"])).all()
    assert student.encode_texts(["an unknown zebra"]).shape == (1, 16)


def test_a_new_text_tower_gets_a_trimmed_vocabulary(tmp_path: Path, data: Path, teacher: Path) -> None:
    plan = recipe(cosine=1.0)
    report = run(tmp_path, data, teacher=str(teacher), text="tiny", recipe=plan, trim_vocab=True)
    text = report.spec.require_text()
    assert (text.merges, text.context_length) == ("trimmed", 20)
    assert text.vocab_size <= load_model(teacher).spec.require_text().vocab_size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": None}, "Name a student"),
        ({"text": "tiny", "student": None, "holdout": "0.2"}, "only a text tower is trained"),
        ({"templates": Path("t.txt")}, "templates needs bank"),
        ({"recipe": recipe(neighbours=1.0), "text": "tiny", "student": None}, "image tower is not trained"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, data: Path, teacher: Path, changes: Any, message: str) -> None:
    values = {"teacher": str(teacher), "student": "tiny", "recipe": recipe(affinity=1.0), **changes}
    with pytest.raises(UsageError, match=message):
        run(tmp_path, data, **values)


def test_trimming_without_texts_or_tower_is_refused(tmp_path: Path, teacher: Path) -> None:
    images = draw(tmp_path / "bare", 4)
    given = {"teacher": str(teacher), "student": "tiny", "recipe": recipe(mse=1.0), "trim_vocab": True}
    with pytest.raises(UsageError, match="trim_vocab=True needs texts"):
        run(tmp_path, images, **given)


def test_a_refused_run_leaves_nothing_behind_and_a_corrected_one_works(
    tmp_path: Path, data: Path, teacher: Path
) -> None:
    """The merges of a trimmed vocabulary are written before the refusal."""
    cache, names = cache_of(teacher, data, tmp_path / "cache"), tmp_path / "aside.txt"
    given = {
        "cache": cache,
        "text_from": str(teacher),
        "student": "tiny",
        "recipe": recipe(mse=1.0),
        "trim_vocab": True,
    }
    names.write_text("unknown.png\n")
    with pytest.raises(DataError, match="names 1 image that cannot be used"):
        run(tmp_path, data, **given, holdout=str(names))
    assert not list(tmp_path.glob("student*"))
    names.write_text("00.png\n")
    assert run(tmp_path, data, **given, holdout=str(names)).images == 9


def siglip_like(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """A teacher with QuickGELU, a text tower of its own class, scale 117.6 and bias −12.9."""
    shared = {"quick_gelu": True, "custom_text": True, "init_logit_bias": -10.0, **changes}
    text_cfg = {**TINY["model_cfg"]["text_cfg"], "context_length": 20, "vocab_size": 49408, "width": 24}
    config = {**TINY, "model_cfg": {**TINY["model_cfg"], "text_cfg": text_cfg, **shared}}
    torch.manual_seed(seed)
    network: Any = build_network({key: value for key, value in config["model_cfg"].items() if value is not None})
    with torch.no_grad():
        network.logit_scale.fill_(math.log(117.6))
        if shared["init_logit_bias"] is not None:
            network.logit_bias.fill_(-12.9)
    folder.mkdir()
    save_model(folder, network, config, describe("siglip", network, config))
    return folder


@pytest.mark.parametrize(
    "towers",
    [
        {"student": "tiny"},
        {"text": "tiny"},
        {"text": "teacher"},
        {"student": "tiny", "text": "tiny"},
        {"student": "tiny", "text": "teacher"},
        {"student": "tiny", "inherit": "leading"},
        {"student": "tiny", "text": "tiny", "inherit": "leading"},
        {"stages": True},
    ],
    ids=str,
)
def test_activation_scale_and_bias_are_kept(tmp_path: Path, data: Path, towers: dict[str, Any]) -> None:
    """Each way to build a student; in GELU layers the weights of OpenAI's towers would mean something else."""
    teacher = siglip_like(tmp_path / "siglip")
    plan = replace(recipe(affinity=1.0, learn_scale=False), training=replace(PLAN, steps=1))
    if (towers := dict(towers)).pop("stages", False):
        plan = replace(plan, stages=StageOptions(shares=(0.9,), mask_steps=1, mask_warmup_steps=1))
    report = run(tmp_path, data, teacher=str(teacher), recipe=plan, **towers)
    student = load_model(tmp_path / "student")
    network: Any = student.network
    assert student.config["model_cfg"]["quick_gelu"] is True
    assert report.spec.logit_scale == pytest.approx(117.6, rel=1e-5)
    assert float(network.logit_bias.detach()) == pytest.approx(-12.9)
    activations = {type(part).__name__ for part in network.modules() if "GELU" in type(part).__name__}
    assert activations == {"QuickGELU"}


def test_a_starting_model_keeps_its_activation(tmp_path: Path, data: Path) -> None:
    """24 heads start from 12 heads' weights: from a cache, no teacher says which activation they had."""
    teacher = siglip_like(tmp_path / "siglip")
    plan = replace(recipe(mse=1.0), training=replace(PLAN, steps=1))
    run(tmp_path, data, teacher=str(teacher), student="tiny", recipe=plan)
    cache = cache_of(teacher, data, tmp_path / "cache")
    given = {"cache": cache, "student": "tiny", "init": str(tmp_path / "student"), "recipe": plan}
    run(tmp_path, data, **given, out=tmp_path / "second")
    assert load_model(tmp_path / "second").config["model_cfg"]["quick_gelu"] is True


def test_towers_of_two_activations_are_refused(tmp_path: Path, data: Path) -> None:
    teacher = siglip_like(tmp_path / "siglip")
    plain = siglip_like(tmp_path / "plain", quick_gelu=False)
    with pytest.raises(ModelError, match="uses GELU and the text tower of siglip QuickGELU"):
        run(tmp_path, data, teacher=str(teacher), text="teacher", init=str(plain), recipe=recipe(cosine=1.0))


def test_a_starting_model_of_another_activation_than_the_text_tower_is_refused(tmp_path: Path, data: Path) -> None:
    """12 heads from a cache have GELU; their 24 heads would get the QuickGELU of the text tower."""
    teacher = siglip_like(tmp_path / "siglip")
    cache = cache_of(teacher, data, tmp_path / "cache", texts=WORDS)
    plan = replace(recipe(mse=1.0), training=replace(PLAN, steps=1))
    given = {"cache": cache, "student": "tiny", "recipe": plan}
    run(tmp_path, data, **given, out=tmp_path / "first")
    second = {**given, "init": str(tmp_path / "first"), "out": tmp_path / "second"}
    for towers in ({"text_from": str(teacher)}, {"text": "teacher", "text_from": str(teacher)}):
        with pytest.raises(ModelError, match="image tower of first uses GELU and the text tower of siglip QuickGELU"):
            run(tmp_path, data, **second, **towers)
    run(tmp_path, data, **second, text="tiny", text_from=str(teacher))
    assert load_model(tmp_path / "second").config["model_cfg"]["quick_gelu"] is False


def test_channels_are_inherited_in_stages(tmp_path: Path, data: Path, teacher: Path) -> None:
    """TinyCLIP by hand: the second student starts from the first one's channels, and learns from the teacher."""
    plan = replace(recipe(mse=1.0), training=replace(PLAN, steps=1, lr=1e-12))
    (tmp_path / "half.json").write_text(json.dumps({**TOWER, "width": 8}))
    given = {"teacher": str(teacher), "recipe": replace(plan, inherit="leading")}
    run(tmp_path, data, **given, student="tiny", out=tmp_path / "first")
    second = {**given, "student": str(tmp_path / "half.json"), "init": str(tmp_path / "first")}
    report = run(tmp_path, data, **second, out=tmp_path / "second")
    ours, theirs = (load_model(tmp_path / name).network.state_dict() for name in ("second", "first"))
    torch.testing.assert_close(ours["visual.conv1.weight"], theirs["visual.conv1.weight"][:8])
    assert report.spec.provenance["inherit"] == "leading" and report.spec.towers == ("image", "text")


def test_a_live_teacher_sees_images_at_its_own_size(tmp_path: Path, data: Path, teacher: Path) -> None:
    """Its targets of varied images are those of whole ones, not of the student's enlarged."""
    student, larger = (
        ImageSpec(height=16, width=16, mean=(0.5,) * 3, std=(0.5,) * 3),
        open_teachers(str(teacher), ())[0],
    )
    seen = seen_by_both(student, larger)
    assert (seen.height, seen.width, seen.mean) == (32, 32, student.mean)
    network: Any = larger.live.network  # type: ignore[union-attr]
    pixels = np.stack([load_pixels(data / f"{row:02d}.png", larger.image) for row in range(3)])
    batch = Batch(np.arange(3), torch.from_numpy(normalize(pixels, seen)), StepContext(0, 1, 0, 0))
    with torch.no_grad():
        expected = encode_raw(network, torch.from_numpy(normalize(pixels, larger.image)))
    torch.testing.assert_close(live_targets(network, larger.image, seen)(batch), expected, rtol=1e-4, atol=1e-4)


def test_a_small_student_learns_beside_a_larger_teacher(tmp_path: Path, data: Path, teacher: Path) -> None:
    (tmp_path / "small.json").write_text(json.dumps({**TOWER, "image_size": 16, "patch_size": 8}))
    varied = replace(recipe(mse=1.0), augmentation=Augmentation(flip=0.5))
    report = run(tmp_path, data, teacher=str(teacher), student=str(tmp_path / "small.json"), recipe=varied, holdout=0.2)
    assert report.spec.require_image().height == 16
    assert report.metrics["holdout_images"] == 2


def test_a_cache_survives_another_configuration_of_the_same_weights(tmp_path: Path, data: Path, teacher: Path) -> None:
    """An update of open_clip may add a key to a named model's configuration, which changes the model hash."""
    cache, model = cache_of(teacher, data, tmp_path / "cache"), load_model(teacher)
    config = {**model.config, "model_cfg": {**model.config["model_cfg"], "quick_gelu": False}}
    updated = Model(model.network, config, describe("tiny", model.network, config), model.tokenizer_file)
    assert updated.spec.model_hash != model.spec.model_hash
    assert build_cache(updated, open_source(data), cache).added == 0
    assert cache_texts(updated, WORDS, cache) == len(WORDS)
    (tmp_path / "updated").mkdir()
    save_model(tmp_path / "updated", model.network, config, updated.spec, model.tokenizer_file)
    plan = recipe(affinity=1.0)
    report = run(tmp_path, data, cache=cache, student="tiny", text_from=str(tmp_path / "updated"), recipe=plan)
    assert report.spec.towers == ("image", "text")


def test_a_cache_keeps_the_logit_bias_of_its_teacher(tmp_path: Path, data: Path) -> None:
    teacher = siglip_like(tmp_path / "siglip")
    cache = cache_of(teacher, data, tmp_path / "cache", texts=WORDS)
    assert run(tmp_path, data, cache=cache, student="tiny", recipe=recipe(sigmoid_affinity=1.0)).images == 10


@pytest.mark.parametrize(
    "given",
    [
        {"student": "tiny"},
        {"student": "tiny", "text": "tiny"},
        {"student": "tiny", "init": "first"},
        {"text": "tiny", "init": "plain"},
        {"teacher": "siglip", "text": "tiny", "init": "plain"},
    ],
    ids=str,
)
def test_a_bias_that_a_cache_or_a_live_teacher_knows_reaches_the_student(
    tmp_path: Path, data: Path, given: dict[str, str]
) -> None:
    teacher = siglip_like(tmp_path / "siglip")
    plain = siglip_like(tmp_path / "plain", init_logit_bias=None)
    still = {"student": "tiny", "recipe": replace(recipe(mse=1.0), training=replace(PLAN, steps=1))}
    run(tmp_path, data, teacher=str(plain), **still, out=tmp_path / "first")
    cache = cache_of(teacher, data, tmp_path / "cache", texts=WORDS)
    plan = replace(recipe(sigmoid_affinity=1.0, learn_scale=False), training=replace(PLAN, steps=1))
    towers = {**given, **{key: str(tmp_path / given[key]) for key in ("init", "teacher") if key in given}}
    run(tmp_path, data, **({} if "teacher" in given else {"cache": cache}), **towers, recipe=plan)
    network: Any = load_model(tmp_path / "student").network
    assert float(network.logit_bias.detach()) == pytest.approx(-12.9)
    assert float(network.logit_scale.detach().exp()) == pytest.approx(117.6, rel=1e-5)


def test_a_model_with_two_towers_that_lacks_its_teachers_bias_gets_it(tmp_path: Path, data: Path) -> None:
    """Earlier versions lost it where a student was made from a cache."""
    teacher = siglip_like(tmp_path / "siglip")
    cache = cache_of(teacher, data, tmp_path / "cache", texts=WORDS)
    plan = replace(recipe(sigmoid_affinity=1.0, learn_scale=False), training=replace(PLAN, steps=1))
    given = {"cache": cache, "student": "tiny", "recipe": plan}
    run(tmp_path, data, **given, text="tiny", out=tmp_path / "first")
    first = load_model(tmp_path / "first")
    config = {**first.config, "model_cfg": {**first.config["model_cfg"], "init_logit_bias": None}}
    bare = build_network(config["model_cfg"])
    bare.load_state_dict(first.network.state_dict(), strict=False)
    origin = {"teacher_hash": load_model(teacher).spec.model_hash}
    (tmp_path / "bare").mkdir()
    save_model(tmp_path / "bare", bare, config, describe("bare", bare, config, **origin), first.tokenizer_file)
    report = run(tmp_path, data, **given, init=str(tmp_path / "bare"), out=tmp_path / "second")
    network: Any = load_model(tmp_path / "second").network
    assert report.spec.towers == ("image", "text") and float(network.logit_bias.detach()) == pytest.approx(-12.9)


def test_a_text_tower_of_other_vectors_than_an_imported_cache_holds_is_refused(tmp_path: Path, data: Path) -> None:
    """Two files of the same name: an imported cache does not know more of its teacher."""
    teacher = make_teacher(tmp_path / "teacher", seed=0)
    names = [f"{row:02d}.png" for row in range(10)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    theirs = open_encoder(teacher).encode_images([data / name for name in names])
    others = np.random.default_rng(0).standard_normal(theirs.shape).astype(np.float32)
    for folder, vectors in (("a", theirs), ("b", others)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "vectors.npy", vectors)
        import_vectors(data, tmp_path / folder / "vectors.npy", tmp_path / "names.txt", tmp_path / f"{folder}.cache")
    given = {"student": "tiny", "recipe": recipe(cosine=1.0)}
    run(tmp_path, data, **given, cache=tmp_path / "a.cache", text_from=str(teacher), out=tmp_path / "first")
    second = {**given, "init": str(tmp_path / "first"), "out": tmp_path / "second"}
    with pytest.raises(ModelMismatchError, match=r"not known to be a student of the vectors of .*b\.cache.*cosine"):
        run(tmp_path, data, **second, cache=tmp_path / "b.cache")
    assert not list(tmp_path.glob("second*"))
    assert run(tmp_path, data, **second, cache=tmp_path / "a.cache").spec.towers == ("image", "text")
