"""Compressed weights, read from packages that coremltools' optimizers wrote, against its own decompression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mobileclip_kit.mil.interpreter import Interpreter
from mobileclip_kit.mil.ops_compressed import affine_dequantize, lut_to_dense, lut_to_sparse, sparse_to_dense
from mobileclip_kit.mil.program import Program, read_program
from mobileclip_kit.mil.values import unpack_bits

# Small and large floats that float16 holds exactly; 64 × 64 is enough for every optimizer to act.
WEIGHT = np.random.default_rng(3).normal(size=(64, 64)).astype(np.float16).astype(np.float32)


def _palettize(coreml: Any, bits: int, **how: Any) -> Any:
    config = coreml.OpPalettizerConfig(mode="uniform", nbits=bits, weight_threshold=0, **how)
    return lambda model: coreml.palettize_weights(model, coreml.OptimizationConfig(global_config=config))


def _quantize(coreml: Any, **how: Any) -> Any:
    config = coreml.OpLinearQuantizerConfig(weight_threshold=0, **how)
    return lambda model: coreml.linear_quantize_weights(model, coreml.OptimizationConfig(global_config=config))


def _prune(coreml: Any) -> Any:
    config = coreml.OpMagnitudePrunerConfig(target_sparsity=0.7, weight_threshold=0)
    return lambda model: coreml.prune_weights(model, coreml.OptimizationConfig(global_config=config))


COMPRESSIONS: dict[str, tuple[str, str, Any]] = {
    "1-bit palette": ("iOS16", "constexpr_lut_to_dense", lambda c: _palettize(c, 1)),
    "2-bit palette": ("iOS16", "constexpr_lut_to_dense", lambda c: _palettize(c, 2)),
    "4-bit palette": ("iOS16", "constexpr_lut_to_dense", lambda c: _palettize(c, 4)),
    "6-bit palette": ("iOS16", "constexpr_lut_to_dense", lambda c: _palettize(c, 6)),
    "8-bit palette": ("iOS16", "constexpr_lut_to_dense", lambda c: _palettize(c, 8)),
    "int8": ("iOS16", "constexpr_affine_dequantize", lambda c: _quantize(c, mode="linear")),
    "int8 symmetric": ("iOS16", "constexpr_affine_dequantize", lambda c: _quantize(c, mode="linear_symmetric")),
    "sparse": ("iOS16", "constexpr_sparse_to_dense", _prune),
    "3-bit palette": ("iOS18", "constexpr_lut_to_dense", lambda c: _palettize(c, 3)),
    "6-bit palette of iOS 18": ("iOS18", "constexpr_lut_to_dense", lambda c: _palettize(c, 6)),
    "4-bit palettes by group": (
        "iOS18",
        "constexpr_lut_to_dense",
        lambda c: _palettize(c, 4, granularity="per_grouped_channel", group_size=16),
    ),
    "int4 by block": (
        "iOS18",
        "constexpr_blockwise_shift_scale",
        lambda c: _quantize(c, mode="linear", dtype="int4", granularity="per_block", block_size=16),
    ),
    "uint4 by channel": (
        "iOS18",
        "constexpr_blockwise_shift_scale",
        lambda c: _quantize(c, mode="linear", dtype="uint4", granularity="per_channel"),
    ),
    "sparse of iOS 18": ("iOS18", "constexpr_sparse_to_dense", _prune),
    "sparse palette": (
        "iOS18",
        "constexpr_lut_to_sparse",
        lambda c: lambda model: _palettize_again(c)(_prune(c)(model)),
    ),
    "sparse int8": (
        "iOS18",
        "constexpr_sparse_blockwise_shift_scale",
        lambda c: lambda model: _quantize_again(c)(_prune(c)(model)),
    ),
}


def _palettize_again(coreml: Any) -> Any:
    config = coreml.OptimizationConfig(
        global_config=coreml.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=0)
    )
    return lambda model: coreml.palettize_weights(model, config, joint_compression=True)


def _quantize_again(coreml: Any) -> Any:
    config = coreml.OptimizationConfig(
        global_config=coreml.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
    )
    return lambda model: coreml.linear_quantize_weights(model, config, joint_compression=True)


def _linear_program(ct: Any, target: str) -> Any:
    from coremltools.converters.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec(WEIGHT.shape)], opset_version=getattr(ct.target, target))
    def program(x):
        return mb.linear(x=x, weight=WEIGHT, name="y")

    return program


def _weight_of(program: Program) -> Any:
    """What the program multiplies with: its answer to the unit vectors."""
    return Interpreter(program).run({"x": np.eye(64, dtype=np.float32)})["y"].T


@pytest.fixture(scope="module")
def dense(ct: Any, build: Any) -> dict[str, Any]:
    """The uncompressed model for each operator set."""
    return {target: build(_linear_program(ct, target), target=target) for target in ("iOS16", "iOS18")}


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # coremltools leaves its temporary folders lying
@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressed_weights_equal_what_coremltools_decompresses(dense: Any, save: Any, name: str) -> None:
    import coremltools.optimize.coreml as coreml

    target, operator, compression = COMPRESSIONS[name]
    compressed = compression(coreml)(dense[target])
    small, plain = (read_program(save(model)) for model in (compressed, coreml.decompress_weights(compressed)))
    assert operator in {operation.type for operation in small.main.operations}
    assert not any(operation.type.startswith("constexpr_") for operation in plain.main.operations)
    np.testing.assert_array_equal(_weight_of(small), _weight_of(plain))


def test_bits_are_unpacked_from_the_lowest_up_across_bytes() -> None:
    packed = np.array([0b10_001_000, 0b1_100_011_0, 0b111_110_10], np.uint8)  # 0 … 7 in 3 bits each
    assert unpack_bits(packed, 3, 8).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_narrow_integers_keep_their_sign() -> None:
    assert unpack_bits(np.array([0x8F, 0x17], np.uint8), 4, 4, signed=True).tolist() == [-1, -8, 7, 1]


def test_palette_of_vectors_lays_them_along_its_axis() -> None:
    """The example in Core ML's description of the operator: two entries of three numbers."""
    indices = np.array([[[0, 0], [1, 0]], [[1, 1], [0, 0]]], np.uint8)
    lut = np.array([[1, 2, 3], [4, 5, 6]], np.float32).reshape(1, 1, 1, 2, 3)
    along_middle = lut_to_dense(indices=indices, lut=lut, vector_axis=np.array(1))
    assert along_middle[0].tolist() == [[1, 1], [2, 2], [3, 3], [4, 1], [5, 2], [6, 3]]
    along_last = lut_to_dense(indices=indices, lut=lut, vector_axis=np.array(2))
    assert along_last[1].tolist() == [[4, 5, 6, 4, 5, 6], [1, 2, 3, 1, 2, 3]]


def test_sparse_palette_of_vectors_repeats_the_mask() -> None:
    mask, values = lut_to_sparse(
        indices_mask=np.array([[1, 0], [0, 1]], np.uint8),
        indices_nonzero_data=np.array([0, 1], np.uint8),
        lut=np.array([[2, 3], [4, 5]], np.float32).reshape(1, 1, 2, 2),
        vector_axis=np.array(0),
    )
    assert sparse_to_dense(nonzero_data=values, mask=mask).tolist() == [[2, 0], [3, 0], [0, 4], [0, 5]]


def test_one_scale_along_an_axis() -> None:
    data = np.array([[1, 2], [3, 4]], np.int8)
    result = affine_dequantize(
        quantized_data=data, zero_point=np.int8(1), scale=np.float32([10, 100]), axis=np.array(0)
    )
    assert result.tolist() == [[0, 10], [200, 300]]


def test_cast_constants_become_float32() -> None:
    from mobileclip_kit.mil.plan import OPS

    cast = OPS["constexpr_cast"](source_val=np.float16([0.1, 2]), output_dtype="fp32")
    assert cast.dtype == np.float32 and cast.tolist() == np.float16([0.1, 2]).astype(np.float32).tolist()
