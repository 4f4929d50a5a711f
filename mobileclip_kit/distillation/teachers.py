"""Where a student's targets and text tower come from: caches, or a live teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mobileclip_kit.cache.build import build_cache
from mobileclip_kit.cache.folder import CACHE_FILE, TeacherCache
from mobileclip_kit.cache.texts import cache_texts, open_texts, text_vectors
from mobileclip_kit.data.images import MEMORY_BYTES, Rows
from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.distillation.targets import Lookup, TeacherSide, live_targets, lookup_in, stored_targets
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


def open_teachers(teacher: str | None, caches: Sequence[Path]) -> list[Teacher]:
    """A live teacher, or one for each cache; the first one's space is the student's.

    Args:
        teacher: A model folder, an open_clip name or a hub address.
        caches: Cache folders, or folders of cache folders as ``mckit cache`` makes them for several teachers.

    Raises:
        UsageError: Both are given, or none.
        ModelError: The teacher is unknown or damaged.
        CacheError: A cache is damaged or empty, or two caches show other views of the images.
    """
    if (teacher is None) == (not caches):
        raise UsageError("Give either --teacher or --cache: vectors come from one of them.")
    if teacher is not None:
        model = load_model(teacher)
        spec = model.spec
        return [Teacher(spec.name, spec.model_hash, spec.embedding_dim, spec.require_image(), spec.logit_scale,
                        live=model, notes=model.warnings)]  # fmt: skip
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


def cache_folders(path: Path) -> list[Path]:
    """The cache itself, or the caches in a folder of several teachers'."""
    inside = sorted(file.parent for file in path.glob(f"*/{CACHE_FILE}")) if not (path / CACHE_FILE).is_file() else []
    return inside or [path]


def _open_cache(path: Path) -> Teacher:
    stored = TeacherCache.open(path)
    if not len(stored):
        raise CacheError(f"The cache {path} is empty.", hint="Fill it with `mckit cache`.")
    made = stored.description
    notes: tuple[str, ...] = ()
    if made.preprocessing is None:
        notes = (f"{path} does not say how its images were preprocessed; CLIP's own preprocessing is assumed.",)
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
    if made_by is not None and made_by != model.spec.model_hash:
        raise ModelMismatchError(
            f"The cache {teacher.cache.path if teacher.cache else ''} was made by {teacher.name} ({made_by[:12]}), "
            f"not by {text_from} ({model.spec.model_hash[:12]}).",
            hint="Their vectors cannot be compared; pass the teacher's own model as --text-from.",
        )
    return model


def shares_space(model: Model, teacher: Teacher) -> bool | None:
    """Whether a model's vectors lie in a teacher's space; None where nothing recorded would tell.

    They do if it is the teacher itself, with its vocabulary trimmed perhaps, or a student of it.
    """
    known = model.spec.provenance
    if teacher.identity in (model.spec.model_hash, known.get("vocabulary_of"), known.get("teacher_hash")):
        return True
    return False if known.get("teacher_hash") else None


def run_teacher_once(teacher: Teacher, pairs: Sequence[Pair], folder: Path, *, device: str) -> list[Skipped]:
    """Give a live teacher a cache of every image: without augmentation its vectors are the same in each epoch.

    Returns:
        Images that have no vector, and why.
    """
    assert teacher.live is not None
    report = build_cache(teacher.live, pairs, folder, device=device)
    teacher.cache = TeacherCache.open(folder, verify=False)
    return report.failed


def teacher_side(
    teacher: Teacher,
    hashes: Sequence[str],
    *,
    unit_scale: float,
    device: str,
    texts: Tensor | None = None,
) -> TeacherSide:
    """A teacher as the objective sees it.

    Args:
        teacher: With a cache, or live.
        hashes: SHA-256 of each image file, in the order of the training set's rows.
        unit_scale: What unit vectors are multiplied by.
        device: Where a live teacher runs.
        texts: Raw vectors of the run's texts, from :func:`stored_texts`.
    """
    scale = teacher.logit_scale or 100.0
    if teacher.cache is None:
        assert teacher.live is not None
        network = teacher.live.network.to(device).eval()
        targets = live_targets(network, (teacher.image.height, teacher.image.width))
        return TeacherSide(targets, None, texts, scale)
    lookup = _lookup(teacher.cache, hashes, unit_scale)
    return TeacherSide(stored_targets(lookup), lookup, texts, scale)


def _lookup(cache: TeacherCache, hashes: Sequence[str], unit_scale: float) -> Lookup:
    """In memory where the vectors fit, else from the shards, which the system keeps in memory as it can."""
    by_content = cache.rows_by_content()
    places = [by_content[sha256] for sha256 in hashes]
    made = cache.description
    if len(places) * made.views * made.embedding_dim * 4 <= MEMORY_BYTES:
        return lookup_in(_scaled(torch.from_numpy(cache.vectors_at(places)), made.normalized, unit_scale))

    def lookup(rows: Rows, epoch: int) -> Tensor:
        vectors = torch.from_numpy(cache.vectors_at(places[row] for row in rows)[:, epoch % made.views])
        return _scaled(vectors, made.normalized, unit_scale)

    return lookup


def targets_note(teacher: Teacher, unit_scale: float) -> str:
    """What a student's provenance says of its targets."""
    if teacher.cache is None:
        return "live"
    return f"unit vectors times {unit_scale:g}" if teacher.cache.description.normalized else "raw vectors"


def stored_texts(
    teacher: Teacher, texts: Sequence[str], model: Model | None, folder: Path, *, unit_scale: float, device: str
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
