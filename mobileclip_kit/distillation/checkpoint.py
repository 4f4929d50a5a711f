"""Checkpoints: one safetensors file with weights, optimizer state and the place in the run. Nothing is pickled.

One file, so that one rename makes it current: a run killed at any moment leaves the old checkpoint or the new one. Its
SHA-256 of tensors and state lies in the file's own header: a run that went on from other numbers would end in another
student, and nobody would know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mobileclip_kit.errors import OutputError, TrainingError
from mobileclip_kit.files import atomic_file

_STATE_KEY = "mckit_state"
_DIGEST_KEY = "mckit_sha256"
# Keys of fingerprints that those of an older mckit do not have.
_LATER = frozenset({"preprocessing", "architecture", "set of vectors"})


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run between two steps.

    Attributes:
        tensors: ``weights/…``, ``optimizer/…`` and ``average/…``.
        state: ``{"step": …, "seconds": …, "fingerprint": {…}}``.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def check_fingerprint(self, fingerprint: Mapping[str, Any], path: Path) -> None:
        """Refuse to resume with another configuration.

        Raises:
            TrainingError: Names what differs.
        """
        theirs = self.state["fingerprint"]
        ours = json.loads(json.dumps(fingerprint))  # tuples become lists, as in the file
        known = {*theirs, *ours} - (_LATER - theirs.keys())
        different = sorted(key for key in known if theirs.get(key) != ours.get(key))
        if different:
            raise TrainingError(
                f"{path} belongs to a run with another {' and another '.join(different)}.",
                hint="Repeat the first run's flags and files, or start anew with --force instead of --resume.",
            )


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in the place of the one before.

    Raises:
        OutputError: It cannot be written; the one before stays.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    state = json.dumps(checkpoint.state)
    try:
        with atomic_file(path) as staging:
            save_file(tensors, staging, metadata={_STATE_KEY: state, _DIGEST_KEY: _digest(tensors, state)})
    except SafetensorError as error:  # its own kind even for a full disk
        raise OutputError(
            f"The checkpoint {path} cannot be written: {error}.", hint="Free some space and continue with --resume."
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        TrainingError: The file is missing, damaged or was changed.
    """
    try:
        with safe_open(path, "pt") as stored:
            metadata = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            state = json.loads(metadata[_STATE_KEY])
            # An older mckit wrote the state alone. With any other second key, what should be the digest is damaged.
            if len(metadata) > 1 and metadata[_DIGEST_KEY] != _digest(tensors, metadata[_STATE_KEY]):
                raise ValueError("its SHA-256 is not the one that was stored with it")
            return Checkpoint(tensors, state)
    except FileNotFoundError as error:
        raise TrainingError(f"There is no checkpoint {path}.") from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise TrainingError(
            f"The checkpoint {path} cannot be read: {error}.", hint="Start anew with --force instead of --resume."
        ) from error


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    """Hex SHA-256 of the state and of every tensor: its name, type, shape and bytes."""
    digest = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {','.join(map(str, tensor.shape))}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def trained_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Every parameter that is trained and every stored buffer, by name; frozen weights are not a run's own."""
    found: dict[str, Tensor] = dict(trained_parameters(modules))
    for title, module in modules.items():
        kept = module.state_dict(keep_vars=True)
        buffers = {name: tensor for name, tensor in kept.items() if not isinstance(tensor, nn.Parameter)}
        found.update({f"{title}.{name}": tensor for name, tensor in buffers.items()})
    return found


def trained_parameters(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    """``(name, parameter)`` of the trained parameters; a parameter that two modules share comes once."""
    seen: set[int] = set()
    for title, module in modules.items():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield f"{title}.{name}", parameter


@torch.no_grad()
def copy_into(targets: Mapping[str, Tensor], tensors: Mapping[str, Tensor], prefix: str, path: Path) -> None:
    """Copy the tensors under ``prefix`` into equally named ones.

    Raises:
        TrainingError: A tensor is missing, or its shape differs.
    """
    for name, target in targets.items():
        stored = tensors.get(prefix + name)
        if stored is None or stored.shape != target.shape:
            found = "is missing" if stored is None else f"has the shape {tuple(stored.shape)}"
            raise TrainingError(
                f"{path}: {prefix}{name} {found}, but the model has {tuple(target.shape)}.",
                hint="Repeat the first run's flags and files, or start anew with --force instead of --resume.",
            )
        target.copy_(stored)


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Tensor]:
    """The optimizer's state as ``optimizer/<entry>/<parameter>``.

    Args:
        optimizer: AdamW.
        names: ``id(parameter)`` → its name.
    """
    return {
        f"optimizer/{entry}/{names[id(parameter)]}": value
        for parameter, state in optimizer.state.items()
        for entry, value in state.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Undo :func:`optimizer_tensors`."""
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, entry, name = key.split("/", 2)
            parameter = parameters[name]
            # The fused update needs the moments to lie in memory as their parameter does (channels last, for one), and
            # its count of steps on the parameter's device.
            device = parameter.device if optimizer.defaults.get("fused") else value.device
            kept = torch.empty_like(parameter if value.shape == parameter.shape else value.to(device))
            optimizer.state[parameter][entry] = kept.detach().copy_(value)
