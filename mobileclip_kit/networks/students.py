"""The students that mckit knows by name, as open_clip configurations.

``vit-s6-h12`` is PicCollage's student of 2021: OpenAI's ViT-B/32 image tower with width and depth halved (width 384, 6
layers, patch 32); ``vit-s6-h24`` has the same parameters cut into 24 heads, and is fine-tuned from the 12-head weights.

``resnet18``, ``mobilenetv2`` and ``swin-nano`` are LightCLIP's image encoders (arXiv 2312.00674), ``text-8`` its text
transformer. ``conv-x`` is the tower of the bundled teacher of the synthetic scenes, ``hybrid-x`` the quickstart's
student of it; ``hybrid-s`` is the same without products; ``hybrid-m``, ``conv-m``, ``conv-s`` and ``vit-t4-64`` are
for the same size of images.
``conv-l`` is ``conv-x`` without products; ``-2``, ``-4`` and ``-8`` behind either name are a half, a quarter and an
eighth of it.
``resnet-w24`` and the narrower ones are CLIP's own ResNet with attention pooling, one block a stage.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mobileclip_kit.errors import ModelError
from mobileclip_kit.networks.model import PLACEHOLDER_TEXT, Model, build_network
from mobileclip_kit.spec import ImageSpec

# Name → the image tower's vision_cfg; the text tower comes from the teacher, or from --text.
STUDENTS: dict[str, dict[str, Any]] = {
    "vit-s6-h12": {"image_size": 224, "layers": 6, "width": 384, "head_width": 32, "patch_size": 32},
    "vit-s6-h24": {"image_size": 224, "layers": 6, "width": 384, "head_width": 16, "patch_size": 32},
    "vit-t4-64": {"image_size": 64, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
    "resnet18": {"image_size": 224, "timm_model_name": "resnet18", "timm_pool": "avg", "timm_proj": "linear"},
    "mobilenetv2": {"image_size": 224, "timm_model_name": "mobilenetv2_100", "timm_pool": "avg", "timm_proj": "linear"},
    "swin-nano": {"image_size": 224, "timm_model_name": "swin_nano_patch4_window7_224", "timm_proj": "linear"},
    "swin-nano-64": {"image_size": 64, "timm_model_name": "swin_nano_patch4_window4_64", "timm_proj": "linear"},
    "conv-m": {"image_size": 64, "timm_model_name": "mckit_conv_m_64", "timm_pool": "", "timm_proj": "linear"},
    "conv-l": {"image_size": 64, "timm_model_name": "mckit_conv_l_64", "timm_pool": "", "timm_proj": "linear"},
    "conv-x": {"image_size": 64, "timm_model_name": "mckit_conv_x_64", "timm_pool": "", "timm_proj": "linear"},
    "conv-s": {"image_size": 64, "timm_model_name": "mckit_conv_s_64", "timm_pool": "", "timm_proj": "linear"},
    "hybrid-m": {"image_size": 64, "timm_model_name": "mckit_hybrid_m_64", "timm_pool": "", "timm_proj": "linear"},
    "hybrid-s": {"image_size": 64, "timm_model_name": "mckit_hybrid_s_64", "timm_pool": "", "timm_proj": "linear"},
    "hybrid-x": {"image_size": 64, "timm_model_name": "mckit_hybrid_x_64", "timm_pool": "", "timm_proj": "linear"},
    "conv-l-2": {"image_size": 64, "timm_model_name": "mckit_conv_l_2_64", "timm_pool": "", "timm_proj": "linear"},
    "conv-l-4": {"image_size": 64, "timm_model_name": "mckit_conv_l_4_64", "timm_pool": "", "timm_proj": "linear"},
    "conv-l-8": {"image_size": 64, "timm_model_name": "mckit_conv_l_8_64", "timm_pool": "", "timm_proj": "linear"},
    "conv-x-2": {"image_size": 64, "timm_model_name": "mckit_conv_x_2_64", "timm_pool": "", "timm_proj": "linear"},
    "conv-x-4": {"image_size": 64, "timm_model_name": "mckit_conv_x_4_64", "timm_pool": "", "timm_proj": "linear"},
    "conv-x-8": {"image_size": 64, "timm_model_name": "mckit_conv_x_8_64", "timm_pool": "", "timm_proj": "linear"},
    "resnet-w24": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 24, "head_width": 64},
    "resnet-w16": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32},
    "resnet-w8": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
}

# Name → the text tower's text_cfg, for models that train one. A stage is a quarter of the layers. The motis rows are
# CLIP ViT-B/32's text tower with fewer layers, as MoTIS distils it.
TEXT_TOWERS: dict[str, dict[str, Any]] = {
    "text-8": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 8},
    "text-4": {"context_length": 77, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 4},
    "text-4-128": {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 4},
    "text-2": {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2},
    "motis-6": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 6},
    "motis-4": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 4},
    "motis-2": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 2},
}


def student_config(name: str, *, embedding_dim: int, image: ImageSpec, teacher: Model | None = None) -> dict[str, Any]:
    """The open_clip configuration of a student.

    Args:
        name: A row of :data:`STUDENTS`.
        embedding_dim: Width of the vectors, the teacher's.
        image: The teacher's preprocessing; the student keeps all of it but the size.
        teacher: Whose text tower the student shall carry; None gives an image-only student.

    Returns:
        ``{"model_cfg": …, "preprocess_cfg": …}``.

    Raises:
        ModelError: No student has this name.
    """
    vision_cfg = _row(STUDENTS, name, "student")
    model_cfg: dict[str, Any] = {"embed_dim": embedding_dim, "vision_cfg": vision_cfg}
    if teacher is None:
        model_cfg["text_cfg"] = dict(PLACEHOLDER_TEXT)
    else:
        inherited: Mapping[str, Any] = teacher.config["model_cfg"]
        model_cfg["text_cfg"] = copy.deepcopy(inherited["text_cfg"])
        for key in ("quick_gelu", "custom_text", "init_logit_bias"):
            if key in inherited:
                model_cfg[key] = inherited[key]
        # CoCa keeps its text tower where open_clip's CustomTextCLIP does.
        if "multimodal_cfg" in inherited:
            model_cfg["custom_text"] = True
    size = vision_cfg["image_size"]
    preprocess_cfg = {**image.to_open_clip(), "size": [size, size] if isinstance(size, int) else list(size)}
    return {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}


def pair_config(
    name: str, *, text: str, embedding_dim: int, image_size: int | None = None, vocab_size: int | None = None
) -> dict[str, Any]:
    """The open_clip configuration of a model with two towers of its own, to be trained from pairs.

    Args:
        name: A row of :data:`STUDENTS`.
        text: A row of :data:`TEXT_TOWERS`.
        embedding_dim: Width of the vectors.
        image_size: Pixels; None takes the student's own. Towers whose size is part of their build refuse another.
        vocab_size: Rows of the embedding table when the vocabulary is trimmed.

    Returns:
        ``{"model_cfg": …, "preprocess_cfg": …}``.

    Raises:
        ModelError: No student or text tower has this name, or the student cannot take this size.
    """
    vision_cfg = _row(STUDENTS, name, "student")
    if image_size is not None and image_size != vision_cfg["image_size"]:
        if vision_cfg.get("timm_model_name", "").startswith(("swin", "mckit")):
            hint = "Take swin-nano for 224 px or swin-nano-64 for 64 px." if name.startswith("swin") else None
            raise ModelError(
                f"The student {name} is built for {vision_cfg['image_size']} px, not for {image_size} px.", hint=hint
            )
        patch = int(vision_cfg.get("patch_size", 32))
        if image_size < patch or image_size % patch:
            raise ModelError(f"The student {name} takes images of a multiple of {patch} px, not of {image_size} px.")
        vision_cfg["image_size"] = image_size
    text_cfg = _row(TEXT_TOWERS, text, "text tower")
    if vocab_size is not None:
        text_cfg["vocab_size"] = vocab_size
    model_cfg = {"embed_dim": embedding_dim, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
    image = ImageSpec(height=vision_cfg["image_size"], width=vision_cfg["image_size"])
    return {"model_cfg": model_cfg, "preprocess_cfg": image.to_open_clip()}


def text_config(name: str, *, context_length: int, vocab_size: int) -> dict[str, Any]:
    """The ``text_cfg`` of a new text tower.

    Args:
        name: A row of :data:`TEXT_TOWERS`.
        context_length: The most tokens that its teacher reads; the tower reads no more.
        vocab_size: Rows of the embedding table.

    Raises:
        ModelError: No text tower has this name.
    """
    text_cfg = _row(TEXT_TOWERS, name, "text tower")
    shorter = min(context_length, int(text_cfg["context_length"]))
    return {**text_cfg, "context_length": shorter, "vocab_size": vocab_size}


def build_student(config: Mapping[str, Any], *, seed: int, teacher: Model | None = None) -> nn.Module:
    """A student with fresh image weights and, if a teacher is given, the teacher's text tower and logit scale."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(config["model_cfg"])
    if teacher is not None:
        text_state = {key: value for key, value in teacher.network.state_dict().items() if not _is_image(key)}
        wanted = {key for key in network.state_dict() if not _is_image(key)}
        network.load_state_dict({key: text_state[key] for key in wanted}, strict=False)
    return network


def _row(table: Mapping[str, dict[str, Any]], name: str, what: str) -> dict[str, Any]:
    if name not in table:
        nearest = difflib.get_close_matches(name, table, n=1, cutoff=0.0)
        raise ModelError(f"No {what} is called {name!r}.", hint=f"Did you mean {nearest[0]}?" if nearest else None)
    return copy.deepcopy(table[name])


def _is_image(key: str) -> bool:
    return key.startswith("visual.")
