"""Where a student's targets and text tower come from: a cache, or a live teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mobileclip_kit.cache.build import build_cache
from mobileclip_kit.cache.folder import TeacherCache
from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.distill.features import Targets, live_targets, stored_targets
from mobileclip_kit.errors import CacheError, ModelError, ModelMismatchError, UsageError
from mobileclip_kit.networks.model import Model, load_model
from mobileclip_kit.spec import ImageSpec


@dataclass
class Teacher:
    """What a student is drawn to.

    Attributes:
        name: For people and for the student's provenance.
        identity: Model hash, or the name where vectors came from somebody else.
        embedding_dim: d.
        image: The preprocessing that the student takes over.
        logit_scale: None when it is not known.
        cache: Stored vectors, or None.
        live: A teacher in memory, or None.
        notes: What the user should know.
    """

    name: str
    identity: str
    embedding_dim: int
    image: ImageSpec
    logit_scale: float | None
    cache: TeacherCache | None = None
    live: Model | None = None
    notes: tuple[str, ...] = ()


def open_teacher(teacher: str | None, cache: Path | None) -> Teacher:
    """A live teacher or a cache.

    Args:
        teacher: A model folder, an open_clip name or a hub address.
        cache: A cache folder.

    Raises:
        UsageError: Both are given, or none.
        ModelError: The teacher is unknown or damaged.
        CacheError: The cache is damaged or empty.
    """
    if (teacher is None) == (cache is None):
        raise UsageError("Give either --teacher or --cache: vectors come from one of them.")
    if teacher is not None:
        model = load_model(teacher)
        spec = model.spec
        return Teacher(spec.name, spec.model_hash, spec.embedding_dim, spec.require_image(), spec.logit_scale,
                       live=model, notes=model.warnings)  # fmt: skip
    assert cache is not None
    stored = TeacherCache.open(cache)
    if not len(stored):
        raise CacheError(f"The cache {cache} is empty.", hint="Fill it with `mckit cache`.")
    made = stored.description
    notes: tuple[str, ...] = ()
    if made.preprocessing is None:
        notes = (f"{cache} does not say how its pictures were preprocessed; CLIP's own preprocessing is assumed.",)
    return Teacher(
        made.teacher,
        made.teacher_hash or made.teacher,
        made.embedding_dim,
        made.preprocessing or ImageSpec(),
        made.logit_scale,
        cache=stored,
        notes=notes,
    )


def text_source(teacher: Teacher, text_from: str | None, init: Model | None) -> Model | None:
    """The model whose text tower the student carries: ``text_from``, else the live teacher, else ``init``'s own.

    Raises:
        ModelError: ``text_from`` has no text tower, or vectors of another width.
        ModelMismatchError: ``text_from`` is another model than the one that made the cache.
    """
    if text_from is None:
        found = teacher.live or init
        return found if found is not None and found.spec.text is not None else None
    model = load_model(text_from)
    model.spec.require_text()
    if model.spec.embedding_dim != teacher.embedding_dim:
        raise ModelError(
            f"{text_from} gives vectors of {model.spec.embedding_dim} numbers, the teacher {teacher.name} of "
            f"{teacher.embedding_dim}; their spaces differ.",
            hint="Pass the teacher's own model as --text-from.",
        )
    made_by = teacher.cache.description.teacher_hash if teacher.cache else None
    if made_by is not None and made_by != model.spec.model_hash:
        raise ModelMismatchError(
            f"The cache {teacher.cache.path if teacher.cache else ''} was made by {teacher.name} ({made_by[:12]}), "
            f"not by {text_from} ({model.spec.model_hash[:12]}).",
            hint="Their vectors cannot be compared; pass the teacher's own model as --text-from.",
        )
    return model


def run_teacher_once(teacher: Teacher, pairs: Sequence[Pair], folder: Path, *, device: str) -> list[Skipped]:
    """Give a live teacher a cache of every picture: without augmentation its vectors are the same in each epoch.

    Returns:
        Pictures that have no vector, and why.
    """
    assert teacher.live is not None
    report = build_cache(teacher.live, pairs, folder, device=device)
    teacher.cache = TeacherCache.open(folder, verify=False)
    return report.failed


def targets_of(
    teacher: Teacher, hashes: Sequence[str], *, unit_scale: float, device: str
) -> tuple[Targets, dict[str, Any]]:
    """The targets of pictures.

    Args:
        teacher: With a cache, or live.
        hashes: SHA-256 of each picture file, in the order of the training set's rows.
        unit_scale: What unit vectors are multiplied by.
        device: Where a live teacher runs.

    Returns:
        The targets, and what the log should say of them.
    """
    if teacher.cache is None:
        assert teacher.live is not None
        network = teacher.live.network.to(device).eval()
        return live_targets(network, (teacher.image.height, teacher.image.width)), {"targets": "live"}
    rows = teacher.cache.rows_by_content()
    vectors = torch.from_numpy(teacher.cache.vectors_at(rows[sha256] for sha256 in hashes))  # (n, views, d)
    if not teacher.cache.description.normalized:
        return stored_targets(vectors), {"targets": "raw vectors"}
    return stored_targets(_unit(vectors) * unit_scale), {"targets": f"unit vectors times {unit_scale:g}"}


def take_over_image_tower(network: nn.Module, init: Model) -> None:
    """Start a student's image tower from another model's weights; 24 heads take 12 heads' weights as they are.

    Raises:
        ModelError: A weight is missing or has another shape.
    """
    state = {name: tensor for name, tensor in init.network.state_dict().items() if name.startswith("visual.")}
    wanted = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("visual.")}
    for name, tensor in wanted.items():
        if name not in state or state[name].shape != tensor.shape:
            found = f"has the shape {tuple(state[name].shape)}" if name in state else "is missing"
            raise ModelError(
                f"{init.spec.name} cannot start this student: its {name} {found}, not {tuple(tensor.shape)}.",
                hint="--init takes a model of the same widths and layers.",
            )
    network.load_state_dict({name: state[name] for name in wanted}, strict=False)


def set_logit_scale(network: Any, scale: float | None) -> None:
    """Give an image-only student its teacher's logit scale, CLIP's 100 where it is not known."""
    with torch.no_grad():
        network.logit_scale.fill_(math.log(scale or 100.0))


def _unit(vectors: Tensor) -> Tensor:
    norms = np.linalg.norm(vectors.numpy(), axis=2, keepdims=True)
    return vectors / torch.from_numpy(norms)
