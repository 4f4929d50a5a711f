"""Students as open_clip configurations: a new image tower, and a text tower of its own or its teacher's.

The known ones are files in ``models/students`` and ``models/text_towers``; a JSON file of one's own works as well.

``vit-s6-h12`` is PicCollage's student of 2021: OpenAI's ViT-B/32 image tower with width and depth halved (width 384, 6
layers, patch 32); ``vit-s6-h24`` has the same parameters cut into 24 heads, and is fine-tuned from the 12-head weights.
``resnet18``, ``mobilenetv2`` and ``swin-nano`` are LightCLIP's image encoders (arXiv 2312.00674), ``text-8`` its text
transformer. The paper's ResNet-18 has 12.51 M parameters: ``resnet18-attention``, with CLIP's attention pooling, has
them with vectors of 1,024 numbers. ``resnet-w24`` and the narrower ones are CLIP's own ResNet with attention pooling,
one block a stage. ``motis-6``, ``-4`` and ``-2`` are CLIP ViT-B/32's text tower with fewer layers, as MoTIS distils it.
``tinyclip-…`` are the published models of TinyCLIP with manual inheritance (arXiv 2309.12314); the ResNets give vectors
of 1,024 numbers. ``mobilenetv2-stages`` reads several stages, for weights that are given as ``--init``.

``conv-x`` is the tower of the bundled teacher of the synthetic scenes; ``-2``, ``-4`` and ``-8`` behind a name are a
half, a quarter and an eighth of it, and ``conv-x-4r``, the quickstart's student, a quarter with a head of low rank.
``hybrid-x`` is a transformer behind the same convolutions; ``conv-l`` and ``hybrid-s`` are the same without products.
``hybrid-m``, ``conv-m``, ``conv-s`` and ``vit-t4-64`` take images of the same size.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mobileclip_kit.errors import ModelError
from mobileclip_kit.files import read_json
from mobileclip_kit.model_names import is_backbone
from mobileclip_kit.networks.backbones import (
    backbone_config,
    follow_backbone,
    preprocessing_in,
    require_architecture,
)
from mobileclip_kit.networks.model import PLACEHOLDER_TEXT, Model, build_network, named
from mobileclip_kit.resources import preset_file, tower_config
from mobileclip_kit.spec import ImageSpec, tower_of

# What a model_cfg says of both towers: the activation, the class, and SigLIP's bias.
_SHARED = ("quick_gelu", "custom_text", "init_logit_bias")


def student_config(name: str, *, embedding_dim: int, image: ImageSpec, teacher: Model | None = None,
                   giver: Model | None = None) -> dict[str, Any]:  # fmt: skip
    """The open_clip configuration of a student.

    Args:
        name: A student: a preset's name, a JSON file, ``timm:NAME`` or ``stages:NAME``.
        embedding_dim: Width of the vectors, the teacher's.
        image: The teacher's preprocessing; the student keeps all of it but the size, and what its backbone or its JSON
            file says otherwise (``preprocess_cfg``: mean, std, interpolation).
        teacher: The model whose text tower the student gets; None gives an image-only student.
        giver: A model that the student shares its activation and logit bias with but not its text tower: the teacher in
            memory, whose weights it may inherit. None takes ``teacher``.

    Returns:
        ``{"model_cfg": …, "preprocess_cfg": …}``.

    Raises:
        ModelError: No student has this name.
    """
    vision_cfg, preprocess = _image_sections(name)
    image = follow_backbone(image, preprocess)
    model_cfg: dict[str, Any] = {"embed_dim": embedding_dim, "vision_cfg": vision_cfg}
    if (giver := teacher or giver) is not None:
        model_cfg |= shared_settings(giver.config["model_cfg"])
    if teacher is None:
        model_cfg["text_cfg"] = dict(PLACEHOLDER_TEXT)
    else:
        inherited: Mapping[str, Any] = teacher.config["model_cfg"]
        model_cfg["text_cfg"] = copy.deepcopy(inherited["text_cfg"])
        # CoCa keeps its text tower where open_clip's CustomTextCLIP does.
        if "multimodal_cfg" in inherited:
            model_cfg["custom_text"] = True
    size = vision_cfg["image_size"]
    preprocess_cfg = {**image.to_open_clip(), "size": [size, size] if isinstance(size, int) else list(size)}
    return {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}


def _image_sections(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A student's ``vision_cfg``, and what it says of its preprocessing: a timm backbone's, or a JSON file's."""
    if is_backbone(name):
        found = backbone_config(name)
        return found["vision_cfg"], found["preprocess_cfg"]
    section = tower_config("student", name)
    with named(preset_file("student", name)):
        ImageSpec.from_open_clip({"size": section["image_size"]})
        backbone = str(section.get("timm_model_name") or "")
        # open_clip also builds towers of a folder or a hub's address, which only timm can read.
        if backbone and ":" not in backbone:
            require_architecture(backbone.partition(".")[0])
    return section, stated_preprocessing(name)


def stated_preprocessing(name: str) -> dict[str, Any]:
    """The mean, std and interpolation in a student's JSON file; nothing for a backbone of timm, whose name states none.

    Raises:
        ModelError: No student has this name, or its ``preprocess_cfg`` is not open_clip's.
    """
    if is_backbone(name):
        return {}
    path = preset_file("student", name)
    section = read_json(path).get("preprocess_cfg")
    return {} if section is None else preprocessing_in(path, section, is_open_clips=True)


def shared_settings(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says of both towers; a student keeps it: QuickGELU weights mean nothing in GELU layers."""
    return {key: model_cfg[key] for key in _SHARED if key in model_cfg}


def pair_config(
    name: str, *, text: str, embedding_dim: int, image_size: int | None = None, vocab_size: int | None = None
) -> dict[str, Any]:
    """The open_clip configuration of a model with two towers of its own, to be trained from pairs.

    Args:
        name: A student: a preset's name, a JSON file, ``timm:NAME`` or ``stages:NAME``.
        text: A text tower: a preset's name or a JSON file.
        embedding_dim: Width of the vectors.
        image_size: Pixels; None takes the student's own. Towers whose size is part of their build refuse another.
        vocab_size: Rows of the embedding table when the vocabulary is trimmed.

    Returns:
        ``{"model_cfg": …, "preprocess_cfg": …}``.

    Raises:
        ModelError: No student or text tower has this name, or the student cannot take this size.
    """
    vision_cfg, preprocess = _image_sections(name)
    if image_size is not None and image_size != vision_cfg["image_size"]:
        fixed = vision_cfg.get("timm_model_name", "").startswith(("swin", "mckit"))
        if fixed or vision_cfg.get("timm_pool") == "abs_attn":  # a table of positions
            hint = "Take swin-nano for 224 px or swin-nano-64 for 64 px." if name.startswith("swin") else None
            raise ModelError(
                f"The student {name} is built for {vision_cfg['image_size']} px, not for {image_size} px.", hint=hint
            )
        patch = int(vision_cfg.get("patch_size", 32))
        if image_size < patch or image_size % patch:
            raise ModelError(f"The student {name} takes images of a multiple of {patch} px, not of {image_size} px.")
        vision_cfg["image_size"] = image_size
    text_cfg = tower_config("text tower", text)
    if vocab_size is not None:
        text_cfg["vocab_size"] = vocab_size
    model_cfg = {"embed_dim": embedding_dim, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
    image = ImageSpec.from_open_clip({"size": vision_cfg["image_size"]})
    return {"model_cfg": model_cfg, "preprocess_cfg": follow_backbone(image, preprocess).to_open_clip()}


def text_config(name: str, *, context_length: int, vocab_size: int) -> dict[str, Any]:
    """The ``text_cfg`` of a new text tower.

    Args:
        name: A text tower: a preset's name or a JSON file.
        context_length: The most tokens that its teacher reads; the tower reads no more.
        vocab_size: Rows of the embedding table.

    Raises:
        ModelError: No text tower has this name.
    """
    text_cfg = tower_config("text tower", name)
    shorter = min(context_length, int(text_cfg["context_length"]))
    return {**text_cfg, "context_length": shorter, "vocab_size": vocab_size}


def build_student(
    config: Mapping[str, Any], *, seed: int, teacher: Model | None = None, towers: Sequence[str | None] = ()
) -> nn.Module:
    """A student with fresh image weights and, if a teacher is given, the teacher's text tower and logit scale.

    Args:
        config: With a ``model_cfg``.
        seed: Of the fresh weights.
        teacher: The model whose text tower the student gets.
        towers: How its towers were named; JSON files among them are named if it cannot be built.

    Raises:
        ModelError: open_clip cannot build it.
    """
    files = [Path(tower) for tower in towers if tower is not None and tower.endswith(".json")]
    with torch.random.fork_rng(devices=[]), named(*files):
        torch.manual_seed(seed)
        network = build_network(config["model_cfg"])
    if teacher is not None:
        theirs = teacher.network.state_dict()
        wanted = {key for key in network.state_dict() if tower_of(key) != "image"}
        if "logit_bias" not in theirs:  # the configuration may have it from elsewhere
            wanted.discard("logit_bias")
        network.load_state_dict({key: theirs[key] for key in wanted}, strict=False)
    return network
