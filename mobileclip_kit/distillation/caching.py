"""``mckit cache``: one teacher cache for each teacher, with its views, captions and text bank."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mobileclip_kit import formats
from mobileclip_kit.arrays import parts_of
from mobileclip_kit.cache.build import (
    CacheReport,
    EncodedItems,
    Item,
    Views,
    build_cache,
    describe_teacher,
    encode_items,
    import_vectors,
)
from mobileclip_kit.cache.folder import CACHE_FILE, CacheDescription, TeacherCache
from mobileclip_kit.cache.writer import CacheWriter, cache_folders_for, cache_place, is_cache
from mobileclip_kit.cluster import (
    RayOption,
    ShardOption,
    check_cluster,
    missing_parts,
    parse_shard,
    part_of,
    run_on_cluster,
)
from mobileclip_kit.data.pair import Pair, Skipped
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.distillation.captions import read_bank
from mobileclip_kit.errors import DataError, UsageError
from mobileclip_kit.files import check_can_write, check_no_source
from mobileclip_kit.model_names import check_device_name
from mobileclip_kit.options import Option

if TYPE_CHECKING:
    from mobileclip_kit.networks.model import Model

# Images of a part: a teacher takes seconds for them, and a lost part is soon computed again.
_PART_ITEMS = 256
_CHUNK_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class CacheRequest:
    """The teachers that are run, the images they see, and the cache that their vectors go to.

    Attributes:
        teachers: One cache is made for each; several go into one folder.
        data: What :func:`mobileclip_kit.data.sources.open_source` reads.
        out: An existing cache is extended.
        batch_size: Images that a teacher gets at once; None takes 32, on a GPU 256.
        limit: Of the images.
        views: Vectors of each image.
        recipe: A preset's name or a TOML file.
        seed: Of the augmented views.
        captions: Whether the images' captions are encoded, too.
        bank: A file of class names or texts.
        templates: A file of templates, filled with the bank's names.
        device: Where the teachers run.
        shard: ``i/n``: only the i-th of n parts of the images; :func:`merge_caches` joins the parts.
        ray: The Ray cluster whose machines run the teachers; see :func:`mobileclip_kit.cluster.check_cluster`.
        force: Replace an existing cache; it stays readable until the new one is complete.
    """

    teachers: Annotated[
        tuple[str, ...],
        Option(
            "A model folder, an open_clip name (ViT-B-32:openai) or hf-hub:…; several for several caches.",
            names=("--teacher",),
            metavar="T",
        ),
    ] = ()
    data: Annotated[
        Path | str | None, Option("A folder of images, its URL, shards or a captions file.", metavar="D")
    ] = None
    out: Annotated[Path | None, Option("The cache; an existing one is extended.", names=("-o",), metavar="CACHE")] = (
        None
    )
    batch_size: Annotated[int | None, Option("Images at once; default 32, on a GPU 256.", at_least=1)] = None
    limit: Annotated[int | None, Option("Take the first N images only.", metavar="N", at_least=1)] = None
    views: Annotated[
        int, Option("Vectors of each image: of itself, and of K − 1 augmented views.", metavar="K", at_least=1)
    ] = 1
    recipe: Annotated[str | None, Option("With --views: the recipe whose [augmentation] makes them.", metavar="R")] = (
        None
    )
    seed: Annotated[int, Option("With --views: the seed of the views.", at_least=0)] = 0
    captions: Annotated[bool, Option("Keep the vectors of the images' captions, too.")] = False
    bank: Annotated[
        Path | None,
        Option("Keep vectors of these texts, too: one class name or text a line.", metavar="FILE"),
    ] = None
    templates: Annotated[
        Path | None, Option("With --bank: one template a line, such as: a photo of a {}", metavar="FILE")
    ] = None
    device: Annotated[str, Option("cpu, cuda or mps.")] = "cpu"
    shard: ShardOption = None
    ray: RayOption = None
    force: Annotated[bool, Option("Replace an output that exists already.")] = False


def make_caches(
    request: CacheRequest, *, tell: Callable[[str], object] = lambda message: None
) -> tuple[list[CacheReport], list[Skipped]]:
    """Run each teacher once over images and keep its vectors.

    Args:
        request: Teachers, images and caches.
        tell: Receives warnings about a teacher, such as random weights, before it runs.

    Returns:
        A report for each teacher, and what the source left out.

    Raises:
        DataError: No image can be used, or none has a caption.
        ModelError: A teacher is unknown, or lacks a text tower.
        ModelMismatchError: The cache holds another teacher's vectors.
        OutputError: The place cannot be written.
        UsageError: Fields are missing or contradict each other.
    """
    _check(request)
    assert request.data is not None and request.out is not None
    skipped: list[Skipped] = []
    check_device_name(request.device)
    if request.ray is not None:
        check_cluster(request.ray)
    folders = cache_folders_for(request.out, len(request.teachers))
    texts = read_bank(request.bank, request.templates) if request.bank is not None else []
    pairs = list(_of_shard(islice(open_source(request.data, skipped, split="all"), request.limit), request.shard))
    texts += _captions(pairs, request.data) if request.captions else []
    from mobileclip_kit.networks.devices import check_device  # torch, when all paths are known to be right

    check_device(request.device)
    reports = [
        _make_cache(request, teacher, folder, pairs, texts, tell)
        for teacher, folder in zip(request.teachers, folders, strict=True)
    ]
    return reports, skipped


def import_cache(
    images: Path,
    vectors: Path,
    names: Path,
    out: Path,
    *,
    bank: tuple[Path, Path] | None = None,
    teacher: str | None = None,
    force: bool = False,
) -> CacheReport:
    """Make or extend a cache with vectors that somebody else computed.

    Args:
        images: See :func:`mobileclip_kit.cache.build.import_vectors`, also for ``vectors``, ``names`` and ``teacher``.
        vectors: A ``.npy`` file.
        names: The images of its rows.
        out: The cache.
        bank: A file of texts and a ``.npy`` file of their vectors.
        teacher: The teacher's name.
        force: Replace an existing cache.
    """
    from mobileclip_kit.cache.texts import import_text_vectors

    given = (images, vectors, names, *(bank or (None, None)))
    made_of = {
        "teacher": teacher,
        "given": [path and str(path.absolute()) for path in given],
        "changed_ns": [path.stat().st_mtime_ns for path in given if path and path.exists()],
    }
    with cache_place(out, made_of, force=force) as place:
        report = import_vectors(images, vectors, names, place, teacher=teacher)
        new_texts = 0 if bank is None else import_text_vectors(place, bank[1], bank[0])
    return replace(report, cache=out, texts_added=new_texts)


def merge_caches(sources: Sequence[Path], out: Path, *, force: bool = False) -> CacheReport:
    """Join caches of one teacher, such as the parts of a sharded run, into a new one, with their texts.

    Args:
        sources: The caches. An image that occurs in several of them is included once.
        out: The new cache.
        force: Replace an existing cache.

    Raises:
        CacheError: A source is no cache, or damaged.
        ModelMismatchError: The sources belong to different teachers, or were made in different ways.
        OutputError: ``out`` exists and is not to be replaced, or is one of the sources.
        UsageError: There are no sources.

    Returns:
        ``missing`` lists the parts of a sharded run that no source holds.
    """
    from mobileclip_kit.cache.texts import TEXTS_FOLDER

    started = time.monotonic()
    if not sources:
        raise UsageError("There is nothing to merge.", hint="Name the caches.")
    check_no_source(out, sources, "caches")
    check_can_write(out, force=force, kinds=(CACHE_FILE,))
    caches = [TeacherCache.open(source) for source in sources]
    texts = [TeacherCache.open(folder) for source in sources if is_cache(folder := source / TEXTS_FOLDER)]
    for joined in (caches, texts):
        for cache in joined[1:]:
            joined[0].description.check_same(cache.description, joined[0].path)
    held = [parse_shard(part) if part else None for cache in caches for part in cache.description.parts or ("",)]
    missing = missing_parts(held)
    parts = tuple(dict.fromkeys(part for cache in caches for part in cache.description.parts)) if missing else ()
    shards = [[str(cache.path.absolute()), [asdict(shard) for shard in cache.shards]] for cache in (*caches, *texts)]
    made_of = {"merged": shards}
    with cache_place(out, made_of, force=force) as place:
        added = _join(caches, place, parts)
        texts_added = _join(texts, place / TEXTS_FOLDER) if texts else 0
    return CacheReport(out, added, caches[0].description.views, added, seconds=time.monotonic() - started,
                       texts_added=texts_added, missing=missing)  # fmt: skip


def _join(caches: Sequence[TeacherCache], out: Path, parts: tuple[str, ...] = ()) -> int:
    """Write the items of several caches into one; how many these are."""
    with CacheWriter(out, replace(caches[0].description, parts=parts)) as writer:
        for cache in caches:
            fresh = [row for row in cache.rows_as_written() if not writer.holds(cache.keys[row], cache.hashes[row])]
            for rows in parts_of(fresh, _CHUNK_ROWS):
                writer.add([cache.keys[row] for row in rows], [cache.hashes[row] for row in rows],
                           cache.vectors_at(rows))  # fmt: skip
            writer.flush()  # what it holds now counts for the next cache
        return writer.items


def _make_cache(
    request: CacheRequest,
    teacher: str,
    folder: Path,
    pairs: Sequence[Pair],
    texts: Sequence[str],
    tell: Callable[[str], object],
) -> CacheReport:
    from mobileclip_kit.cache.texts import cache_texts
    from mobileclip_kit.networks.model import load_model

    model = load_model(teacher)
    for warning in model.warnings:
        tell(f"warning: {warning}")
    if texts:
        model.spec.require_text()  # fails now rather than after all images
    runner = TeacherRunner(teacher=teacher, recipe=request.recipe, views=request.views, seed=request.seed,
                           batch_size=request.batch_size, device=request.device)  # fmt: skip
    description, views = runner.plan(model)
    if request.shard is not None:
        description = replace(description, parts=(request.shard,))
    made_of = {"cache": formats.to_document(description), "pairs": [pair.key for pair in pairs], "texts": [*texts]}
    encode = None if request.ray is None else partial(_encode_on_cluster, runner, request.ray)
    with cache_place(folder, made_of, force=request.force) as place:
        report = build_cache(model, pairs, place, batch_size=request.batch_size, device=request.device,
                             description=description, views=views, encode=encode)  # fmt: skip
        new_texts = cache_texts(model, texts, place, device=request.device) if texts else 0
    return replace(report, cache=folder, texts_added=new_texts)


@dataclass(frozen=True, kw_only=True)
class TeacherRunner:
    """Runs a teacher over a part of the images, on whatever machine it is called; the same part always gives the same.

    Attributes:
        teacher: A name or a path that every machine can open.
        recipe: See :class:`CacheRequest`, also for the others.
        views: Vectors of each image.
        seed: Of the views.
        batch_size: Images at once.
        device: Where the teacher runs.
    """

    teacher: str
    recipe: str | None
    views: int
    seed: int
    batch_size: int | None
    device: str

    def plan(self, model: Model) -> tuple[CacheDescription, Views | None]:
        """What the cache's description is, and what makes the views."""
        if self.recipe is None:
            return describe_teacher(model), None
        from mobileclip_kit.distillation.augment import plan_views
        from mobileclip_kit.distillation.recipe import load_recipe

        augmentation = load_recipe(self.recipe).augmentation
        return plan_views(describe_teacher(model), augmentation, views=self.views, seed=self.seed)

    def __call__(self, items: Sequence[Item]) -> list[EncodedItems]:
        """Encode a part."""
        model, views = _opened(self)
        return list(encode_items(model, items, batch_size=self.batch_size, device=self.device, views=views))


@lru_cache(maxsize=1)
def _opened(runner: TeacherRunner) -> tuple[Model, Views | None]:
    """A worker keeps its teacher from part to part."""
    from mobileclip_kit.networks.model import load_model

    model = load_model(runner.teacher)
    return model, runner.plan(model)[1]


def _encode_on_cluster(runner: TeacherRunner, address: str, items: Sequence[Item]) -> Generator[EncodedItems]:
    device = runner.device.partition(":")[0]
    with closing(run_on_cluster(runner, parts_of(items, _PART_ITEMS), address, device=device)) as parts:
        for part in parts:
            yield from part


def _of_shard(pairs: Iterable[Pair], shard: str | None) -> Iterator[Pair]:
    part, parts = (1, 1) if shard is None else parse_shard(shard)
    return (pair for pair in pairs if part_of(pair.key, parts) == part)


def _check(request: CacheRequest) -> None:
    for flag, value in {"--teacher": request.teachers, "--data": request.data, "-o": request.out}.items():
        if not value:
            raise UsageError(f"Missing option {flag}.")
    if request.views > 1 and request.recipe is None:
        raise UsageError("--views needs --recipe: its [augmentation] makes the views.")
    if request.views == 1 and request.recipe is not None:
        raise UsageError("--recipe needs --views: one view is the image itself, which no recipe varies.")
    if request.templates is not None and request.bank is None:
        raise UsageError("--templates needs --bank: templates are filled with its names.")


def _captions(pairs: Sequence[Pair], data: Path | str) -> list[str]:
    found = [caption for pair in pairs for caption in pair.captions]
    if not found:
        raise DataError(
            f"No image of {data} has a caption, so --captions has nothing to keep.",
            hint="Pass images with captions, or leave --captions out.",
        )
    return found
