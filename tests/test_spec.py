"""ModelSpec: both ways through JSON, identity, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mobileclip_kit.errors import ModelError, ModelMismatchError
from mobileclip_kit.spec import ImageSpec, ModelSpec, TextSpec, hash_model, read_spec, write_spec

SPEC = ModelSpec(
    name="tiny",
    embedding_dim=8,
    image=ImageSpec(height=64, width=48, mean=(0.5, 0.4, 0.3), interpolation="bilinear", resize_mode="longest"),
    text=TextSpec(context_length=16, vocab_size=600, merges="trimmed"),
    model_hash="a" * 64,
    provenance={"teacher": "big"},
)


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, text=None), replace(SPEC, image=None)])
def test_json_round_trip(tmp_path: Path, spec: ModelSpec) -> None:
    write_spec(tmp_path, spec)
    assert read_spec(tmp_path) == spec


def test_towers_follow_what_is_there() -> None:
    assert SPEC.towers == ("image", "text")
    assert replace(SPEC, text=None).towers == ("image",)
    with pytest.raises(ModelError, match="no text tower.*query_vectors"):
        replace(SPEC, text=None).require_text()


def test_preprocessing_round_trip_through_open_clip() -> None:
    assert SPEC.image is not None
    assert ImageSpec.from_open_clip(SPEC.image.to_open_clip()) == SPEC.image


def test_random_interpolation_is_evaluated_as_bicubic() -> None:
    """As open_clip does outside of training."""
    assert ImageSpec.from_open_clip({"size": 32, "interpolation": "random"}).interpolation == "bicubic"


def test_newer_format_is_refused() -> None:
    with pytest.raises(ModelError, match="format version 99"):
        ModelSpec.from_json({**SPEC.to_json(), "format_version": 99})


def test_an_unknown_key_is_refused_by_file_and_name() -> None:
    document = SPEC.to_json()
    with pytest.raises(ModelError, match=r"here/model\.json has the unknown key 'later'"):
        ModelSpec.from_json({**document, "later": 1}, "here/model.json")
    document["image"]["widht"] = 4
    with pytest.raises(ModelError, match=r"model\.json: image has the unknown key 'widht'\. Did you mean width\?"):
        ModelSpec.from_json(document)


@pytest.mark.parametrize("missing", ["name", "image", "embedding_dim"])
def test_incomplete_description_is_refused(missing: str) -> None:
    document = json.loads(json.dumps(SPEC.to_json()))
    del document[missing]
    with pytest.raises(ModelError, match=rf"model\.json has no {missing}\."):
        ModelSpec.from_json(document)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (None, "embedding_dim", "512"),
        (None, "embedding_dim", -5),
        (None, "model_hash", 5),
        (None, "logit_scale", [1]),
        ("image", "height", 1e30),
        ("image", "mean", "abc"),
        ("image", "std", [True, 1, 1]),
        ("text", "vocab_size", []),
        ("text", "context_length", True),
    ],
)
def test_a_description_with_values_of_another_kind_is_refused(section: str | None, key: str, value: object) -> None:
    document = json.loads(json.dumps(SPEC.to_json()))
    (document if section is None else document[section])[key] = value
    with pytest.raises(ModelError, match=rf"{key}(\[0\])? is "):
        ModelSpec.from_json(document)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (None, "embedding_dim", 9),
        (None, "logit_scale", 10.0),
        (None, "model_hash", "b" * 64),
        (None, "text", None),
        ("image", "mean", [0.5, 0.4, 0.31]),
        ("image", "std", [0.3, 0.2, 0.1]),
        ("image", "resize_mode", "squash"),
        ("image", "height", 65),
        ("text", "cleaning", "canonicalize"),
        ("text", "pad_id", 1),
    ],
)
def test_a_changed_setting_is_refused(section: str | None, key: str, value: object) -> None:
    """The model hash knows nothing of them, and vectors would be others."""
    document = json.loads(json.dumps(SPEC.to_json()))
    (document if section is None else document[section])[key] = value
    with pytest.raises(ModelError, match=r"settings in here/model\.json were changed"):
        ModelSpec.from_json(document, "here/model.json")
    del document["settings_sha256"]  # as mckit wrote descriptions before
    assert ModelSpec.from_json(document) != SPEC


def test_a_description_without_a_digest_is_read() -> None:
    document = json.loads(json.dumps(SPEC.to_json()))
    del document["settings_sha256"]
    assert ModelSpec.from_json(document) == SPEC


def test_names_and_provenance_may_be_edited() -> None:
    document = {**SPEC.to_json(), "name": "mine", "provenance": {"licence": "MIT"}}
    assert ModelSpec.from_json(document) == replace(SPEC, name="mine", provenance={"licence": "MIT"})


@pytest.mark.parametrize("change", [{"interpolation": "nearest"}, {"height": 0}, {"std": (0.0, 1.0, 1.0)}])
def test_impossible_preprocessing_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        ImageSpec(**change)  # type: ignore[arg-type]


def test_other_models_things_are_refused() -> None:
    SPEC.check_same_model("a" * 64, "The index pets")
    with pytest.raises(ModelMismatchError, match="The index pets belongs to the model bbbbbbbbbbbb"):
        SPEC.check_same_model("b" * 64, "The index pets")


def test_hash_depends_on_weights_and_configuration_not_on_order() -> None:
    first, second = ("a", "float32", (1,), b"\0\0\0\0"), ("b", "float32", (1,), b"\0\0\0\1")
    base = hash_model({"x": 1}, [first, second])
    assert base == hash_model({"x": 1}, [second, first])
    assert base != hash_model({"x": 2}, [first, second])
    assert base != hash_model({"x": 1}, [first, ("b", "float32", (1,), b"\0\0\0\2")])
    assert base != hash_model({"x": 1}, [first, ("b", "float32", (1, 1), b"\0\0\0\1")])


HUGGINGFACE = {"tokenizer": "huggingface", "tokenizer_name": "owner/name"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            {"kwargs": {"trust_remote_code": True}},
            r"text\.kwargs sets trust_remote_code, which mckit does not pass to a",
        ),
        ({"kwargs": {"trust_remote_code": False}}, "sets trust_remote_code"),
        ({"kwargs": {"cache_dir": "/dir"}}, "sets cache_dir"),
        ({"kwargs": {"code_revision": "main"}}, "sets code_revision"),
        ({"kwargs": {"_commit_hash": "main"}}, "sets _commit_hash"),
        ({"kwargs": {"use_fast": {"a": 1}}}, r"sets use_fast to \{'a': 1\}, which is not a bool"),
        ({"kwargs": ["trust_remote_code"]}, r'text\.kwargs is \["trust_remote_code"\]; it must be an object'),
        ({"tokenizer_name": "/dir"}, r"text\.tokenizer_name is '/dir', which is not a name on the Hugging Face hub"),
        ({"tokenizer_name": "./dir"}, "not a name on the Hugging Face hub"),
        ({"tokenizer_name": "owner/.."}, "not a name on the Hugging Face hub"),
        ({"tokenizer_name": "a/b/c"}, "not a name on the Hugging Face hub"),
        ({"tokenizer_name": "https://host/name"}, "not a name on the Hugging Face hub"),
        ({"tokenizer_name": "C:\\\\dir"}, "not a name on the Hugging Face hub"),
        ({"tokenizer_name": 7}, "tokenizer_name is 7; it must be a text"),
    ],
)
def test_a_tokenizer_that_could_run_code_is_refused_by_file_and_key(
    tmp_path: Path, text: dict[str, object], sentence: str
) -> None:
    document = SPEC.to_json()
    document["text"] |= HUGGINGFACE | text
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match=sentence) as caught:
        read_spec(tmp_path)
    assert caught.value.message.startswith(f"{tmp_path / 'model.json'}: text.")


def test_the_arguments_that_tokenizers_need_are_read() -> None:
    kwargs = {"strip_sep_token": True, "language": None, "revision": "v1", "use_fast": True}
    document = SPEC.to_json()
    document["text"] |= HUGGINGFACE | {"kwargs": kwargs}
    del document["settings_sha256"]
    text = ModelSpec.from_json(document).text
    assert text is not None
    assert (text.tokenizer_name, text.kwargs) == ("owner/name", kwargs)
