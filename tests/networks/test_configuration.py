"""Configurations of others: what would run code is refused before open_clip builds anything."""

from __future__ import annotations

import copy
import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import open_clip
import pytest

from mobileclip_kit.errors import DataError, ExportError, ModelError
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.networks.configuration import check_configuration
from mobileclip_kit.networks.model import build_network, load_model
from mobileclip_kit.resources import preset_names, tower_config
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.spec import CONFIG_FILE, MODEL_FILE
from tests.documents import edited
from tests.networks.test_model import TINY, tiny_folder  # noqa: F401


class FakeConfig:
    """Stands in for transformers: remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def from_pretrained(self, name: str, **kwargs: Any) -> Any:
        self.asked.append((name, kwargs))
        if name == "owner/unknown":
            raise ValueError("It contains custom code.\nPass the argument trust_remote_code=True.")
        return types.SimpleNamespace(**({"auto_map": {"AutoModel": "x.X"}} if name == "owner/code" else {}))


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> FakeConfig:
    fake = FakeConfig()
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(AutoConfig=fake))
    return fake


def change(folder: Path, section: str, values: dict[str, Any]) -> None:
    document = json.loads((folder / CONFIG_FILE).read_text())
    document["model_cfg"][section] |= values
    (folder / CONFIG_FILE).write_text(json.dumps(document))
    (folder / MODEL_FILE).unlink()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"hf_tokenizer_name": "/dir"}, r"text_cfg\.hf_tokenizer_name is '/dir'"),
        ({"hf_model_name": "/dir"}, r"text_cfg\.hf_model_name is '/dir', which is not a name on the Hugging Face hub"),
        ({"hf_model_name": "owner/code"}, r"text_cfg\.hf_model_name is 'owner/code', which brings code of its own"),
        ({"hf_model_name": "owner/unknown"}, r"'owner/unknown', which cannot be loaded: It contains custom code\.$"),
        (
            {"hf_tokenizer_name": "owner/name", "tokenizer_kwargs": {"trust_remote_code": True}},
            r"text_cfg\.tokenizer_kwargs sets trust_remote_code",
        ),
        ({"tokenizer_kwargs": 7}, r"text_cfg\.tokenizer_kwargs is 7, not an object"),
    ],
)
def test_a_folder_that_could_run_code_is_refused_by_file_and_key(
    tiny_folder: tuple[Path, Any],  # noqa: F811
    config: FakeConfig,
    values: dict[str, Any],
    sentence: str,
) -> None:
    folder, _ = tiny_folder
    change(folder, "text_cfg", values)
    with pytest.raises(ModelError, match=sentence) as caught:
        load_model(folder)
    assert caught.value.message.startswith(f"{folder / CONFIG_FILE}: text_cfg.")
    assert all(kwargs == {"trust_remote_code": False} for _, kwargs in config.asked)


def test_a_hub_configuration_is_checked_before_the_model_is_built(
    config: FakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = copy.deepcopy(TINY["model_cfg"])
    hub["text_cfg"]["hf_model_name"] = "owner/code"
    monkeypatch.setattr("mobileclip_kit.networks.model.local_place", lambda name: name)  # no hub is asked
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: hub)
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(ModelError, match=r"^hf-hub:owner/model: text_cfg\.hf_model_name is 'owner/code'"):
        load_model("hf-hub:owner/model")


def test_no_weights_of_a_text_encoder_are_fetched_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip fetches them unless the configuration says otherwise, which most do not."""

    def build(**config: Any) -> Any:
        raise ValueError(config["text_cfg"])

    monkeypatch.setattr("mobileclip_kit.networks.model.CustomTextCLIP", build)
    with pytest.raises(ModelError, match="'hf_model_pretrained': False"):
        build_network({"embed_dim": 8, "vision_cfg": {"image_size": 32}, "text_cfg": {"hf_model_name": "roberta-base"}})


def test_a_text_encoder_without_transformers_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match="needs the transformers library. Install it"):
        check_configuration({"text_cfg": {"hf_model_name": "roberta-base"}}, "x.json")


def test_an_export_that_could_run_code_is_refused_by_file_and_key(onnx_export: Export, tmp_path: Path) -> None:
    """What ``mckit search`` opens."""
    shutil.copy(onnx_export.path / "export.json", tmp_path)
    with edited(tmp_path / "export.json") as document:
        document["model"]["text"] |= {
            "tokenizer": "huggingface",
            "tokenizer_name": "owner/name",
            "kwargs": {"trust_remote_code": True},
        }
    with pytest.raises(ExportError, match=r"export\.json: text\.kwargs sets trust_remote_code"):
        open_encoder(tmp_path)


@pytest.mark.parametrize("name", ["hf-hub:owner/x", "hf_hub:owner/x", "local-dir:/dir", "/dir/x", "owner/x", "", 7])
def test_a_timm_name_with_a_source_is_refused_before_timm_sees_it(
    tiny_folder: tuple[Path, Any],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    name: object,
) -> None:
    monkeypatch.setattr("timm.create_model", lambda *_, **__: pytest.fail("timm was asked"))
    folder, _ = tiny_folder
    change(folder, "vision_cfg", {"timm_model_name": name})
    with pytest.raises(ModelError, match=r"open_clip_config\.json: vision_cfg\.timm_model_name is .*no name of a timm"):
        load_model(folder)


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        ("vision_cfg", {"layers": 200_000}, "vision_cfg.layers is 200000; mckit builds models of at most 1,000"),
        ("vision_cfg", {"layers": [1, 1, 1, 10**6]}, "vision_cfg.layers is"),
        ("vision_cfg", {"image_size": [10**6, 32]}, "vision_cfg.image_size is"),
        ("vision_cfg", {"patch_size": 0}, "vision_cfg.patch_size is 0; it must be at least 1"),
        ("text_cfg", {"layers": -1}, "text_cfg.layers is -1"),
        ("text_cfg", {"vocab_size": 10**12}, "text_cfg.vocab_size is"),
        ("text_cfg", {"kept": {"head_width": 8, "heads": [2], "ffn": [10**9]}}, "text_cfg.kept.ffn is"),
    ],
)
def test_sizes_far_above_any_model_are_refused_before_it_is_built(
    tiny_folder: tuple[Path, Any],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    section: str,
    values: dict[str, Any],
    sentence: str,
) -> None:
    monkeypatch.setattr("mobileclip_kit.networks.model.build_network", lambda *_: pytest.fail("built"))
    folder, _ = tiny_folder
    change(folder, section, values)
    with pytest.raises(ModelError, match=sentence):
        load_model(folder)


def test_a_size_that_is_no_number_is_refused(tiny_folder: tuple[Path, Any]) -> None:  # noqa: F811
    folder, _ = tiny_folder
    change(folder, "vision_cfg", {"mlp_ratio": float("nan")})
    with pytest.raises(DataError, match=r"open_clip_config\.json is not valid JSON: NaN is not a JSON number"):
        load_model(folder)


@pytest.mark.parametrize("section", ["vision_cfg", "text_cfg", "multimodal_cfg"])
def test_a_section_that_is_no_object_is_refused(section: str) -> None:
    with pytest.raises(ModelError, match=f"x.json: {section} is None, not an object"):
        check_configuration({**TINY["model_cfg"], section: None}, "x.json")


def test_every_configuration_of_open_clip_and_ours_passes(config: FakeConfig) -> None:
    for name in open_clip.list_models():
        check_configuration(open_clip.get_model_config(name), name)
    text = tower_config("text tower", "text-8")
    for name in preset_names("student"):
        check_configuration({"vision_cfg": tower_config("student", name), "text_cfg": text}, "ours")
    assert {name for name, _ in config.asked} > {"roberta-base", "google/mt5-base"}
