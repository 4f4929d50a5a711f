"""What the cut-off of a search keeps and what it takes away, on synthetic scenes with exact truth.

    python benchmarks/cutoff.py [MODEL ...] [-o results/cutoff.json] [--vectors FOLDER]
    python benchmarks/cutoff.py --photos DATA [-o results/cutoff_photos.json]

MODEL has both towers and reads the words of the synthetic scenes; the bundled teacher unless given. From each set of
1,000 scenes, those with eight of the forty kinds are removed: queries for these kinds are easy ones without an answer.
Hard ones ask for a combination of kind and colour that does not occur, or whose images are filtered out, while other
things of this kind and of this colour are there. Confidence is measured with all background texts, and without those
that name the query's kind, as for a query that the bank does not know. The threshold keeps 95% of the right images
among the first ten hits; beside it, a flat threshold on the cosine and the default line. The scenes are of seeds that
``fit_cutoff.py`` does not use. ``--vectors`` keeps the vectors for another run. ``--textness FILE`` names the textness
vector of the first model: its queries are asked once more with images of written words demoted, their hits judged by
the words alone, as ``mckit search`` does.

With ``--photos``, the agreement with what 541 real photos show: DATA holds ``photos541/clip_vitb32_openai_image.npy``,
vectors of OpenAI's CLIP ViT-B/32, and ``clip_vitb32_text/lvis1203.npy`` and ``.txt``, those of "a NOUN" for the nouns
of LVIS. Which of 35 nouns the photos show was seen by looking at them. The background is once the nouns that are among
mckit's background texts, once all of them, many of which mean the same.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import HERE, parse, write
from numpy.typing import NDArray

from mobileclip_kit.confidence.background import Background
from mobileclip_kit.confidence.bank import bank_texts
from mobileclip_kit.confidence.scorer import FIRST_HITS, confidences, default_line
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.scenes.captions import noun_phrase
from mobileclip_kit.scenes.folder import SceneSet, write_scenes
from mobileclip_kit.scenes.objects import COLOURS, KINDS
from mobileclip_kit.scenes.truth import Truth, read_truth
from mobileclip_kit.textness.vector import Textness

TEACHER = HERE.parent / "models" / "scenes-teacher"
SEEDS, DRAWS, ITEMS, GONE = (17, 18), (0, 1), 1000, 8
TEXTNESS = -0.5
KEPT = 0.95
UNANSWERED = ("easy", "hard", "filtered")
# Nouns of LVIS that the photos show, and nouns that they do not.
SHOWN = """bear bench bicycle bird boat book camera car_(automobile) cat chair clock cow cup dog hat laptop_computer
person skateboard""".split()
NOT_SHOWN = """banana bottle elephant giraffe helicopter horse motorcycle mushroom piano pizza shark snowman surfboard
train_(railroad_vehicle) truck umbrella zebra""".split()


@dataclass(frozen=True)
class Query:
    """A query with its truth.

    Attributes:
        kind: "easy", "hard" and "filtered" have no answer; "thing", "coloured" and "word" have some.
        text: The query.
        thing: The kind of object that it names.
        right: Images that answer it, ``(n,)``.
        allowed: Images that may be hits, ``(n,)``.
    """

    kind: str
    text: str
    thing: str
    right: NDArray[np.bool_]
    allowed: NDArray[np.bool_]


@dataclass
class Hits:
    """The first hits of many queries.

    Attributes:
        query: Number of each hit's query.
        kind: Its kind.
        right: Whether the hit is right.
        values: What is known of it, ``(hits, …)``.
    """

    query: list[int] = field(default_factory=list)
    kind: list[str] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, number: int, query: Query, rows: NDArray[np.int64], values: Any) -> None:
        """Add the hits of one query."""
        self.query += [number] * len(rows)
        self.kind += [query.kind] * len(rows)
        self.right += (query.right & query.allowed)[rows].tolist()
        self.values += list(values)


@dataclass(frozen=True)
class Library:
    """Scenes without some kinds, and queries to them."""

    vectors: NDArray[np.float32]
    queries: list[Query]


def main() -> None:
    """Draw, encode, search, report."""
    chosen = parse("models*", out=None, vectors=None, photos=None, textness=None)
    if chosen.photos:
        write(chosen.out or Path("cutoff_photos.json"), agreement(chosen.photos))
        return
    with tempfile.TemporaryDirectory() as folder:
        kept = chosen.vectors or Path(folder)
        textness = Textness.load(chosen.textness) if chosen.textness else None
        models = [measure(Path(model), kept, None if number else textness)
                  for number, model in enumerate(chosen.models or [TEACHER])]  # fmt: skip
    scenes = {"seeds": list(SEEDS), "draws": list(DRAWS), "items": ITEMS}
    write(chosen.out or Path("cutoff.json"), {"scenes": scenes, "models": models})


def agreement(data: Path) -> dict[str, Any]:
    """Which nouns keep a hit among real photos at the default line."""
    texts = data / "clip_vitb32_text"
    names = (texts / "lvis1203.txt").read_text(encoding="utf-8").splitlines()
    nouns = np.load(texts / "lvis1203.npy").astype(np.float32)
    nouns /= np.linalg.norm(nouns, axis=1, keepdims=True)
    photos = np.load(data / "photos541" / "clip_vitb32_openai_image.npy")
    plain = [name.split("_(")[0].replace("_", " ") for name in names]
    everyday = [number for number, noun in enumerate(plain) if {f"a {noun}", f"an {noun}"} & set(bank_texts())]
    figures: dict[str, Any] = {"photos": len(photos), "line": default_line()}
    for background, chosen in (("everyday", everyday), ("all", list(range(len(names))))):
        library = Library(photos, [])
        texts_of_background = background_of(library, nouns[chosen])
        kept = {}
        for name in SHOWN + NOT_SHOWN:
            vector = nouns[names.index(name)]
            rows = np.argsort(-(photos @ vector), kind="stable")[:FIRST_HITS]
            sure = confidences(texts_of_background, vector, photos[rows])
            kept[name] = sure is None or bool(sure.max() >= default_line())
        figures[background] = {
            "texts": len(chosen),
            "shown": len(SHOWN),
            "shown_kept": sum(kept[name] for name in SHOWN),
            "not_shown": len(NOT_SHOWN),
            "not_shown_emptied": sum(not kept[name] for name in NOT_SHOWN),
            "not_shown_kept": [name for name in NOT_SHOWN if kept[name]],
        }
    return figures


def measure(model: Path, kept: Path, textness: Textness | None) -> dict[str, Any]:
    """The figures of one model."""
    encoder = open_encoder(model)
    bank = encoder.encode_texts(list(bank_texts()))
    found = {"cosine": Hits(), "known": Hits(), "unknown": Hits()}
    moved = Hits()
    seconds: list[float] = []
    number = 0
    for library in libraries(encoder, kept, SEEDS, DRAWS):
        background = background_of(library, bank)
        unknown = {thing: without(background, thing) for thing in KINDS}
        vectors = encoder.encode_texts([query.text for query in library.queries])
        for query, vector in zip(library.queries, vectors, strict=True):
            rows = first_hits(library, query, vector)
            found["cosine"].add(number, query, rows, library.vectors[rows] @ vector)
            for name, texts in (("known", background), ("unknown", unknown[query.thing])):
                started = time.process_time()
                values = confidences(texts, vector, library.vectors[rows])
                seconds.append(time.process_time() - started)
                assert values is not None
                found[name].add(number, query, rows, values)
            if textness is not None:
                rows = first_hits(library, query, textness.apply(vector[None], TEXTNESS)[0])
                moved.add(number, query, rows, confidences(background, vector, library.vectors[rows]))
            number += 1
    figures = {name: evaluate(hits) for name, hits in found.items()}
    line = {name: evaluate(found[name], default_line()) for name in ("known", "unknown")}
    spec = encoder.spec
    return {
        "model": spec.name,
        "model_hash": spec.model_hash,
        "queries": number,
        "confidence_processor_ms": round(1000 * float(np.median(seconds)), 3),
        "at_95_percent_kept": figures,
        "at_default_line": line,
        **({} if textness is None else {"textness": {"scale": TEXTNESS, **evaluate(moved, default_line())}}),
    }


def libraries(
    encoder: Encoder,
    kept: Path,
    seeds: tuple[int, ...],
    draws: tuple[int, ...],
    sizes: tuple[int | None, ...] = (None,),
) -> Iterator[Library]:
    """Scenes of each seed, each time without other kinds; ``sizes`` in turn limit how many there are."""
    for seed in seeds:
        scenes = kept / f"scenes-{seed}"
        if not scenes.is_dir():
            scenes.mkdir(parents=True)
            write_scenes(scenes, SceneSet(items=ITEMS, seed=seed, size=64, split="train"))
        truths = list(read_truth(scenes))
        stored = kept / f"{encoder.spec.model_hash[:12]}-{seed}.npy"
        if not stored.is_file():
            np.save(stored, encoder.encode_images([scenes / truth.image for truth in truths]))
        for draw in draws:
            yield _library(truths, np.load(stored), np.random.default_rng([seed, draw]), sizes[draw % len(sizes)])


def _library(truths: list[Truth], vectors: Any, random: np.random.Generator, size: int | None) -> Library:
    gone = set(random.choice(list(KINDS), GONE, replace=False).tolist())
    kept = [
        number
        for number, truth in enumerate(truths)
        if not gone & {thing.kind for thing in truth.objects} and (truth.word is None or truth.word.text not in gone)
    ]
    if size is not None:
        kept = sorted(random.choice(kept, min(size, len(kept)), replace=False).tolist())
    left = [truths[number] for number in kept]
    return Library(vectors[kept], list(_queries(left, gone)))


def _queries(truths: list[Truth], gone: set[str]) -> Iterator[Query]:
    every, none = np.ones(len(truths), bool), np.zeros(len(truths), bool)
    for kind in KINDS:
        if kind in gone:
            for text in (noun_phrase(kind), f"a photo of {noun_phrase(kind)}"):
                yield Query("easy", text, kind, none, every)
        else:
            things = np.array([any(thing.kind == kind for thing in truth.objects) for truth in truths])
            words = np.array([truth.word is not None and truth.word.text == kind for truth in truths])
            if things.any():
                yield Query("thing", noun_phrase(kind), kind, things, every)
            if words.any():
                yield Query("word", f"the word {kind}", kind, words, every)
        for colour in COLOURS:
            text = noun_phrase(kind, colour=colour)
            right = np.array(
                [any((thing.kind, thing.colour) == (kind, colour) for thing in truth.objects) for truth in truths]
            )
            if kind in gone:
                yield Query("easy", text, kind, right, every)
            elif right.any():
                yield Query("coloured", text, kind, right, every)
                yield Query("filtered", text, kind, none, ~right)
            else:
                yield Query("hard", text, kind, right, every)


def background_of(library: Library, bank: NDArray[np.float32]) -> Background:
    """The background of a library, as its index would have it."""
    images = len(library.vectors)
    return Background.measure(bank, library.vectors, model_hash="", bank="", images=images, generation=0, rows=images)


def without(background: Background, thing: str) -> Background:
    """A background whose texts do not name a kind."""
    kept = np.array([thing not in text.split() for text in bank_texts()])
    names = ("texts", "best", "mean", "deviation")
    return replace(background, **{name: getattr(background, name)[kept] for name in names})


def first_hits(library: Library, query: Query, vector: NDArray[np.float32]) -> NDArray[np.int64]:
    """Rows of the first ten hits, best first."""
    scores = np.where(query.allowed, library.vectors @ vector, -np.inf)
    rows = np.argsort(-scores, kind="stable")[:FIRST_HITS]
    return rows[np.isfinite(scores[rows])]


def evaluate(hits: Hits, threshold: float | None = None) -> dict[str, float]:
    """Shares of queries that a threshold leaves without a hit; None for the one that keeps 95% of the right hits."""
    query, kind, right = np.array(hits.query), np.array(hits.kind), np.array(hits.right)
    values = np.array(hits.values, np.float64)
    if threshold is None:
        threshold = float(np.quantile(values[right], 1 - KEPT))
    shown = values >= threshold
    answered = ~np.isin(kind, UNANSWERED)
    figures = {"threshold": threshold, "right_kept": shown[right].mean()}
    for name in UNANSWERED:
        asked = np.unique(query[kind == name])
        figures[name] = 1 - len(np.intersect1d(asked, query[shown])) / len(asked)
    with_right = np.unique(query[right])
    figures["answered_emptied"] = 1 - len(np.intersect1d(with_right, query[shown])) / len(with_right)
    figures["precision_before"], figures["precision"] = right[answered].mean(), right[answered & shown].mean()
    return {name: round(float(value), 4) for name, value in figures.items()}


if __name__ == "__main__":
    main()
