"""The tables of students and text towers."""

import open_clip
import pytest
import torch

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.model import build_network, describe, load_model, save_model, tower_parameters
from mobileclip_kit.networks.students import build_student, pair_config
from mobileclip_kit.resources import tower_config

SMALL = ("vit-t4-64", "conv-m", "conv-l", "conv-s", "hybrid-m", "hybrid-s", "resnet-w8", "swin-nano-64", "mobilenetv2")


def build(name, text="text-2", dim=16, **options):
    config = pair_config(name, text=text, embedding_dim=dim, vocab_size=600, **options)
    return config, build_student(config, seed=0)


@pytest.mark.parametrize("name", SMALL)
def test_students_give_vectors_of_the_wanted_width(name):
    config, network = build(name)
    size = config["model_cfg"]["vision_cfg"]["image_size"]
    with torch.no_grad():
        assert network.encode_image(torch.rand(1, 3, size, size)).shape == (1, 16)


def test_swin_nano_has_the_papers_size():
    _, network = build("swin-nano", dim=512)
    assert tower_parameters(network)["image"] == pytest.approx(7.1e6, rel=0.01)


def test_resnet18_with_attention_pooling_has_the_papers_size():
    config, network = build("resnet18-attention", dim=1024)
    assert tower_parameters(network)["image"] == 12_515_392
    with pytest.raises(ModelError, match="is built for 224 px"):
        build("resnet18-attention", image_size=128)


@pytest.mark.parametrize(
    ("image", "text", "dim", "millions"),
    [("tinyclip-61m-32", "tinyclip-29m", 512, (61, 29)), ("tinyclip-40m-32", "tinyclip-19m", 512, (40, 19)),
     ("tinyclip-39m-16", "tinyclip-19m", 512, (39, 19)), ("tinyclip-8m-16", "tinyclip-3m", 512, (8, 3)),
     ("tinyclip-resnet-30m", "tinyclip-29m", 1024, (30, 29)), ("tinyclip-resnet-19m", "tinyclip-19m", 1024, (19, 19))],
)  # fmt: skip
def test_tinyclips_published_models_have_the_sizes_in_their_names(image, text, dim, millions):
    """Their names count a text tower without its table of tokens."""
    config = pair_config(image, text=text, embedding_dim=dim)["model_cfg"]
    with torch.device("meta"):
        network = build_network(config)
    counts = tower_parameters(network)
    tokens = network.token_embedding.weight.numel()
    assert (round(counts["image"] / 1e6), round((counts["text"] - tokens) / 1e6)) == millions


def test_a_stage_is_a_quarter_of_eight_layers():
    assert tower_config("text tower", "text-8")["layers"] == 8


def test_the_small_student_has_less_than_a_third_of_the_teachers_tower():
    teacher, student = (tower_parameters(build(name, dim=256)[1])["image"] for name in ("conv-x", "hybrid-x"))
    assert student < teacher / 3


@pytest.mark.parametrize("name", ["conv-x", "hybrid-x", "conv-l", "hybrid-s", "swin-nano-64"])
def test_open_clip_loads_towers_that_timm_has_no_name_for(name, tmp_path):
    config, network = build(name)
    save_model(tmp_path, network, config, describe(name, network, config))
    theirs = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(theirs.encode_image(image), network.encode_image(image))


def test_half_precision_folders_are_computed_with_in_float32(tmp_path):
    config, network = build("conv-s")
    spec = save_model(tmp_path, network, config, describe("s", network, config), dtype=torch.float16)
    loaded = load_model(tmp_path)
    assert loaded.spec.model_hash == spec.model_hash
    weight = network.visual.head.proj.weight
    stored = loaded.network.visual.head.proj.weight
    assert stored.dtype == torch.float32
    assert torch.equal(stored, weight.half().float())


def test_sizes_are_multiples_of_a_patch():
    config, network = build("vit-t4-64", image_size=96)
    assert config["preprocess_cfg"]["size"] == [96, 96]
    with pytest.raises(ModelError, match="multiple of 8 px"):
        build("vit-t4-64", image_size=70)


@pytest.mark.parametrize("name", ["swin-nano", "conv-m"])
def test_towers_built_for_one_size_refuse_another(name):
    with pytest.raises(ModelError, match="not for 128 px"):
        build(name, image_size=128)


def test_unknown_names_meet_the_nearest():
    with pytest.raises(ModelError, match="Did you mean resnet18?"):
        build("resnet19")
    with pytest.raises(ModelError, match="Did you mean text-8?"):
        build("conv-s", text="text-9")


@pytest.mark.parametrize("name", ["conv-x", "conv-l"])
def test_sized_students_have_their_share_of_the_teachers_tower(name):
    whole = tower_parameters(build(name, dim=256)[1])["image"]
    parts = {f"{name}-{part}": part for part in (2, 4, 8)} | ({"conv-x-4r": 4} if name == "conv-x" else {})
    for student, part in parts.items():
        assert tower_parameters(build(student, dim=256)[1])["image"] == pytest.approx(whole / part, rel=0.05)


def test_models_of_the_low_rank_tower_of_older_versions_are_still_read(tmp_path):
    """Version 0.1.0 named it mckit_conv_x_4r_64: all places, rank 64."""
    config, _ = build("conv-x-4r")
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = "mckit_conv_x_4r_64"
    network = build_student(config, seed=0)
    assert network.visual.trunk.reduce.weight.shape == (64, 64 * (16 + 1 + 4))
    save_model(tmp_path, network, config, describe("old", network, config))
    load_model(tmp_path)
