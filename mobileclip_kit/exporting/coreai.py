"""Towers to Core AI (``.aimodel``, iOS and macOS 27), by Apple's ``coreai-torch``.

``image`` is RGB in 0…1, ``(1, 3, height, width)`` float32, or ``ids``, ``(1, context)`` int32; ``embedding`` is ``(1,
d)`` float32, a row of length 1. Ends are float32 in every precision: an application need not know which one it has.
Programs are in float16 unless float32 was asked for, also those with compressed weights; operators that float16 cannot
hold stay in float32 (:mod:`mobileclip_kit.exporting.rounding`).

Transformers that :mod:`mobileclip_kit.networks.channels_first` knows are written in its layout: the Neural Engine has
computed float16 products of two dimensions wrongly (coreai-torch issue 51) and pooling by look-up (issues 115, 116),
and convolutions are what the Linux runtime computes quickly.

Apple's runtime on Linux multiplies float16 matrices with 58 ns a multiply-accumulate, so a large tower cannot be
executed there on every input. Verification then executes three things and names each: the program in float32 in Apple's
runtime and the program rounded to float16 in torch, on all inputs, and the program itself on as many as time allows.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import hashlib
import json
import math
import os
import random
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.errors import ExportError, ModelError, first_line
from mobileclip_kit.exporting.bytecode import number_resources
from mobileclip_kit.exporting.decomposition import average_pool, decompose
from mobileclip_kit.exporting.folder import Export, ExportedTower
from mobileclip_kit.exporting.metadata import describe_tower, quiet_converters, replaced, short_description
from mobileclip_kit.exporting.palettes import find_palette
from mobileclip_kit.exporting.precisions import Precision
from mobileclip_kit.exporting.request import ExportOptions
from mobileclip_kit.exporting.rounding import RoundedProgram, choose_float32
from mobileclip_kit.exporting.samples import probe_inputs
from mobileclip_kit.exporting.towers import ImageTower, TextTower, TowerJob, count_tower
from mobileclip_kit.exporting.weight_bits import (
    BLOCK,
    LEAST_ELEMENTS,
    choose_bits,
    only_found,
    set_weights,
    warn_of_others,
)
from mobileclip_kit.files import write_json
from mobileclip_kit.networks.model import Model
from mobileclip_kit.runtime.coreai import CoreAIFunction, as_float_images
from mobileclip_kit.spec import ModelSpec, Tower

# Network → captured towers, for verification and for the other precisions of a comparison.
_CAPTURED: weakref.WeakKeyDictionary[torch.nn.Module, dict[Tower, Captured]] = weakref.WeakKeyDictionary()
# Of a program with a dynamic batch.
LARGEST_BATCH = 64
# Of an asset without its weights, and more.
_GRAPH_BYTES = 1 << 20
# Trained channels are of very different sizes, and few values cannot represent them all.
_CHANNELS = 16
_GRANULARITIES = {bits: ("per_grouped_channel", "per_tensor") for bits in (6, 4)} | {8: ("per_tensor",)}
# Assets say when they were made; the same model has to give the same bytes.
_NO_DATE = 0
# What a linear layer becomes: its result and its multiply-accumulates are those of a matrix product.
_PRODUCTS = frozenset({"mm", "bmm", "addmm", "baddbmm", "matmul", "linear"})


def write_program(job: TowerJob) -> ExportedTower:
    """Write a tower in float32, or in float16 with operators in float32 where float16 does not suffice.

    Raises:
        ExportError: The tower cannot be converted.
    """
    captured = Captured(job.model, job.tower, ane=job.options.ane, dynamic=job.options.dynamic_batch)
    _CAPTURED.setdefault(job.model.network, {})[job.tower] = captured
    return _write_captured(captured, job)


def _write_captured(captured: Captured, job: TowerJob) -> ExportedTower:
    kept: frozenset[str] = frozenset()
    if job.options.row.name != "fp32":
        rounded = RoundedProgram(captured.program)
        kept = choose_float32(rounded, captured.probes(job.model, job.options), least_cosine=job.options.least_cosine)
        names = rounded.kinds(kept)
        program = convert(captured.in_float16(kept), job.tower)
    else:
        names, program = [], convert(captured.program, job.tower)
    save_asset(program, job.tower, job.model.spec, job.path)
    notes: dict[str, Any] = {"converter": "coreai-torch", "minimum_target": "iOS 27", "layout": captured.layout}
    notes |= count_tower(captured.module)
    if job.options.dynamic_batch:
        notes["largest_batch"] = LARGEST_BATCH
    if job.options.row.name != "fp32":
        notes["float16_products"] = captured.products()
    return ExportedTower.from_file(job.tower, job.path, kept_in_float=names, **notes)


def write_compressed(job: TowerJob) -> ExportedTower:
    """Write a tower with float16 arithmetic and compressed weights.

    Raises:
        ExportError: The tower cannot be converted or compressed, or no choice of weights keeps the budget.
    """
    base, row = job.options.base, job.options.row
    plain = _captured(job.model, job.tower, ane=job.options.ane, dynamic=job.options.dynamic_batch)
    more, kept = choose_bits(job, plain.module, channels=_CHANNELS)
    if more is not None:
        ready = Captured(job.model, job.tower, ane=job.options.ane, dynamic=job.options.dynamic_batch,
                         stored=(row, more))  # fmt: skip
        made, source = _write_captured(ready, job), job.path
    elif base is None:
        made, source = write_program(job), job.path
    else:
        made, source = base.towers[job.tower], base.tower_path(job.tower)
    program = read_program(source)
    whole = _stored_floats(program)
    save_asset(compress(program, row, found=more is not None), job.tower, job.model.spec, job.path)
    # Weights that a block's size does not divide stay as they were, without a word.
    left = _stored_floats(read_program(job.path))
    share = 1 - left / max(whole, 1)
    if more is not None:
        warn_of_others(job, ready.module, more, whole - left)
    notes = {**made.notes, "compressed_share": round(share, 4), **({} if more is None else {"bits": more})}
    return ExportedTower.from_file(job.tower, job.path, kept_in_float=(*kept, *made.kept_in_float), **notes)


class Captured:
    """A tower as a program of torch.export in the operators of Core AI.

    Args:
        model: Whose tower it is.
        tower: ``image`` or ``text``.
        ane: Refuse a tower that the Neural Engine's layout is not known for.
        dynamic: Take any number of inputs up to :data:`LARGEST_BATCH` at once, in place of one.
        stored: Replace the weights by what they are stored as: the precision, and the weights with more bits.

    Attributes:
        program: In float32.
        layout: Of its tensors.

    Raises:
        ExportError: torch cannot export it.
        ModelError: That layout was asked for and is not known.
    """

    def __init__(self, model: Model, tower: Tower, *, ane: bool = False, dynamic: bool = False,
                 stored: tuple[Precision, Mapping[str, int]] | None = None) -> None:  # fmt: skip
        kind = ImageTower if tower == "image" else TextTower
        try:
            self.module, self.layout = kind(model, ane=True), "(n, channels, 1, tokens)"
        except ModelError:
            if ane:
                raise
            self.module, self.layout = kind(model), "as in the network"
        if stored is not None:
            set_weights(self.module, *stored, channels=_CHANNELS)
        self._tower, self._dynamic = tower, dynamic
        self.program = self._capture()

    def probes(self, model: Model, options: ExportOptions) -> list[np.ndarray[Any, Any]]:
        """A few inputs as the program takes them."""
        rows = [value for row in probe_inputs(model, self._tower, options) for value in row.values()]
        return [as_float_images(row) if self._tower == "image" else row for row in rows]

    def in_float16(self, kept: Collection[str]) -> torch.export.ExportedProgram:
        """The program in float16 with float32 ends, and some operators in float32."""
        rounded = RoundedProgram(self.program)
        exact = rounded.with_movers(kept)
        weights = rounded.kept_weights(exact)
        names = {spec.target for spec in self.program.graph_signature.input_specs if spec.arg.name in weights}  # type: ignore[union-attr]
        with quiet_converters():
            from coreai_opt.casting.casting import _FP16Casting

            class Casting(_FP16Casting):  # type: ignore[misc]
                def convert_placeholder(self, param_name: str) -> bool:
                    return param_name not in names and super().convert_placeholder(param_name)

            # The cast changes the program that it is given.
            program: torch.export.ExportedProgram = Casting(
                _copied(self.program), ignored_ops=lambda node: node.name in exact
            )()
        _float32_ends(program)
        return program

    def products(self) -> int:
        """Multiply-accumulates in products of matrices, for one input."""
        total = 0
        for node in self.program.graph.nodes:
            if node.op == "call_function" and node.target.__name__.partition(".")[0] in _PRODUCTS:
                inner = max(shape[-1] for shape in map(_shape, node.all_input_nodes) if len(shape) >= 2)
                total += math.prod(_shape(node)) * inner
        return total

    def _capture(self) -> torch.export.ExportedProgram:
        with quiet_converters():
            import coreai_torch

        # torch's fused attention would hide the multiplications from the converter.
        was_fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with quiet_converters(), torch.no_grad():
                table = {**coreai_torch.get_decomp_table(), torch.ops.aten.avg_pool2d.default: average_pool}
                program: Any = decompose(self._export(), table)
        except Exception as error:  # exporters raise dozens of classes; all of them mean that it did not convert
            raise ExportError(f"torch cannot export the {self._tower} tower: {first_line(error)}") from error
        finally:
            torch.backends.mha.set_fastpath_enabled(was_fast)
        _drop_restrides(program)
        captured: torch.export.ExportedProgram = program
        return captured

    def _export(self) -> torch.export.ExportedProgram:
        example = self.module.example
        if not self._dynamic:
            return torch.export.export(self.module, (example,))
        # A batch of one would be taken for a constant.
        batch = {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)}
        return torch.export.export(self.module, (torch.cat([example, example]),), dynamic_shapes=(batch,))


def _captured(model: Model, tower: Tower, *, ane: bool = False, dynamic: bool = False) -> Captured:
    """A tower that was captured before, or is now."""
    towers = _CAPTURED.setdefault(model.network, {})
    towers[tower] = towers.get(tower) or Captured(model, tower, ane=ane, dynamic=dynamic)
    return towers[tower]


def _shape(node: torch.fx.Node) -> tuple[int, ...]:
    """Of a tensor, for one input."""
    return tuple(side if isinstance(side, int) else 1 for side in node.meta["val"].shape)


def convert(program: torch.export.ExportedProgram, tower: Tower) -> Any:
    """A program of torch.export as Core AI's ``AIProgram``.

    Raises:
        ExportError: It has an operator that Core AI does not, or the converter fails.
    """
    with quiet_converters():
        import coreai_torch

    converter = coreai_torch.TorchConverter
    name = "image" if tower == "image" else "ids"
    try:
        # The other mode, the default, writes this machine's paths into the asset.
        with quiet_converters(), _same_names():
            made = converter(mode=converter.Mode.RELEASE)
            made = made.add_exported_program(program, input_names=[name], output_names=["embedding"])
            return made.to_coreai()
    except Exception as error:  # converters raise dozens of classes; all of them mean that it did not convert
        raise ExportError(f"coreai-torch cannot convert the {tower} tower: {first_line(error)}") from error


def compress(program: Any, row: Precision, *, found: bool = False) -> Any:
    """A copy of an ``AIProgram`` with compressed weights.

    Args:
        program: In float16 or float32.
        row: The precision.
        found: Whether weights consist of the values of their palettes or of steps already; others stay as they are.

    Raises:
        ExportError: Core AI refuses.
    """
    with quiet_converters():
        from coreai_opt import coreai_utils as utils
        from coreai_opt.coreai_utils.passes import weight_quantization

    try:
        with quiet_converters(), _own_palettes(found=found):
            if row.name.startswith("palette"):
                # What its channels cannot be grouped in keeps one palette for the whole tensor.
                bits = {row.weight_bits, 8} if found else {row.weight_bits}
                for number, granularity in [(n, how) for n in sorted(bits) for how in _GRANULARITIES[n]]:
                    program = utils.palettize_weights(
                        program, None, n_bits=number, weight_num_threshold=LEAST_ELEMENTS,
                        granularity=utils.CompressionGranularity(granularity), group_size=_CHANNELS,
                        num_kmeans_workers=1, enable_fast_kmeans_mode=False,
                    )  # fmt: skip
                return program
            compute = weight_quantization._compute_qparams_by_dtype
            compute = only_found(compute) if found else compute
            with replaced(weight_quantization, "_compute_qparams_by_dtype", compute):
                if row.name == "int4":
                    program = utils.quantize_weights(
                        program, utils.DType.INT4, granularity=utils.CompressionGranularity.PER_BLOCK,
                        block_size=BLOCK, weight_num_threshold=LEAST_ELEMENTS,
                    )  # fmt: skip
                    if not found:
                        return program
                return utils.quantize_weights(program, utils.DType.INT8, weight_num_threshold=LEAST_ELEMENTS)
    except Exception as error:  # the passes raise whatever they meet
        raise ExportError(f"coreai-opt cannot compress the weights to {row.name}: {first_line(error)}") from error


def save_asset(program: Any, tower: Tower, spec: ModelSpec, path: Path) -> None:
    """Write an ``AIProgram`` with mckit's metadata, the same bytes each time.

    Raises:
        ExportError: The folder cannot be written.
        OSError: The disk is full.
    """
    from coreai.runtime import AIModelAssetMetadata

    entries = describe_tower(tower, spec)
    metadata = AIModelAssetMetadata()
    metadata.author, metadata.license = "mckit", entries["licence"]
    metadata.model_description = short_description(tower, spec)
    for key, value in entries.items():
        metadata.set_custom(key, value)
    needed = sum(elements * int("".join(filter(str.isdigit, kind)) or 0) // 8 for elements, kind in _constants(program))
    if shutil.disk_usage(path.parent).free < needed + _GRAPH_BYTES:  # a full disk ends the process inside
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    try:
        with quiet_converters():
            program.save_asset(path, metadata)
        written = path / "main.mlirb"
        written.write_bytes(numbered := number_resources(written.read_bytes()))
        (path / "main.hash").write_bytes(hashlib.sha256(numbered).digest())
    except (RuntimeError, ValueError, OSError) as error:
        raise ExportError(f"{path.name} cannot be written: {first_line(error)}") from error
    file = path / "metadata.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    document["creationDate"] = _NO_DATE
    write_json(file, _sorted(document))


def execute_twins(export: Export, model: Model, tower: Tower, inputs: Pixels | Ids) -> Iterator[tuple[str, Vectors]]:
    """What verification executes beside a program in float16 that is too slow for all inputs on this machine.

    The program in float32, its weights compressed as the export's are, in Apple's runtime; and where weights are not
    compressed the program rounded to float16, in torch.

    Args:
        export: Of the format ``coreai``.
        model: That it was made from.
        tower: ``image`` or ``text``.
        inputs: Pixels or token rows.

    Yields:
        A name, and the vectors of all inputs.
    """
    if export.row.name == "fp32":
        return
    more = export.towers[tower].notes.get("bits")
    captured = Captured(model, tower, stored=(export.row, more)) if more else _captured(model, tower)
    rows = [as_float_images(row[None]) if tower == "image" else row[None].astype(np.int32) for row in inputs]
    with tempfile.TemporaryDirectory() as folder:
        program = convert(captured.program, tower)
        if export.row.weight_bits < 16:
            program = compress(program, export.row, found=bool(more))
        path = Path(folder) / "float32.aimodel"
        save_asset(program, tower, model.spec, path)
        function = CoreAIFunction(path)
        yield "coreai in float32", np.concatenate([function.run(row) for row in rows])
    if export.row.weight_bits == 16:
        kept = {entry.partition(" ")[2] for entry in export.towers[tower].kept_in_float}
        yield "torch in float16", RoundedProgram(captured.program).run(rows, kept)


def _copied(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """A copy that shares the weights' numbers."""
    graph = copy.deepcopy(program.graph_module)
    return torch.export.ExportedProgram(
        root=graph, graph=graph.graph, graph_signature=copy.deepcopy(program.graph_signature),
        state_dict=dict(program.state_dict), range_constraints=dict(program.range_constraints),
        module_call_graph=copy.deepcopy(program.module_call_graph), constants=dict(program.constants),
        verifiers=program.verifiers,
    )  # fmt: skip


def read_program(path: Path) -> Any:
    """The ``AIProgram`` of an asset.

    Raises:
        ExportError: It cannot be read.
    """
    from coreai.authoring import AIModelAsset

    try:
        return AIModelAsset.load(path).program
    except (RuntimeError, OSError) as error:
        raise ExportError(f"Core AI cannot read {path}: {first_line(error)}") from error


def _stored_floats(program: Any) -> int:
    """Elements of the large floating-point constants."""
    return sum(count for count, kind in _constants(program) if count > LEAST_ELEMENTS and kind in ("f16", "f32"))


def _constants(program: Any) -> list[tuple[int, str]]:
    """The number of elements of each constant and their type, such as ``f16``."""
    found: list[tuple[int, str]] = []

    def add(operation: Any) -> Any:
        if operation.name == "coreai.constant" and hasattr(kind := operation.results[0].type, "shape"):
            found.append((int(np.prod(kind.shape)), str(kind.element_type)))
        return WalkResult.ADVANCE

    from coreai._compiler.ir import WalkResult

    program._module._mlir_module.operation.walk(add)
    return found


def _float32_ends(program: torch.export.ExportedProgram) -> None:
    """Let a program in float16 take and give float32, in place."""
    graph, cast = program.graph_module.graph, torch.ops.aten._to_copy.default
    given = {spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"}
    first = next(node for node in graph.nodes if node.op != "placeholder")
    for node in graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and node.name in given and value.dtype == torch.float16:
            with graph.inserting_before(first):
                half = graph.call_function(cast, (node,), {"dtype": torch.float16})
            half.meta["val"], node.meta["val"] = value, value.float()
            node.replace_all_uses_with(half, delete_user_cb=lambda user, half=half: user is not half)
    (output,) = graph.find_nodes(op="output")
    (result,) = output.args[0]
    if result.meta["val"].dtype == torch.float16:
        with graph.inserting_before(output):
            full = graph.call_function(cast, (result,), {"dtype": torch.float32})
        full.meta["val"] = result.meta["val"].float()
        output.args = ((full,),)
        program.graph_signature.output_specs[0].arg.name = full.name  # type: ignore[union-attr]
    program.graph_module.recompile()


def _drop_restrides(program: torch.export.ExportedProgram) -> None:
    """Remove ``as_strided`` where it changes nothing, in place: pooling to 1×1 leaves one behind its mean.

    Raises:
        ExportError: One that moves elements, which Core AI cannot express.
    """
    graph = program.graph_module.graph
    targets = (torch.ops.aten.as_strided.default, torch.ops.aten.as_strided_.default)
    for node in [node for target in targets for node in graph.find_nodes(op="call_function", target=target)]:
        source, size, stride, *offset = node.args
        held = source.meta["val"]
        same = all(old == new for old, new, side in zip(held.stride(), stride, size, strict=False) if side > 1)
        if tuple(held.shape) != tuple(size) or any(offset) or not same:
            raise ExportError(f"Core AI has no operator for {node.name} (aten.as_strided), which moves elements.")
        node.replace_all_uses_with(source)
        graph.erase_node(node)
    program.graph_module.recompile()


@contextlib.contextmanager
def _same_names() -> Iterator[None]:
    """Let the converter call its inner graphs the same each time: it draws their names."""
    from coreai.authoring import graph_builder

    with replaced(graph_builder, "choice", random.Random(0).choice):
        yield


@contextlib.contextmanager
def _own_palettes(*, found: bool) -> Iterator[None]:
    """Let palettes be those of :func:`find_palette`: the same each time, and without a C++ compiler.

    Args:
        found: Whether to take the values that a weight consists of; the pass leaves out a weight with more.
    """
    from coreai_opt.coreai_utils._utils import palettize_utils

    def palette(nbits: int, weight: Any, **_: Any) -> tuple[Any, Any]:
        given = np.asarray(weight)
        # The pass has rounded it to float16. It leaves a weight as it is where this raises.
        if not np.isfinite(given).all() or not given.any():
            raise ValueError("float16 cannot hold this weight")
        if not found:
            return find_palette(given, nbits)
        values, indices = np.unique(given, return_inverse=True)
        return np.pad(values, (0, (1 << nbits) - len(values)), "edge"), indices.ravel()  # raises for more values

    with replaced(palettize_utils, "_get_kmeans_lookup_table_and_weight", palette):
        yield


def _sorted(value: Any) -> Any:
    return {key: _sorted(value[key]) for key in sorted(value)} if isinstance(value, dict) else value
