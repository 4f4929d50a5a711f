"""Opening a model or an export with the runtime that executes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobileclip_kit.errors import ExportError
from mobileclip_kit.exporting.folder import Export, is_export, open_export
from mobileclip_kit.exporting.precisions import FORMATS, load
from mobileclip_kit.extras import require
from mobileclip_kit.hub import local_place
from mobileclip_kit.model_names import check_model_name
from mobileclip_kit.runtime.encoder import Encoder

_LONE_FILES = (*(format.suffix for format in FORMATS.values()), ".mlmodel")


def open_encoder(
    name_or_path: str | Path, *, threads: int | None = None, brief: bool = False, device: str | None = None
) -> Encoder:
    """Open a model folder, an open_clip name or an export as an encoder.

    An ONNX export is executed by ONNX Runtime and never imports torch; a Core ML export by Core ML on macOS and by the
    interpreter elsewhere; everything else by torch.

    Args:
        name_or_path: What :func:`mobileclip_kit.networks.model.load_model` takes, or an export folder.
        threads: Of the runtime; None lets it choose.
        brief: A few inputs are all that it will be asked: opening quickly counts for more than each of them.
            An export's files that were hashed before and have not been written to since are not hashed again.
        device: See :func:`mobileclip_kit.load`.

    Raises:
        ExportError: A damaged export, or a tower's file instead of its folder.
        ModelError: No such model.
        MissingExtraError: PyTorch or coremltools is needed and not installed.
        UsageError: The model cannot run on this device, or this machine lacks it.
    """
    path = Path(local_place(name_or_path))
    if str(path) != str(name_or_path):  # of the hub: an index remembers the address, not the copy
        encoder = open_encoder(path, threads=threads, brief=brief, device=device)
        encoder.model_path = str(name_or_path)
        return encoder
    if is_export(path):
        encoder = open_export_encoder(open_export(path), threads=threads, brief=brief, device=device)
        encoder.model_path = str(path.absolute())
        return encoder
    if path.suffix in _LONE_FILES and path.exists():
        raise ExportError(
            f"{path} is one tower's file without its preprocessing and tokenizer.",
            hint=f"Pass the export folder that holds it and its export.json: {path.parent}.",
        )
    check_model_name(name_or_path, exports=True)
    require(f"Loading the model {name_or_path}", "train")
    from mobileclip_kit.networks.model import load_model
    from mobileclip_kit.runtime.torch import TorchEncoder

    TorchEncoder.check_device(device, str(name_or_path))  # before the model is loaded
    encoder = TorchEncoder(load_model(name_or_path), threads=threads, device=device)
    encoder.model_path = str(path.absolute()) if path.is_dir() else str(name_or_path)
    return encoder


def check_device(name_or_path: str | Path, device: str | None) -> None:
    """Refuse a device that the runtime of a model does not have on this machine; the model is not loaded.

    Raises:
        UsageError: Names the devices that can be used, or the package that is missing.
    """
    if device is None:
        return
    path = Path(local_place(name_or_path))
    if is_export(path):
        available_runtimes(open_export(path).format)[-1].check_device(device, str(path))
    else:
        check_model_name(name_or_path, exports=True)
        require(f"Loading the model {name_or_path}", "train")
        from mobileclip_kit.runtime.torch import TorchEncoder

        TorchEncoder.check_device(device, str(name_or_path))


def open_export_encoder(
    export: Export, *, threads: int | None = None, brief: bool = False, device: str | None = None
) -> Encoder:
    """An opened export as an encoder, by the runtime that suits this machine; see :func:`open_encoder`."""
    if extra := FORMATS[export.format].extra:
        require(f"Opening the {FORMATS[export.format].title} export {export.path}", extra)
    runtime = available_runtimes(export.format)[-1]
    runtime.check_device(device, str(export.path))
    chosen = {} if len(runtime.devices) == 1 else {"device": device}
    encoder: Encoder = runtime(export, threads=threads, brief=brief, **chosen)
    return encoder


def available_runtimes(format: str) -> list[Any]:
    """The encoder classes that execute a format on this machine, the one that users have last."""
    found = [load(name) for name in FORMATS[format].runtimes]
    return [runtime for runtime in found if runtime.is_available()]
