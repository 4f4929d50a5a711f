"""The hot paths and what bounds them, as calls to time: limits.py says what they are for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from timing import Call

from mobileclip_kit.bench.candidate import describe_candidates
from mobileclip_kit.data.sources import open_source
from mobileclip_kit.images import list_images, load_pixels
from mobileclip_kit.index.flat import search_flat
from mobileclip_kit.runtime.open import open_encoder
from mobileclip_kit.spec import ImageSpec, TextSpec
from mobileclip_kit.tokenizer import _WORDS, Tokenizer, _merge_word, clean_text

ROWS, DIM = 200_000, 512  # 410 MB, far more than a cache
SIDE = 768  # three matrices of 2.4 MB
BATCHES = (1, 8)


@dataclass(frozen=True)
class Timed:
    """Something that is timed: what it does in one call, in how many units."""

    call: Call
    amount: float
    unit: str


def memory_and_search() -> dict[str, Timed]:
    """A query over vectors, and reading as many bytes."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((ROWS, DIM), dtype=np.float32)
    query = rng.standard_normal((1, DIM), dtype=np.float32)
    flat = matrix.reshape(-1)
    half = flat.size // 2
    return {
        "memory read": Timed(lambda: np.dot(flat[:half], flat[half:]), flat.nbytes / 1e9, "GB/s"),
        "flat search, one query": Timed(lambda: search_flat(matrix, query, 10), flat.nbytes / 1e9, "GB/s"),
    }


def products() -> dict[str, Timed]:
    """Peak rates of multiply-accumulates."""
    import onnx
    import torch

    from mobileclip_kit.runtime.onnx import open_session

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIDE, SIDE), dtype=np.float32) for _ in range(2))
    out = np.empty_like(a)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    node = onnx.helper.make_node("MatMulInteger", ["a", "b"], ["c"])
    weights = onnx.numpy_helper.from_array(rng.integers(-64, 64, (SIDE, SIDE)).astype(np.int8), "b")
    graph = onnx.helper.make_graph(
        [node],
        "product",
        [onnx.helper.make_tensor_value_info("a", onnx.TensorProto.UINT8, [SIDE, SIDE])],
        [onnx.helper.make_tensor_value_info("c", onnx.TensorProto.INT32, [SIDE, SIDE])],
        [weights],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    session = open_session(model.SerializeToString(), threads=1)
    pixels = rng.integers(0, 255, (SIDE, SIDE)).astype(np.uint8)
    amount = SIDE**3 / 1e9
    return {
        "numpy float32 products": Timed(lambda: np.matmul(a, b, out=out), amount, "GMAC/s"),
        "torch float32 products": Timed(lambda: torch.mm(x, y), amount, "GMAC/s"),
        "onnxruntime int8 products": Timed(lambda: session.run(None, {"a": pixels}), amount, "GMAC/s"),
    }


def images(photos: Path, count: int, folder: Path) -> dict[str, Timed]:
    """Camera-sized JPEGs made of the photos: the whole way to pixels, and the decoder alone."""
    spec, made = ImageSpec(), []
    for number, path in enumerate(sorted(list_images(photos))[:count]):
        with Image.open(path) as image:
            big = image.convert("RGB").resize((2016, 1512), Image.Resampling.BICUBIC)
        big.save(folder / f"{number}.jpg", quality=90)
        made.append(folder / f"{number}.jpg")
    if not made:
        raise SystemExit(f"{photos} holds no image.")

    def decode(resized: bool = False) -> None:
        for path in made:
            with Image.open(path) as image:
                image.draft(None, (2 * spec.width, 2 * spec.height))
                image.load()
                if resized:
                    image.resize((spec.width * 4 // 3, spec.height), Image.Resampling.BICUBIC)

    def both() -> None:
        for path in made:
            load_pixels(path, spec, draft=True)

    return {
        "decode": Timed(decode, len(made), "images/s"),
        "decode, Pillow's resize": Timed(lambda: decode(resized=True), len(made), "images/s"),
        "decode and resize": Timed(both, len(made), "images/s"),
    }


def texts(captions: Path) -> dict[str, Timed]:
    """Captions into identifiers, with and without words that were met before, and split alone."""
    found = [text for pair in open_source(captions) for text in pair.captions][:1000]
    tokenizer = Tokenizer.for_spec(TextSpec())

    cleaned = [clean_text(text, tokenizer.cleaning) for text in found]
    words = list(dict.fromkeys(word for text in cleaned for word in _WORDS.findall(text)))

    def fresh() -> None:
        tokenizer._words.clear()
        tokenizer(found)

    return {
        "cleaning texts": Timed(
            lambda: [clean_text(text, tokenizer.cleaning) for text in found], len(found), "texts/s"
        ),
        "joining pieces of new words": Timed(
            lambda: [_merge_word(word, tokenizer._joined) for word in words], len(found), "texts/s"
        ),
        "word splitting": Timed(lambda: [_WORDS.findall(text.lower()) for text in found], len(found), "texts/s"),
        "tokenizer": Timed(lambda: tokenizer(found), len(found), "texts/s"),
        "tokenizer, new words": Timed(fresh, len(found), "texts/s"),
    }


def towers(place: Path, precision: str) -> dict[str, Timed]:
    """An export's image tower at each batch size."""
    (candidate,) = describe_candidates([str(place)])
    if candidate.failure or not candidate.multiply_accumulates:
        raise SystemExit(f"{place}: {candidate.failure or 'its multiply-accumulates are not known'}")
    encoder = open_encoder(place, threads=1)
    spec = encoder.spec.require_image()
    amount = candidate.multiply_accumulates["image"] / 1e9
    rng, found = np.random.default_rng(0), {}
    for batch in BATCHES:
        pixels = rng.integers(0, 256, (batch, spec.height, spec.width, 3), dtype=np.uint8)
        name = f"image tower {precision}, batch {batch}"
        found[name] = Timed(lambda pixels=pixels: encoder.encode_images(pixels), batch * amount, "GMAC/s")  # type: ignore[misc]
    return found
