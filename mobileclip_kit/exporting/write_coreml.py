"""One tower as a Core ML package, converted again with some operators in float32 where float16 does not suffice."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.aids import Aids
from mobileclip_kit.exporting.compress import COMPRESSED
from mobileclip_kit.exporting.coreml import compress_coreml, export_coreml
from mobileclip_kit.exporting.folder import ExportedTower, Precision
from mobileclip_kit.exporting.overflow import Probed, find_imprecise, find_overflows, kinds_by_name, probe
from mobileclip_kit.files import size_bytes
from mobileclip_kit.metrics import row_cosines
from mobileclip_kit.networks.model import Model
from mobileclip_kit.spec import Tower

# An operator that is kept in float32 hands its large result on to the next, which the next round finds.
_ROUNDS = 4


def write_coreml_tower(
    model: Model, tower: Tower, module: nn.Module | None, path: Path, precision: Precision, aids: Aids
) -> ExportedTower:
    """Write one tower.

    Args:
        model: Whose tower it is.
        tower: ``image`` or ``text``.
        module: The tower in its exported form; None where ``aids.base`` is an export to start from.
        path: The package.
        precision: One of Core ML's.
        aids: See :class:`~mobileclip_kit.exporting.aids.Aids`.

    Raises:
        ExportError: The tower cannot be converted or compressed.
    """
    if aids.base is not None:
        if precision not in COMPRESSED:
            raise ExportError(f"{precision} cannot be made from another Core ML export.", hint="Export the model.")
        source = aids.base.towers[tower]
        compress_coreml(aids.base.tower_path(tower), path, tower, model.spec, precision)
        return ExportedTower.from_file(tower, path, kept_in_float=source.kept_in_float, **source.notes)
    assert module is not None, "without a base there is a network to convert"
    rows = aids.probes(model, tower)
    kept: frozenset[str] = frozenset()
    kinds: dict[str, str] = {}
    first_size = None
    for _ in range(_ROUNDS):
        notes = export_coreml(tower, module, path, model.spec, precision=precision, keep_in_float=kept, ane=aids.ane)
        if precision == "fp32":
            break
        probed = probe(path, rows)
        found = find_overflows(probed)
        if found <= kept and _least_cosine(probed, module) < aids.least_cosine:
            found = find_imprecise(probed, least_cosine=aids.least_cosine)
        if found <= kept:
            break
        kinds |= kinds_by_name(probed)
        first_size = first_size or size_bytes(path)
        kept |= found
        shutil.rmtree(path)
    else:
        notes = export_coreml(tower, module, path, model.spec, precision=precision, keep_in_float=kept, ane=aids.ane)
    if first_size is not None:
        notes["float_costs_bytes"] = size_bytes(path) - first_size
    return ExportedTower.from_file(tower, path, kept_in_float=sorted(f"{kinds[name]} {name}" for name in kept), **notes)


def _least_cosine(probed: Probed, module: nn.Module) -> float:
    """Of the program's vectors to the network's: a look that costs little before the operators are searched."""
    wanted = []
    with torch.no_grad():
        for row in probed.inputs:
            (given,) = (torch.from_numpy(value) for value in row.values())
            wanted.append(module(given.permute(0, 3, 1, 2) / 255 if given.ndim == 4 else given).numpy())
    return float(row_cosines(np.concatenate(probed.vectors), np.concatenate(wanted)).min())
