"""The options of an indexing run. Imports nothing heavy, so that the command line can read them for its help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mobileclip_kit.cluster import RayOption
from mobileclip_kit.index.kinds import IndexKind
from mobileclip_kit.options import Option

KindOption = Annotated[
    IndexKind | None, Option("How to search: exact scan, graph (hnsw) or compressed lists (ivf-pq); chosen by size.")
]
QueryVectorsOption = Annotated[
    Path | None, Option("A .npy matrix of query vectors to measure recall with; by default texts of common words.")
]


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """How an index is built or brought up to date.

    Attributes:
        encoders: Batches encoded at once, each in a thread of its own; None for
            :meth:`~mobileclip_kit.runtime.encoder.Encoder.in_parallel`'s number.
        commit_items: Images between two commits…
        commit_seconds: …or less when they take longer than this.
    """

    prune: Annotated[bool, Option("Forget vanished images even if they are more than a fifth of the index.")] = False
    retry_failed: Annotated[bool, Option("Try images again that failed before and have not changed.")] = False
    rehash: Annotated[bool, Option("Compare the content of every file, even if its size and time are as before.")] = (
        False
    )
    exact_pixels: Annotated[bool, Option("Decode large JPEGs in full instead of at reduced resolution.")] = False
    tars: Annotated[bool, Option("Look into .tar files too (webdataset shards).")] = False
    shard: Annotated[
        str | None, Option("Only the I-th of N parts of the folder; `mckit merge` joins the parts.", metavar="I/N")
    ] = None
    ray: RayOption = None
    compact: Annotated[bool, Option("Drop the vectors of removed images, however few they are.")] = False
    batch_size: Annotated[int, Option("Images encoded at once.", at_least=1)] = 32
    workers: Annotated[int | None, Option("Decoding threads; one per core by default.", at_least=1)] = None
    kind: KindOption = None
    query_vectors: QueryVectorsOption = None
    force: Annotated[bool, Option("Build the index anew; the old one stays until the new one is complete.")] = False
    encoders: int | None = None
    commit_items: int = 256
    commit_seconds: float = 10.0
