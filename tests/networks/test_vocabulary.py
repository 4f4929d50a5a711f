"""Trimmed vocabularies of models."""

import open_clip
import pytest
import torch

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.model import PLACEHOLDER_TEXT, Model, describe, load_model, save_model
from mobileclip_kit.networks.students import build_student, pair_config
from mobileclip_kit.networks.vocabulary import trim_vocabulary
from mobileclip_kit.tokenizer import Tokenizer
from tests.documents import edited

TEXTS = ["a red star", "two blue houses on grass", "the word umbrella"]


@pytest.fixture(scope="module")
def full():
    config = pair_config("conv-s", text="text-2", embedding_dim=16)
    network = build_student(config, seed=0)
    return Model(network, config, describe("full", network, config))


def vectors(model, texts):
    tokenizer = Tokenizer.for_spec(model.spec.text, model.tokenizer_file)
    with torch.no_grad():
        return model.network.encode_text(torch.from_numpy(tokenizer(texts)))


def test_vectors_of_the_wanted_texts_stay_the_same(full, tmp_path):
    trimmed = trim_vocabulary(full, TEXTS, tmp_path / "merges.txt")
    assert trimmed.spec.text.vocab_size < 700
    assert trimmed.spec.text.merges == "trimmed"
    assert torch.equal(vectors(trimmed, TEXTS), vectors(full, TEXTS))


def test_any_other_text_stays_encodable(full, tmp_path):
    trimmed = trim_vocabulary(full, TEXTS, tmp_path / "merges.txt")
    assert torch.isfinite(vectors(trimmed, ["ein grünes Fahrrad 自転車 🚲"])).all()


def test_a_trimmed_model_survives_its_folder(full, tmp_path):
    trimmed = trim_vocabulary(full, TEXTS, tmp_path / "merges.txt")
    folder = tmp_path / "model"
    folder.mkdir()
    spec = save_model(folder, trimmed.network, trimmed.config, trimmed.spec, trimmed.tokenizer_file)
    loaded = load_model(folder)
    assert loaded.spec == spec
    assert torch.equal(vectors(loaded, TEXTS), vectors(full, TEXTS))
    assert open_clip.create_model(f"local-dir:{folder}").token_embedding.num_embeddings == spec.text.vocab_size


@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_a_models_changed_merges_are_refused(full, tmp_path, harm):
    trimmed = trim_vocabulary(full, TEXTS, tmp_path / "merges.txt")
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(folder, trimmed.network, trimmed.config, trimmed.spec, trimmed.tokenizer_file)
    merges = folder / "merges.txt"
    if harm == "missing":
        merges.unlink()
    else:
        lines = merges.read_text().splitlines(keepends=True)
        merges.write_text("".join([*lines[:-2], lines[-1], lines[-2]]))
    with pytest.raises(ModelError, match=rf"merges\.txt .*{harm}"):
        load_model(folder)


def test_a_model_folder_without_a_digest_of_its_merges_is_read(full, tmp_path):
    """As mckit wrote them before."""
    trimmed = trim_vocabulary(full, TEXTS, tmp_path / "merges.txt")
    folder = tmp_path / "model"
    folder.mkdir()
    spec = save_model(folder, trimmed.network, trimmed.config, trimmed.spec, trimmed.tokenizer_file)
    with edited(folder / "model.json") as document:
        del document["merges_sha256"]
    assert load_model(folder).spec == spec


def test_trimming_twice_keeps_the_rest(full, tmp_path):
    once = trim_vocabulary(full, TEXTS, tmp_path / "once.txt")
    twice = trim_vocabulary(once, TEXTS[:1], tmp_path / "twice.txt")
    assert twice.spec.text.vocab_size < once.spec.text.vocab_size
    assert torch.equal(vectors(twice, TEXTS[:1]), vectors(full, TEXTS[:1]))


def test_a_model_without_text_tower_is_refused(tmp_path):
    config = pair_config("conv-s", text="text-2", embedding_dim=16, vocab_size=600)
    config["model_cfg"]["text_cfg"] = dict(PLACEHOLDER_TEXT)
    network = build_student(config, seed=0)
    with pytest.raises(ModelError, match="no text tower"):
        trim_vocabulary(Model(network, config, describe("image", network, config)), TEXTS, tmp_path / "merges.txt")
