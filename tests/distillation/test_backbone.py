"""Students that start from a trained backbone."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.cache.build import build_cache
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distillation import run
from mobileclip_kit.distillation import student as student_module
from mobileclip_kit.distillation.from_pairs import train
from mobileclip_kit.distillation.mixture import MixtureObjective
from mobileclip_kit.distillation.pairs import PairObjective
from mobileclip_kit.distillation.projection import ridge_regression, start_projection
from mobileclip_kit.distillation.recipe import Recipe
from mobileclip_kit.distillation.request import DistillRequest, TrainRequest, weights_file
from mobileclip_kit.distillation.run import distill
from mobileclip_kit.distillation.student import make_student
from mobileclip_kit.distillation.tables import Augmentation, MixtureOptions, TrainingPlan
from mobileclip_kit.distillation.teachers import open_teachers
from mobileclip_kit.distillation.trainer import find_backbone
from mobileclip_kit.distillation.training_set import some_rows
from mobileclip_kit.errors import ModelError, TrainingError, UsageError
from mobileclip_kit.networks.backbones import backbone_config, load_backbone, measure_batch_norms
from mobileclip_kit.networks.families import memory_format_of
from mobileclip_kit.networks.model import load_model, save_model
from mobileclip_kit.networks.students import build_student, student_config
from mobileclip_kit.spec import ImageSpec
from tests.cache.test_cache import draw, tiny_teacher
from tests.distillation.interrupting import interrupted_at

NAME = "test_byobnet"  # timm's own network for tests, 0.46 M parameters
IMAGE = ImageSpec(height=32, width=32)


def plan(**changes: Any) -> Recipe:
    training = TrainingPlan(**{"steps": 4, "batch_size": 4, "lr": 1e-4, **changes})
    return Recipe(name="r", objective="mixture", training=training, options=MixtureOptions(mse=1.0))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A backbone's file with its classifier and the configuration that timm writes beside it."""
    torch.manual_seed(3)
    save_file(timm.create_model(NAME).state_dict(), tmp_path / "model.safetensors")
    config = {
        "architecture": NAME,
        "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path / "model.safetensors"


@pytest.fixture
def given(tmp_path: Path, weights: Path) -> dict[str, Any]:
    data = draw(tmp_path / "images", 12)
    build_cache(tiny_teacher(), open_source(data), tmp_path / "cache")
    return {"data": data, "out": tmp_path / "student", "cache": (tmp_path / "cache",), "student": f"timm:{NAME}",
            "init": str(weights), "recipe": plan()}  # fmt: skip


def test_a_student_starts_from_a_backbones_file_and_loads_in_open_clip(given: dict[str, Any], weights: Path) -> None:
    report = distill(DistillRequest(**{**given, "recipe": plan(backbone_frozen=1.0)}))
    image = report.spec.require_image()
    assert (image.mean, image.std, image.interpolation) == ((0.5,) * 3, (0.25,) * 3, "bilinear")
    assert any(note.startswith("The projection starts by ridge regression") for note in report.notes)
    trunk: Any = load_model(given["out"]).network.visual.trunk  # type: ignore[union-attr]
    torch.manual_seed(3)
    theirs = timm.create_model(NAME).state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in trunk.state_dict().items())
    network = open_clip.create_model(f"local-dir:{given['out']}").eval()
    pixels = torch.rand(2, 3, image.height, image.width)
    with torch.no_grad():
        expected = load_model(given["out"]).network.encode_image(pixels)  # type: ignore[operator]
        torch.testing.assert_close(network.encode_image(pixels), expected)


def test_a_backbone_is_frozen_first_and_then_trained(given: dict[str, Any], weights: Path) -> None:
    distill(DistillRequest(**{**given, "recipe": plan(backbone_frozen=0.5)}))
    trunk: Any = load_model(given["out"]).network.visual.trunk  # type: ignore[union-attr]
    torch.manual_seed(3)
    theirs = timm.create_model(NAME).state_dict()
    assert not all(torch.equal(tensor, theirs[name]) for name, tensor in trunk.state_dict().items())


def test_a_backbone_with_layers_behind_its_pooling_ends_in_its_own_classifier(given: dict[str, Any]) -> None:
    """open_clip's projection has the width of the last grid: 288 here, where 1,024 features come out."""
    name = "mobilenetv3_small_050"
    weights = given["out"].with_name("mobilenetv3.safetensors")
    theirs = timm.create_model(name).state_dict()
    save_file(theirs, weights)
    changes = {"student": f"timm:{name}", "init": str(weights), "recipe": plan(backbone_frozen=1.0)}
    report = distill(DistillRequest(**{**given, **changes}))
    assert any(note.startswith("The projection starts by ridge regression") for note in report.notes)
    trunk: Any = load_model(given["out"]).network.visual.trunk  # type: ignore[union-attr]
    assert trunk.classifier.weight.shape == (report.spec.embedding_dim, 1024)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in trunk.state_dict().items()
               if not name.startswith("classifier."))  # fmt: skip
    network, pixels = open_clip.create_model(f"local-dir:{given['out']}").eval(), torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        expected = load_model(given["out"]).network.encode_image(pixels)  # type: ignore[operator]
        torch.testing.assert_close(network.encode_image(pixels), expected)


def test_a_held_backbone_does_not_hold_the_classifier_that_is_its_projection() -> None:
    network = student("lcnet_035")
    backbone = find_backbone({"network": network})
    backbone.hold(True)
    trained = {name for name, parameter in network.visual.named_parameters() if parameter.requires_grad}
    assert trained == {"trunk.classifier.weight", "trunk.classifier.bias"}


def test_a_student_on_a_backbone_starts_from_another_student_or_from_its_file(
    given: dict[str, Any], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is downloaded over the weights of a model, and its projection stays."""
    distill(DistillRequest(**given))
    theirs, tiny = load_model(given["out"]).network.state_dict(), plan(steps=1, lr=1e-12)
    monkeypatch.setattr(student_module, "download_backbone", lambda *_: pytest.fail("downloads"))
    again = {**given, "out": given["out"].with_name("again"), "recipe": tiny}
    report = distill(DistillRequest(**{**again, "init": str(given["out"])}))
    assert report.spec.require_image().std == (0.25,) * 3 and not report.notes
    ours = load_model(again["out"]).network.state_dict()
    torch.testing.assert_close(ours["visual.head.proj.weight"], theirs["visual.head.proj.weight"])
    torch.testing.assert_close(ours["visual.trunk.stem.conv.weight"], theirs["visual.trunk.stem.conv.weight"])
    file = given["out"] / "open_clip_model.safetensors"
    for text in (None, "text-2"):  # beside a new text tower, too
        request = DistillRequest(**{**again, "init": str(file), "text": text})
        [teacher] = open_teachers(None, given["cache"])
        config = make_student(request, teacher, None, [], again["out"]).config
        assert ImageSpec.from_open_clip(config["preprocess_cfg"]).std == (0.25,) * 3


def test_parts_that_stay_frozen_keep_their_running_means_when_the_backbone_is_released(
    given: dict[str, Any], weights: Path
) -> None:
    distill(DistillRequest(**{**given, "recipe": plan(backbone_frozen=0.5, frozen=("visual.trunk.stem",))}))
    ours, theirs = load_model(given["out"]).network.state_dict(), load_file(weights)
    means = [name for name in theirs if name.endswith("running_mean")]
    kept = {name for name in means if torch.equal(ours[f"visual.trunk.{name}"], theirs[name])}
    assert kept == {name for name in means if name.startswith("stem.")}


def test_ridge_regression_finds_a_linear_map_with_its_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 30, generator=generator)
    wanted, mean = torch.randn(8, 30, generator=generator), 5.0 * torch.randn(8, generator=generator)
    fit = ridge_regression(features, features @ wanted.T + mean)
    torch.testing.assert_close(fit.weight, wanted, atol=1e-2, rtol=0)
    torch.testing.assert_close(fit.bias, mean, atol=1e-2, rtol=0)
    assert fit.cosine > 0.999 and fit.likeness is not None and fit.likeness > 0.999


@pytest.mark.parametrize(("images", "is_told"), [(2, False), (3, False), (12, False), (60, True)])
def test_each_image_is_held_out_however_few_there_are(images: int, is_told: bool) -> None:
    """Random vectors cannot be predicted; those of images that the regression saw are nearly reached."""
    generator = torch.Generator().manual_seed(1)
    features, targets = (torch.randn(images, 200, generator=generator) for _ in range(2))
    fit = ridge_regression(features, targets)
    assert fit.cosine < 0.2
    assert (fit.likeness is not None) is is_told


def test_ridge_regression_with_more_features_than_images_generalises() -> None:
    """1,280 features and 400 images, as MobileNetV2 on few photos: no penalty would fit the noise."""
    rng = np.random.default_rng(0)
    factors, mixing = rng.normal(size=(500, 16)), rng.normal(size=(16, 320))
    features = torch.from_numpy(factors @ mixing + rng.normal(size=(500, 320))).float()
    targets = torch.from_numpy(factors @ rng.normal(size=(16, 32)) + rng.normal(size=(500, 32))).float()
    fit = ridge_regression(features[:100], targets[:100])
    cosine = F.cosine_similarity(features[100:] @ fit.weight.T + fit.bias, targets[100:]).mean()
    plain = torch.linalg.lstsq(features[:100], targets[:100]).solution
    assert cosine > F.cosine_similarity(features[100:] @ plain, targets[100:]).mean()


def test_parts_with_large_values_do_not_decide_alone_and_a_classifier_is_folded_in() -> None:
    """The signal is in a part of small values and in what the classifier sums; the large part is noise."""
    rng = np.random.default_rng(1)
    signal, noise = rng.normal(size=(300, 8)), 100.0 * rng.normal(size=(300, 40))
    first = 0.01 * signal @ rng.normal(size=(8, 40)) + 0.01 * rng.normal(size=(300, 40))
    features = torch.from_numpy(np.concatenate([first, noise], axis=1)).float()
    targets = torch.from_numpy(signal @ rng.normal(size=(8, 16))).float()
    classifier = torch.from_numpy(np.linalg.pinv(rng.normal(size=(40, 8)))).float()

    def held_out(**options: Any) -> float:
        projection = nn.Linear(80, 16)
        start_projection(projection, features[:100], targets[:100], **options)
        return float(F.cosine_similarity(projection(features[100:]), targets[100:]).mean().detach())

    assert held_out(widths=(40, 40)) > held_out() + 0.1
    folded = nn.Linear(40, 16)
    fit = start_projection(folded, features[:, :40], targets, classifier=classifier)
    given = torch.cat([length * part * part.var(0, correction=0).sum().rsqrt() for length, part in
                       ((1.0, features[:, :40]), (2.0, features[:, :40] @ classifier.T))], dim=1)  # fmt: skip
    torch.testing.assert_close(folded(features[:, :40]), given @ fit.weight.T + fit.bias, rtol=1e-3, atol=1e-3)


def test_a_student_of_several_stages_starts_from_a_backbone_and_needs_no_steps(given: dict[str, Any]) -> None:
    report = distill(DistillRequest(**{**given, "student": f"stages:{NAME}", "recipe": plan(steps=0)}))
    assert report.result.steps == 0 and report.result.loss is None and "loss" not in report.metrics
    visual: Any = load_model(given["out"]).network.visual  # type: ignore[union-attr]
    assert visual.trunk.widths == [256, 24, 24, 32, 32, 64, 64, 128, 128, 256, 256]
    torch.manual_seed(3)
    theirs = timm.create_model(NAME).state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in visual.trunk.backbone.state_dict().items())
    images = torch.rand(2, 3, 160, 160)
    network = open_clip.create_model(f"local-dir:{given['out']}").eval()
    with torch.no_grad():
        torch.testing.assert_close(network.encode_image(images), load_model(given["out"]).network.encode_image(images))  # type: ignore[operator]
        parts = visual.trunk.parts(images)
        grid = visual.trunk.backbone.forward_features(images)
    torch.testing.assert_close(parts[-1], grid.std(dim=(2, 3), correction=0), atol=2e-3, rtol=0)
    torch.testing.assert_close(parts[-2], grid.mean(dim=(2, 3)))


def test_training_from_pairs_starts_from_a_backbones_file_too(given: dict[str, Any], weights: Path) -> None:
    """The error about a missing network names this way out."""
    report = train(pair_request(given, weights, steps=1, lr=1e-9))
    assert report.spec.require_image().std == (0.25,) * 3
    theirs = load_file(weights)["stem.conv.weight"]
    ours = load_model(given["out"]).network.state_dict()["visual.trunk.stem.conv.weight"]
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    with pytest.raises(ModelError, match="There is no file"):
        pair_request(given, weights, init="gone.safetensors")


def pair_request(given: dict[str, Any], weights: Path, **changes: Any) -> TrainRequest:
    lines = [f"{row:02d}.png,a thing number {row}" for row in range(8)]
    (given["data"] / "captions.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    asked = {"data": given["data"], "out": given["out"], "student": f"timm:{NAME}", "text": "text-2", "losses": "none",
             "steps": 4, "batch_size": 4, "lr": 1e-3, "image_size": 64, "init": str(weights)}  # fmt: skip
    return TrainRequest(**{**asked, **changes})


def test_training_goes_on_with_the_preprocessing_of_the_model_it_starts_from(
    given: dict[str, Any], weights: Path
) -> None:
    first = train(pair_request(given, weights, steps=1))
    second = train(pair_request(given, weights, steps=1, init=str(given["out"]), out=given["out"].with_name("next")))
    assert second.spec.image == first.spec.image and second.notes == []
    stated = own_student(given, preprocess_cfg={"mean": [0.1] * 3})
    third = train(pair_request(given, weights, steps=1, student=stated, init=str(given["out"]),
                               out=given["out"].with_name("third")))  # fmt: skip
    assert third.spec.require_image().mean == (0.1,) * 3
    assert any("saw images with mean (0.5, 0.5, 0.5)" in note for note in third.notes)


def test_a_model_folder_that_states_no_size_keeps_the_towers(given: dict[str, Any], weights: Path) -> None:
    """open_clip's folders on the hub hold mean, std, interpolation and resize_mode."""
    train(pair_request(given, weights, steps=1))
    path = given["out"] / "open_clip_config.json"
    config = json.loads(path.read_text())
    del config["preprocess_cfg"]["size"]
    path.write_text(json.dumps(config))
    (given["out"] / "model.json").unlink()
    following = pair_request(given, weights, steps=1, init=str(given["out"]), out=given["out"].with_name("next"))
    image = train(following).spec.require_image()
    assert (image.height, image.width, image.std) == (64, 64, (0.25,) * 3)


def test_a_file_without_a_configuration_is_said_to_have_none(given: dict[str, Any], weights: Path) -> None:
    said = "No config.json beside model.safetensors says how its images were prepared"
    assert not any(said in note for note in train(pair_request(given, weights, steps=1)).notes)
    (weights.parent / "config.json").unlink()
    trained = train(pair_request(given, weights, steps=1, force=True))
    assert any(said in note for note in trained.notes)
    given["out"] = given["out"].with_name("distilled")
    assert any(said in note for note in distill(DistillRequest(**given)).notes)


@pytest.mark.parametrize("kind", ["distill", "train"])
def test_a_run_does_not_go_on_with_another_preprocessing(given: dict[str, Any], weights: Path, kind: str) -> None:
    def start(resume: bool) -> Any:
        if kind == "distill":
            return distill(DistillRequest(**given, resume=resume, checkpoint_seconds=0))
        return train(pair_request(given, weights, resume=resume, checkpoint_seconds=0))

    with interrupted_at(2, {"distill": MixtureObjective, "train": PairObjective}[kind]):
        start(resume=False)
    (weights.parent / "config.json").unlink()
    with pytest.raises(TrainingError, match="belongs to a run with another preprocessing"):
        start(resume=True)


@pytest.mark.parametrize("kind", ["distill", "train"])
def test_a_backbone_whose_first_convolution_would_crash_in_channels_last_is_trained(
    given: dict[str, Any], weights: Path, kind: str
) -> None:
    """Torch 2.15 on a CPU: 1 × 1, strides of 2, three channels, channels last, backwards. RepVGG's first layer."""
    given |= {"student": "timm:repvgg_a0", "init": None, "recipe": plan(steps=2)}
    path = given["out"].with_name("repvgg.safetensors")
    save_file(timm.create_model("repvgg_a0").state_dict(), path)
    if kind == "distill":
        distill(DistillRequest(**{**given, "init": str(path)}))
    else:
        train(pair_request(given, path, student="timm:repvgg_a0", steps=2, image_size=224))
    network = load_model(given["out"]).network
    assert memory_format_of(network) is torch.contiguous_format
    assert memory_format_of(build_student(student_config("mobilenetv2", embedding_dim=8, image=IMAGE, teacher=None),
                                          seed=0)) is torch.channels_last  # fmt: skip


def test_no_steps_are_refused_where_a_file_was_loaded_that_has_nothing_to_fit(given: dict[str, Any]) -> None:
    tower, file = given["data"].parent / "vit.json", given["data"].parent / "vit.safetensors"
    tower.write_text(json.dumps({"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}))
    network = build_student(student_config(str(tower), embedding_dim=16, image=IMAGE), seed=0)
    save_file(network.visual.state_dict(), file)  # type: ignore[operator, union-attr]
    changes = {"student": str(tower), "init": str(file), "recipe": plan(steps=0)}
    with pytest.raises(UsageError, match="this student has no linear projection on a timm backbone to fit"):
        distill(DistillRequest(**{**given, **changes}))


def test_stages_of_other_backbones_are_refused() -> None:
    with pytest.raises(ModelError, match="does not read the stages of vit_tiny_patch16_224"):
        backbone_config("stages:vit_tiny_patch16_224")


def student(name: str = NAME) -> Any:
    return build_student(student_config(f"timm:{name}", embedding_dim=8, image=IMAGE), seed=0)


def test_a_file_of_another_architecture_is_refused_with_the_tensors(weights: Path) -> None:
    with pytest.raises(
        ModelError, match=r"another architecture than the student: it lacks .+ and \d+ more; .*also has"
    ):
        load_backbone(student("test_efficientnet"), weights)
    (weights.parent / "cut.safetensors").write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="cut.safetensors cannot be read"):
        load_backbone(student(), weights.parent / "cut.safetensors")


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "levit_128s", "efficientformerv2_s0"])
def test_a_second_classifier_of_a_distilled_backbone_is_left_out(tmp_path: Path, name: str) -> None:
    theirs = timm.create_model(name).state_dict()
    assert any(part.startswith("head_dist.") for part in theirs)
    save_file(theirs, tmp_path / "w.safetensors")
    network = student(name)
    assert load_backbone(network, tmp_path / "w.safetensors") is None
    ours = network.visual.trunk.state_dict()
    assert all(torch.equal(tensor, theirs[part]) for part, tensor in ours.items())


@pytest.mark.parametrize("prefix", ["model.", "module.visual.trunk."])
def test_names_behind_a_prefix_are_found(tmp_path: Path, prefix: str) -> None:
    torch.manual_seed(3)
    theirs = {name: tensor.half() for name, tensor in timm.create_model(NAME).state_dict().items()}
    save_file({f"{prefix}{name}": tensor for name, tensor in theirs.items()}, tmp_path / "w.safetensors")
    network = student()
    classifier = load_backbone(network, tmp_path / "w.safetensors")
    assert classifier is not None and classifier.shape[0] == 1000
    ours = network.visual.trunk.state_dict()
    assert all(torch.equal(tensor, theirs[name].to(tensor.dtype)) for name, tensor in ours.items())


def test_weights_that_are_not_finite_are_refused(weights: Path) -> None:
    broken = load_file(weights)
    broken["stem.conv.weight"][0, 0, 0, 0] = math.nan
    save_file(broken, weights)
    with pytest.raises(ModelError, match=r"not finite, in stem\.conv\.weight"):
        load_backbone(student(), weights)


@pytest.mark.parametrize(
    ("name", "message"),
    [("mobilenetv2_10", "no model 'mobilenetv2_10'. Did you mean mobilenetv2_1"),
     ("mobilenetv2_100.ra_in2k", "no weights 'ra_in2k' of mobilenetv2_100. Did you mean mobilenetv2_100.ra_in1k")],
)  # fmt: skip
def test_unknown_names_of_timm_are_refused_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        backbone_config(f"timm:{name}")
    assert message in str(caught.value)


@pytest.mark.skipif(not timm.is_model("gemma4_vit_167m_enc"), reason="needs timm 1.0.31")
def test_an_architecture_that_is_no_classifier_is_refused() -> None:
    with pytest.raises(ModelError, match="gemma4_vit_167m_enc classifies nothing"):
        backbone_config("timm:gemma4_vit_167m_enc")


def test_preprocessing_follows_the_backbone() -> None:
    config = student_config("timm:mobilenetv2_100", embedding_dim=8, image=IMAGE)
    image = ImageSpec.from_open_clip(config["preprocess_cfg"])
    assert image.mean == (0.485, 0.456, 0.406) and image.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    "config", [{"mean": "abc", "std": [0.5] * 3}, {"mean": [0.5]}, {"std": [0, 0, 0]}, {"mean": {"red": 1}}]
)
def test_damaged_preprocessing_is_refused_with_its_file_and_leaves_nothing(
    given: dict[str, Any], config: dict[str, Any]
) -> None:
    beside = Path(given["init"]).with_name("config.json")
    beside.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=re.escape(f"{beside} holds no usable preprocessing: ")):
        distill(DistillRequest(**given))
    assert not list(given["out"].parent.glob(f"{given['out'].name}*"))
    beside.unlink()
    own = own_student(given, preprocess_cfg=config)
    with pytest.raises(ModelError, match=re.escape(f"{own} holds no usable preprocessing: ")):
        distill(DistillRequest(**{**given, "student": own}))
    assert not list(given["out"].parent.glob(f"{given['out'].name}*"))


def own_student(given: dict[str, Any], **more: Any) -> str:
    """A student's JSON file of one's own, on the backbone of the tests."""
    path = given["data"].parent / "own.json"
    document = {"model_cfg": {"vision_cfg": backbone_config(f"timm:{NAME}")["vision_cfg"]}, **more}
    path.write_text(json.dumps(document))
    return str(path)


def test_what_a_students_file_states_precedes_the_configuration_beside_the_weights(given: dict[str, Any]) -> None:
    given["student"] = own_student(given, preprocess_cfg={"mean": [0.1] * 3})
    [teacher] = open_teachers(None, given["cache"])
    config = make_student(DistillRequest(**given), teacher, None, [], given["out"]).config["preprocess_cfg"]
    assert (list(config["mean"]), list(config["std"])) == ([0.1] * 3, [0.25] * 3)  # the std is stated beside alone
    lines = [f"{row:02d}.png,a thing number {row}" for row in range(8)]
    (given["data"] / "captions.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    values = {"data": given["data"], "out": given["out"], "student": given["student"], "text": "text-2",
              "losses": "none", "steps": 1, "batch_size": 4, "image_size": 32, "init": given["init"]}  # fmt: skip
    image = train(TrainRequest(**values)).spec.require_image()
    assert (image.mean, image.std) == ((0.1,) * 3, (0.25,) * 3)


def test_folded_batch_norms_get_statistics_and_compute_the_same() -> None:
    """In training they would otherwise normalise what the file's weights already normalised."""
    network, images = student(), 2.0 + torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    with torch.no_grad():
        for number, norm in enumerate(norms):
            norm.bias.fill_(0.1 + 0.01 * number)
        before = network.encode_image(images)
        trained = network.train().encode_image(images)
        network.eval()
        for norm in norms:
            norm.reset_running_stats()
        assert measure_batch_norms(network, [images[:4], images[4:]]) == len(norms)
        torch.testing.assert_close(network.encode_image(images), before, rtol=1e-3, atol=1e-3)
        again = network.train().encode_image(images)
    assert (again - before).norm() < 0.2 * (trained - before).norm()


def fold(weights: Path) -> None:
    """Norms as the quantised weights of a phone have them: nothing but a bias."""
    state = load_file(weights)
    for name in [name for name in state if name.endswith("running_mean")]:
        norm = name.removesuffix("running_mean")
        state |= {name: torch.zeros_like(state[name]), f"{norm}running_var": torch.ones_like(state[name]),
                  f"{norm}bias": torch.full_like(state[name], 0.1)}  # fmt: skip
    save_file(state, weights)


def test_folded_norms_are_measured_at_the_students_size_on_images_of_the_whole_set(
    given: dict[str, Any], weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a larger teacher in the loop, images are decoded at the teacher's size."""
    fold(weights)
    seen: list[torch.Tensor] = []

    def watched(network: Any, batches: Any) -> int:
        seen.extend(batches)
        return measure_batch_norms(network, seen)

    monkeypatch.setattr(run, "measure_batch_norms", watched)
    monkeypatch.setattr(run, "MEASURED", 6)
    teacher, tower = tiny_teacher(), given["out"].with_name("small.json")
    (given["data"].parent / "teacher").mkdir()
    save_model(given["data"].parent / "teacher", teacher.network, teacher.config, teacher.spec)
    section = backbone_config(f"timm:{NAME}")["vision_cfg"]
    tower.write_text(json.dumps({"model_cfg": {"vision_cfg": {**section, "image_size": 16}}}))
    varied = replace(plan(backbone_frozen=1.0, steps=1), augmentation=Augmentation(flip=0.5))
    changes = {"cache": (), "teacher": str(given["data"].parent / "teacher"), "student": str(tower), "recipe": varied}
    distill(DistillRequest(**{**given, **changes}))
    assert {tuple(images.shape[2:]) for images in seen} == {(16, 16)} and sum(map(len, seen)) == 6
    assert some_rows(1000, 8)[-1] > 500


def test_training_from_pairs_measures_folded_norms_too(given: dict[str, Any], weights: Path) -> None:
    fold(weights)
    lines = [f"{row:02d}.png,a thing number {row}" for row in range(8)]
    (given["data"] / "captions.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    values = {"data": given["data"], "out": given["out"], "student": f"timm:{NAME}", "text": "text-2", "losses": "none",
              "steps": 1, "batch_size": 4, "lr": 1e-9, "image_size": 32, "init": str(weights)}  # fmt: skip
    train(TrainRequest(**values))
    ours, theirs = load_model(given["out"]).network.state_dict(), load_file(weights)
    names = [name.replace("running_mean", "weight") for name in theirs if name.endswith("running_mean")]
    assert not all(torch.allclose(ours[f"visual.trunk.{name}"], theirs[name], atol=1e-3) for name in names)


def test_an_init_file_needs_a_student(given: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"no file .*gone\.safetensors"):
        DistillRequest(**{**given, "init": "gone.safetensors"})
    (given["out"].parent / "weights.pt").write_bytes(b"PK")
    with pytest.raises(ModelError, match=r"weights\.pt is a pickle.*Convert it"):
        DistillRequest(**{**given, "init": str(given["out"].parent / "weights.pt")})
    with pytest.raises(UsageError, match="init with a file of weights needs student"):
        DistillRequest(**{**given, "student": None, "text": "text-2"})


NO_STEPS = plan(steps=0)


@pytest.mark.parametrize(
    ("changes", "vision", "message"),
    [
        ({}, {"image_size": 64, "timm_model_name": "vit_tiny_patch16_224"}, r"of 64 × 64 px: .*\(224\)\. Give"),
        ({}, {"timm_model_name": "mobilenetv2_10"}, r"own\.json cannot be used: timm has no model 'mobilenetv2_10'"),
        ({}, {"timm_model_name": NAME, "image_size": -64}, r"own\.json cannot be used: The image size -64"),
        ({}, {"layers": "x", "width": 16, "patch_size": 16, "image_size": 32}, r"own\.json cannot be used: open_clip"),
        ({"student": "conv-x-4", "recipe": NO_STEPS}, None, "With steps = 0 nothing is trained"),
        ({"student": "conv-x-4", "recipe": plan(patch_dropout=0.5)}, None, "patch_dropout needs a vision transformer"),
        ({"student": "vit-t4-64", "recipe": plan(backbone_frozen=0.5)}, None, "backbone_frozen needs a student on a"),
        (
            {"student": "conv-x-4", "recipe": plan(frozen=("visual.trunk.stage",))},
            None,
            "no part named visual.trunk.stage",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_a_teacher_runs_and_leaves_nothing(
    given: dict[str, Any], changes: dict[str, Any], vision: dict[str, Any] | None, message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(run.DistillRun, "choose_images", lambda self: pytest.fail("goes on"))
    asked = {**given, "init": None, **changes}
    if vision is not None:
        asked["student"] = own_student(given, model_cfg={"vision_cfg": vision})
    with pytest.raises((ModelError, UsageError), match=message):
        distill(DistillRequest(**asked))
    assert not list(given["out"].parent.glob(f"{given['out'].name}*"))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ([1], "is no object"),
        ({"interpolation": "lanczos"}, "lanczos"),
        ({"interpolaton": "bicubic"}, "has 'interpolaton'; open_clip knows .*Did you mean interpolation"),
    ],
)
def test_a_students_preprocessing_with_a_mistake_is_refused(given: dict[str, Any], section: Any, message: str) -> None:
    own = own_student(given, preprocess_cfg=section)
    with pytest.raises(ModelError, match=rf"own\.json holds no usable preprocessing: .*{message}"):
        distill(DistillRequest(**{**given, "student": own}))


def test_what_init_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model folder may be called like a file, a hub's address too, and a file like a model of open_clip."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pt").mkdir()
    (tmp_path / "ViT-B-32").write_text("")
    (tmp_path / "kept").write_text("")
    assert [weights_file(name) for name in ("model.pt", "hf-hub:a/b.bin", "ViT-B-32", None)] == [None] * 4
    for name in ("gone.safetensors", "gone.PT", tmp_path / "kept"):
        assert weights_file(name) == Path(name)


@pytest.mark.parametrize("name", ["weights", "weights.txt"])
def test_weights_of_another_suffix_are_refused_by_what_they_should_be(given: dict[str, Any], name: str) -> None:
    other = Path(given["init"]).rename(Path(given["init"]).with_name(name))
    with pytest.raises(ModelError, match=rf"{name} is not called \.safetensors"):
        DistillRequest(**{**given, "init": str(other)})
    other.rename(other.with_name("M.SAFETENSORS"))
    assert distill(DistillRequest(**{**given, "init": str(other.with_name("M.SAFETENSORS"))})).images == 12


def test_a_trained_backbone_does_not_inherit_because_a_recipe_does(given: dict[str, Any]) -> None:
    recipe = replace(plan(steps=1), inherit="fitted")
    assert distill(DistillRequest(**{**given, "recipe": recipe})).spec.provenance["inherit"] is None
    both = {**given, "recipe": recipe, "text": "text-2", "force": True}
    asked = DistillRequest(**both)
    assert (asked.inherited, asked.inheriting) == ("fitted", ("text",))
    asked = DistillRequest(**both, inherit="leading")
    assert (asked.inherited, asked.inheriting) == ("leading", ("image", "text"))
