"""The students that mckit knows by name, as open_clip configurations.

``vit-s6-h12`` is PicCollage's student of 2021: OpenAI's ViT-B/32 image tower with width and depth halved (width 384, 6
layers, patch 32); ``vit-s6-h24`` has the same parameters cut into 24 heads, and is fine-tuned from the 12-head weights.
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
    if name not in STUDENTS:
        nearest = difflib.get_close_matches(name, STUDENTS, n=1, cutoff=0.0)
        raise ModelError(f"No student is called {name!r}.", hint=f"Did you mean {nearest[0]}?" if nearest else None)
    vision_cfg = copy.deepcopy(STUDENTS[name])
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


def _is_image(key: str) -> bool:
    return key.startswith("visual.")
