"""The sources of a student's targets and text tower: caches, or a live teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.cache.build import build_cache
from mobileclip_kit.cache.folder import TeacherCache, cache_folders
from mobileclip_kit.cache.texts import cache_texts, open_texts, text_vectors
from mobileclip_kit.data.images import MEMORY_BYTES, Rows
from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.distillation.objective import Batch
from mobileclip_kit.distillation.training_set import TrainingPairs, load_images
from mobileclip_kit.errors import CacheError, ModelError, ModelMismatchError, ShapeError
from mobileclip_kit.images import normalize
from mobileclip_kit.networks.families import encode_raw
from mobileclip_kit.networks.model import Model, hash_weights, load_model, logit_bias
from mobileclip_kit.spec import ImageSpec

# Rows of the training set and an epoch → raw vectors (n, d) float32.
Lookup = Callable[[Rows, int], Tensor]
Targets = Callable[[Batch], Tensor]

# Images that a model is asked for, and how like the stored vectors its own must be: those of another model are at about
# 0, those of the same with another preprocessing or in half precision above 0.9.
_COMPARED = 8
_LEAST_COSINE = 0.8
# Vectors of unrelated models have one of about 0.
_LEAST_COSINE_OF_STUDENT = 0.2


@dataclass
class DistillTeacher:
    """A teacher: stored vectors, or a model in memory.

    Attributes:
        name: Shown in messages and in the student's provenance.
        identity: Model hash, or the name where vectors came from somebody else.
        embedding_dim: d.
        image: The preprocessing that the student takes over.
        logit_scale: None when it is not known.
        logit_bias: SigLIP's; None where there is none, or it is not known.
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
    logit_bias: float | None = None


def open_teachers(teacher: str | None, caches: Sequence[Path]) -> list[DistillTeacher]:
    """A live teacher, or one for each cache; the first one's space is the student's.

    Args:
        teacher: A model folder, an open_clip name or a hub address.
        caches: Cache folders, or folders of cache folders as ``mckit cache`` makes them for several teachers.

    Raises:
        ModelError: The teacher is unknown or damaged.
        CacheError: A cache is damaged or empty, or two caches show other views of the images.
    """
    if teacher is not None:
        model = load_model(teacher)
        spec = model.spec
        return [DistillTeacher(spec.name, spec.model_hash, spec.embedding_dim, spec.require_image(), spec.logit_scale,
                        live=model, notes=model.warnings, logit_bias=logit_bias(model.network))]  # fmt: skip
    teachers = [_open_cache(folder) for cache in caches for folder in cache_folders(cache)]
    views = {
        (made.views, str(made.augmentation)) for made in (each.cache.description for each in teachers if each.cache)
    }
    if len(views) > 1:
        raise CacheError(
            "The caches hold other views of the images, so their teachers did not see the same.",
            hint="Make them with the same --views, --recipe and --seed.",
        )
    return teachers


def _open_cache(path: Path) -> DistillTeacher:
    stored = TeacherCache.open(path)
    if not len(stored):
        raise CacheError(f"The cache {path} is empty.", hint="Fill it with `mckit cache`.")
    made = stored.description
    notes: tuple[str, ...] = ()
    if made.preprocessing is None:
        notes = (f"{path} does not say how its images were preprocessed; CLIP's own preprocessing is assumed.",)
    return DistillTeacher(
        made.teacher,
        made.teacher_hash or made.teacher,
        made.embedding_dim,
        made.preprocessing or ImageSpec(),
        made.logit_scale,
        cache=stored,
        notes=notes,
        logit_bias=made.logit_bias,
    )


def text_source(teacher: DistillTeacher, text_from: str | None, init: Model | None) -> Model | None:
    """The model whose text tower the student carries: ``text_from``, else the live teacher, else ``init``'s own.

    ``init``'s is only taken where it lies in the teacher's space.

    Raises:
        ModelError: ``text_from`` has no text tower, or vectors of another width.
        ModelMismatchError: ``text_from`` is another model than the one that made the cache.
    """
    if text_from is None:
        found = teacher.live or (init if init is not None and shares_space(init, teacher) else None)
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
    if made_by is not None and made_by != model.spec.model_hash and not _made_vectors(model, teacher):
        raise ModelMismatchError(
            f"The cache {teacher.cache.path if teacher.cache else ''} was made by {teacher.name} ({made_by[:12]}), "
            f"not by {text_from} ({model.spec.model_hash[:12]}).",
            hint="Their vectors cannot be compared; pass the teacher's own model as --text-from.",
        )
    if made_by is not None:
        teacher.identity = model.spec.model_hash  # under today's configuration of the same weights
    return model


def _made_vectors(model: Model, teacher: DistillTeacher) -> bool:
    """Whether a model has the very weights that made a cache."""
    known = teacher.cache.description.teacher_weights if teacher.cache else None
    return known is not None and known == hash_weights(model.network)


def shares_space(model: Model, teacher: DistillTeacher) -> bool | None:
    """Whether a model's vectors lie in a teacher's space; None where nothing recorded would tell.

    They do if it is the teacher itself, with its vocabulary trimmed perhaps, or a student of it.
    """
    made_by = model.spec.provenance.get("teacher_hash")
    if is_teacher(model, teacher) or made_by == teacher.identity:
        return True
    return False if made_by else None


def is_teacher(model: Model, teacher: DistillTeacher) -> bool:
    """Whether a model is the teacher itself, perhaps with its vocabulary trimmed."""
    named = (model.spec.model_hash, model.spec.provenance.get("vocabulary_of"))
    return teacher.identity in named or _made_vectors(model, teacher)


def check_text_source(model: Model, teacher: DistillTeacher, pairs: TrainingPairs, *, is_student: bool = False) -> None:
    """Refuse a text tower that does not belong to a cache whose vectors came from elsewhere.

    The cache does not say which model made it, so the model is asked for a few of its vectors.

    Args:
        model: The model whose text tower the student gets.
        teacher: The one whose vectors are stored.
        pairs: Images that the cache knows.
        is_student: Whether the model is a student of such vectors, which is near to them only.

    Raises:
        ModelMismatchError: The model gives other vectors.
    """
    if teacher.cache is None or teacher.cache.description.teacher_hash is not None or not len(pairs):
        return
    spec, some = model.spec.require_image(), pairs.take(range(min(_COMPARED, len(pairs))))
    _, images = load_images(some, spec)
    rows, pixels = next(images.read(iter([np.arange(len(images), dtype=np.int64)])))
    if not len(rows):
        return
    with torch.inference_mode():
        theirs = encode_raw(model.network, torch.from_numpy(normalize(pixels, spec)))
    stored = _lookup(teacher.cache, [some.hashes[row] for row in rows], 1.0)(np.arange(len(rows)), 0)
    cosine = float(F.cosine_similarity(theirs, stored).mean())
    if cosine < (_LEAST_COSINE_OF_STUDENT if is_student else _LEAST_COSINE):
        random = "; its weights are random" if model.warnings else ""
        what = "is not known to be a student of" if is_student else "did not make"
        hint = "Name the teacher with its weights as --text-from, such as ViT-B-32:openai, or leave it out."
        if is_student:
            hint = "Name the teacher as --text-from, or pass a student of these vectors that is trained longer."
        raise ModelMismatchError(
            f"{model.spec.name} {what} the vectors of {teacher.cache.path}: on {len(rows)} images its own have the "
            f"cosine {cosine:.2f} to them{random}.",
            hint=hint,
        )


def run_teacher_once(teacher: DistillTeacher, pairs: Sequence[Pair], folder: Path, *, device: str) -> list[Skipped]:
    """Give a live teacher a cache of every image: without augmentation its vectors are the same in each epoch.

    Returns:
        Images that have no vector, and why.
    """
    assert teacher.live is not None
    report = build_cache(teacher.live, pairs, folder, device=device)
    teacher.cache = TeacherCache.open(folder, verify=False)
    return report.failed


def teacher_targets(
    teacher: DistillTeacher, hashes: Sequence[str], seen: ImageSpec, *, unit_scale: float, device: str
) -> TeacherTargets:
    """A teacher as the objective sees it, without texts.

    Args:
        teacher: With a cache, or live.
        hashes: SHA-256 of each image file, in the order of the training set's rows.
        seen: How the images of a batch were prepared.
        unit_scale: What unit vectors are multiplied by.
        device: Where a live teacher runs.
    """
    scale = teacher.logit_scale or 100.0
    if teacher.cache is None:
        assert teacher.live is not None
        network = teacher.live.network.to(device).eval()
        targets = live_targets(network, teacher.image, seen)
        return TeacherTargets(targets, None, None, scale, teacher.logit_bias)
    lookup = _lookup(teacher.cache, hashes, unit_scale)
    return TeacherTargets(stored_targets(lookup), lookup, None, scale, teacher.logit_bias)


def _lookup(cache: TeacherCache, hashes: Sequence[str], unit_scale: float) -> Lookup:
    """Look up in memory where the vectors fit, otherwise in the memory-mapped shards."""
    by_content = cache.rows_by_content()
    places = [by_content[sha256] for sha256 in hashes]
    made = cache.description
    if len(places) * made.views * made.embedding_dim * 4 <= MEMORY_BYTES:
        return lookup_in(_scaled(torch.from_numpy(cache.vectors_at(places)), made.normalized, unit_scale))

    def lookup(rows: Rows, epoch: int) -> Tensor:
        vectors = torch.from_numpy(cache.vectors_at(places[row] for row in rows)[:, epoch % made.views])
        return _scaled(vectors, made.normalized, unit_scale)

    return lookup


def targets_note(teacher: DistillTeacher, unit_scale: float) -> str:
    """What a student's provenance says of its targets."""
    if teacher.cache is None:
        return "live"
    return f"unit vectors times {unit_scale:g}" if teacher.cache.description.normalized else "raw vectors"


def stored_texts(
    teacher: DistillTeacher, texts: Sequence[str], model: Model | None, folder: Path, *, unit_scale: float, device: str
) -> Tensor:
    """A teacher's raw vectors of texts, ``(n, d)`` float32, asked once and kept.

    Args:
        teacher: Its cache's own text vectors are taken if it has all of them.
        texts: What the run compares images with.
        model: The teacher's model where it is in memory: it answers what the cache lacks.
        folder: Where those answers are kept while the run lasts.
        unit_scale: What unit vectors are multiplied by.
        device: Where the model runs.

    Raises:
        CacheError: The cache lacks some texts, and there is no model to ask.
    """
    path = teacher.cache.path if teacher.cache else folder
    stored = open_texts(path)
    if model is not None and model.spec.text is not None and not set(texts) <= set(stored.keys if stored else ()):
        cache_texts(model, texts, folder, device=device)
        path, stored = folder, open_texts(folder)
    vectors = torch.from_numpy(text_vectors(stored, texts, path))
    assert stored is not None
    return _scaled(vectors, stored.description.normalized, unit_scale)


def _scaled(vectors: Tensor, normalized: bool, unit_scale: float) -> Tensor:
    return F.normalize(vectors, dim=-1) * unit_scale if normalized else vectors


@dataclass(frozen=True)
class TeacherTargets:
    """One teacher as an objective sees it.

    Attributes:
        images: Raw vectors of a batch's images, or None when no loss needs them.
        lookup: The same by row, for images outside the batch; None for a live teacher.
        texts: Raw vectors of the run's texts, ``(texts, d)`` float32, or None when no loss needs them.
        logit_scale: Its own.
        logit_bias: SigLIP's; None without it.
    """

    images: Targets | None
    lookup: Lookup | None
    texts: Tensor | None
    logit_scale: float
    logit_bias: float | None = None


def lookup_in(vectors: Tensor) -> Lookup:
    """Look vectors up in memory.

    Args:
        vectors: Raw, ``(images, views, d)``; epoch e uses view e mod views.

    Raises:
        ShapeError: They have another shape.
    """
    if vectors.ndim != 3:
        raise ShapeError(f"Stored vectors are {tuple(vectors.shape)}; they must be (images, views, d).")
    return lambda rows, epoch: vectors[torch.from_numpy(rows), epoch % vectors.shape[1]].float()


def stored_targets(lookup: Lookup) -> Targets:
    """Targets that need no teacher."""
    return lambda batch: lookup(batch.rows, batch.context.epoch).to(batch.images.device)


def live_targets(teacher: nn.Module, image: ImageSpec, seen: ImageSpec) -> Targets:
    """Targets from a teacher in the loop.

    Args:
        teacher: Its network.
        image: Its preprocessing: size, mean and std.
        seen: How the images of a batch were prepared.
    """

    def values(numbers: Sequence[float], like: Tensor) -> Tensor:
        return torch.tensor(numbers, device=like.device).view(1, 3, 1, 1)

    @torch.no_grad()
    def targets(batch: Batch) -> Tensor:
        images = resized(batch.images, image)
        if (image.mean, image.std) != (seen.mean, seen.std):
            images = images * values(seen.std, images) + values(seen.mean, images)
            images = (images - values(image.mean, images)) / values(image.std, images)
        return encode_raw(teacher, images)

    return targets


def resized(images: Tensor, image: ImageSpec) -> Tensor:
    """Images ``(n, 3, height, width)`` at a model's input size."""
    size = (image.height, image.width)
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)


def seen_by_both(student: ImageSpec, teacher: DistillTeacher) -> ImageSpec:
    """How images are decoded and varied: as the student takes them, but at the size of a larger teacher in the loop.

    The teacher would otherwise see enlarged images, whose details are gone; the student's are made smaller instead.
    """
    if teacher.cache is not None or teacher.image.height * teacher.image.width <= student.height * student.width:
        return student
    return replace(student, height=teacher.image.height, width=teacher.image.width)
