"""Model folders: both ways, readable by open_clip, damaged ones refused."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import pytest
import torch

from mobileclip_kit.errors import ModelError
from mobileclip_kit.model_names import check_model_name, pretrained_tags
from mobileclip_kit.networks.model import build_network, describe, load_model, save_model, tower_parameters
from mobileclip_kit.networks.students import build_student, student_config
from mobileclip_kit.resources import preset_names
from mobileclip_kit.spec import WEIGHTS_FILE, ImageSpec, ModelSpec

TINY: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 8, "vocab_size": 600, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": ImageSpec(height=32, width=32).to_open_clip(),
}


@pytest.fixture
def tiny_folder(tmp_path: Path) -> tuple[Path, ModelSpec]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    torch.manual_seed(0)
    network = build_network(TINY["model_cfg"])
    return folder, save_model(folder, network, TINY, describe("tiny", network, TINY))


def test_folder_round_trip(tiny_folder: tuple[Path, ModelSpec]) -> None:
    folder, spec = tiny_folder
    model = load_model(folder)
    assert model.spec == spec
    assert model.config == TINY


def test_open_clip_loads_the_folder_and_computes_the_same(tiny_folder: tuple[Path, ModelSpec]) -> None:
    folder, _ = tiny_folder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = open_clip.create_model(f"local-dir:{folder}").eval()
    ours = load_model(folder).network
    images = torch.rand(2, 3, 32, 32)
    ids = torch.randint(0, 600, (2, 8))
    with torch.no_grad():
        assert torch.equal(theirs.encode_image(images), ours.encode_image(images))
        assert torch.equal(theirs.encode_text(ids), ours.encode_text(ids))


def test_changed_weights_are_noticed(tiny_folder: tuple[Path, ModelSpec]) -> None:
    folder, _ = tiny_folder
    data = bytearray((folder / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(data)
    with pytest.raises(ModelError, match="have the hash"):
        load_model(folder)


def test_cut_off_weights_are_refused(tiny_folder: tuple[Path, ModelSpec]) -> None:
    folder, _ = tiny_folder
    data = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match=f"{WEIGHTS_FILE} cannot be read"):
        load_model(folder)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("described", [True, False])
def test_weights_that_are_not_finite_are_refused_by_file(tmp_path: Path, value: float, described: bool) -> None:
    network = build_network(TINY["model_cfg"])
    spec = describe("tiny", network, TINY)
    with torch.no_grad():
        network.get_parameter("visual.ln_post.weight")[3] = value
        network.get_parameter("visual.proj")[1, 2] = value
    save_model(tmp_path, network, TINY, spec)
    if not described:
        (tmp_path / "model.json").unlink()
    first = next(name for name in network.state_dict() if name in ("visual.ln_post.weight", "visual.proj"))
    with pytest.raises(ModelError, match=rf"{WEIGHTS_FILE} holds values that are not finite \({first}\)"):
        load_model(tmp_path)


def test_weights_of_a_tag_that_are_not_finite_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network(TINY["model_cfg"])
    torch.nn.init.constant_(network.get_parameter("text_projection"), math.nan)
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: network)
    with pytest.raises(ModelError, match=r"^ViT-B-32:openai holds values that are not finite \(text_projection\)"):
        load_model("ViT-B-32:openai")


def test_missing_file_is_named(tiny_folder: tuple[Path, ModelSpec]) -> None:
    folder, _ = tiny_folder
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match=f"has no {WEIGHTS_FILE}"):
        load_model(folder)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("ViT-B32", "ViT-B-32"), ("MobileCLIP2-S1", "MobileCLIP2?-S"), ("./nowhere", "no model folder")],
)
def test_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ModelError, match=nearest):
        load_model(name)


def test_a_misspelt_folder_gets_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "student-onnx-fp32").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="Did you mean student-onnx-fp32"):
        check_model_name("studnet-onnx")


class _Attack:
    """What runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._mark,)


def test_weights_that_would_run_code_are_not_read(tmp_path: Path) -> None:
    torch.save({"weight": _Attack(tmp_path / "mark")}, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="could run code"):
        load_model(f"ViT-S-32:{tmp_path / 'weights.pt'}")
    assert not (tmp_path / "mark").exists()


def test_unknown_tag_gets_the_known_ones() -> None:
    with pytest.raises(ModelError, match="ViT-B-32:openai"):
        load_model("ViT-B-32:opnai")


@pytest.mark.parametrize(("name", "heads"), [("vit-s6-h12", 12), ("vit-s6-h24", 24)])
def test_students_of_2021_have_their_published_size(name: str, heads: int) -> None:
    """Width 384, 6 layers, patch 32: 12.0 M parameters, 48 MB in float32, 24 MB in float16."""
    config = student_config(name, embedding_dim=512, image=ImageSpec())
    network: Any = build_student(config, seed=0)
    assert tower_parameters(network)["image"] == 12_044_160
    assert network.visual.transformer.resblocks[0].attn.num_heads == heads
    assert describe(name, network, config).towers == ("image",)


def test_image_only_student_survives_the_folder(tmp_path: Path) -> None:
    config = student_config("vit-s6-h12", embedding_dim=64, image=ImageSpec())
    network = build_student(config, seed=0)
    spec = save_model(tmp_path, network, config, describe("s", network, config))
    assert load_model(tmp_path).spec == spec
    assert spec.text is None


def test_student_takes_over_the_teachers_text_tower(tiny_folder: tuple[Path, ModelSpec]) -> None:
    teacher = load_model(tiny_folder[0])
    assert teacher.spec.image is not None
    config = student_config("vit-s6-h12", embedding_dim=16, image=teacher.spec.image, teacher=teacher)
    student: Any = build_student(config, seed=0, teacher=teacher)
    ids = torch.randint(0, 600, (3, 8))
    with torch.no_grad():
        assert torch.equal(student.encode_text(ids), teacher.network.encode_text(ids))  # type: ignore[operator]
    assert config["preprocess_cfg"]["size"] == [224, 224]


def test_seed_decides_the_students_weights() -> None:
    config = student_config("vit-s6-h12", embedding_dim=16, image=ImageSpec())
    one, same, other = (build_student(config, seed=seed).state_dict()["visual.proj"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_unknown_student_gets_the_nearest() -> None:
    with pytest.raises(ModelError, match="Did you mean vit-s6-h12"):
        student_config("vit-s6h12", embedding_dim=8, image=ImageSpec())


def test_every_student_has_a_configuration() -> None:
    assert {"vit-s6-h12", "vit-s6-h24"} <= set(preset_names("student"))


def test_damaged_configuration_is_refused(tiny_folder: tuple[Path, ModelSpec]) -> None:
    folder, _ = tiny_folder
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 16}}))
    with pytest.raises(ModelError):
        load_model(folder)


@pytest.mark.parametrize(
    ("preprocessing", "said"),
    [
        ({"mean": [0.5, "x", 0.5]}, r"mean is \[0.5, 'x', 0.5\]; it must be three numbers"),
        ({"std": [0.5, 0.5, 0.0]}, "must have three numbers each"),
        ({"size": "large"}, "size is 'large'; it must be a whole number or two"),
        ({"size": [64, None]}, r"size is \[64, None\]; it must be"),
        ({"fill_color": [0, 0]}, r"fill_color is \[0, 0\]; it must be a whole number"),
        ({"interpolation": "nearest"}, "interpolation"),
    ],
)
def test_damaged_preprocessing_is_refused_by_file(
    tiny_folder: tuple[Path, ModelSpec], preprocessing: dict[str, Any], said: str
) -> None:
    """As in folders that others made, without a model.json."""
    folder, _ = tiny_folder
    (folder / "model.json").unlink()
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"] |= preprocessing
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=rf"open_clip_config\.json cannot be used: .*{said}"):
        load_model(folder)


def test_tags_are_read_without_importing_open_clip() -> None:
    for architecture, tags in pretrained_tags().items():
        assert list(tags) == open_clip.list_pretrained_tags_by_model(architecture)
    assert "openai" in pretrained_tags()["ViT-B-32"]


def test_weights_without_a_network_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> None:
        try:
            raise huggingface_hub.errors.OfflineModeIsEnabled("Cannot reach the hub.")
        except OSError as error:
            raise RuntimeError("Failed to download weights. Check your connection and try again.") from error

    monkeypatch.setattr(open_clip, "create_model", download)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(ModelError) as refused:
        load_model("RN50:openai")
    assert refused.value.message == "The weights of RN50:openai cannot be downloaded: no network."
