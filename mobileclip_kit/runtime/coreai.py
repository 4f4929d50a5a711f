"""Core AI exports executed by Apple's own runtime: on macOS 27, and on Linux by the one that ``coreai-core`` brings.

On Linux it shows what a program computes, not how fast: products of float16 matrices take 58 ns for each
multiply-accumulate there.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.errors import ExportError, first_line
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.extras import is_installed, require
from mobileclip_kit.files import quiet_native_stderr, read_json, sha256_of_file
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.spec import Tower

FUNCTION = "main"
# The version of the folder's layout that coreai-core 1.0.0b3 writes and reads.
ASSET_VERSION = "2.0"
_AGAIN = "Copy the export again, or make it again with `mckit export`."
# Seconds for each multiply-accumulate of float16 matrices in the Linux runtime, measured on one thread.
_FLOAT16_PRODUCT = 58e-9


class CoreAIEncoder(Encoder):
    """A Core AI export as an encoder.

    Args:
        export: Of the format ``coreai``.
        threads: Ignored; the runtime chooses.
        brief: Few inputs are coming: a tower's SHA-256 may come from :mod:`mobileclip_kit.exporting.digests`'s memory.
    """

    runtime = "coreai"
    devices = ("coreai",) if sys.platform == "darwin" else ("cpu",)
    is_timed = sys.platform == "darwin"

    def __init__(self, export: Export, *, threads: int | None = None, brief: bool = False) -> None:
        super().__init__(export.spec, tokenizer_file=export.tokenizer_file, batch_size=1)
        self._export, self._brief = export, brief
        self._functions: dict[Tower, CoreAIFunction] = {}

    def expected_seconds(self, tower: Tower) -> float:
        """See :meth:`Encoder.expected_seconds`: what the float16 products of the Linux runtime take."""
        if sys.platform == "darwin":
            return 0.0
        return float(self._export.towers[tower].notes.get("float16_products", 0)) * _FLOAT16_PRODUCT

    def _run_images(self, pixels: Pixels) -> Vectors:
        return self._run("image", as_float_images(pixels))

    def _run_texts(self, ids: Ids) -> Vectors:
        return self._run("text", ids.astype(np.int32))

    def _run(self, tower: Tower, given: NDArray[Any]) -> Vectors:
        if tower not in self._functions:
            self._functions[tower] = CoreAIFunction(self._export.sound_path(tower, from_memory=self._brief))
        return self._functions[tower].run(given)


class CoreAIFunction:
    """The function ``main`` of an asset, loaded.

    Args:
        path: An ``.aimodel``.

    Raises:
        ExportError: The asset is damaged, or of a version that this runtime does not know.
        MissingExtraError: ``coreai-core`` is not installed.
    """

    def __init__(self, path: Path) -> None:
        require(f"Executing {path.name}", "coreai")
        check_asset(path)
        self._path = path
        # The runtime is asynchronous; a thread of its own also serves callers that are inside an event loop.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="coreai")
        try:
            with quiet_native_stderr():
                self._function = self._wait(_load(path))
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            raise ExportError(
                f"Core AI cannot load {path}: {first_line(error).rstrip('.')}.",
                hint="The asset is damaged or needs a newer coreai-core; export again or update.",
            ) from error

    def run(self, given: NDArray[Any]) -> Vectors:
        """The vector of one input, ``(1, d)`` float32.

        Args:
            given: As the function takes it: ``(1, 3, height, width)`` float32, or ``(1, context)`` int32.

        Raises:
            ExportError: The runtime refuses the input or fails.
        """
        from coreai.runtime import NDArray as CoreAIArray

        name = "image" if given.ndim == 4 else "ids"
        call = self._function({name: CoreAIArray(np.ascontiguousarray(given))})
        try:
            found = self._wait(_result(call))
        except RuntimeError as error:
            raise ExportError(f"{self._path} cannot be executed: {first_line(error)}") from error
        return np.array(found["embedding"].numpy(), np.float32)

    def _wait(self, coroutine: Any) -> Any:
        return self._thread.submit(run_coroutine, coroutine).result()


class PatientLoop(asyncio.SelectorEventLoop):
    """An event loop that is closed only when no other thread is inside a call to it.

    The runtime announces a result from a thread of its own, and that call wakes the loop before it returns. If Python
    ends in between, it ends the thread instead of giving it the interpreter lock back, and the Swift frames on that
    thread abort the process: a script that had printed all its results ended with SIGABRT.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls, self._changed = 0, threading.Condition()

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override]
        """See :class:`asyncio.AbstractEventLoop`."""
        with self._changed:
            self._calls += 1
        try:
            return super().call_soon_threadsafe(*args, **options)
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Wait for the calls to return, then close."""
        with self._changed:
            self._changed.wait_for(lambda: not self._calls)
        super().close()


def run_coroutine(coroutine: Any) -> Any:
    """What a coroutine of the runtime gives, as :func:`asyncio.run` does, in a :class:`PatientLoop`."""
    with asyncio.Runner(loop_factory=PatientLoop) as runner:
        return runner.run(coroutine)


def as_float_images(pixels: Pixels) -> NDArray[np.float32]:
    """``(n, height, width, 3)`` uint8 to ``(n, 3, height, width)`` float32 in 0…1."""
    images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32)
    images /= np.float32(255)
    return images


def read_asset_metadata(path: Path) -> dict[str, Any]:
    """``metadata.json`` of an asset.

    Raises:
        ExportError: It is missing or damaged, or the asset's version is not known.
    """
    file = path / "metadata.json"
    try:
        document = read_json(file)
    except Exception as error:
        raise ExportError(f"{path} is not a Core AI asset: {file.name} cannot be read.") from error
    if document.get("assetVersion") != ASSET_VERSION:
        raise ExportError(
            f"{path} has asset version {document.get('assetVersion')}; this mckit reads version {ASSET_VERSION}.",
            hint="Update mckit, or export the model again.",
        )
    return document


def check_asset(path: Path) -> dict[str, Any]:
    """``metadata.json`` of an asset, after its program was compared with its hash.

    The runtime does not compare them; it executes a program whose weights were altered, and one that it cannot read
    ends the process.

    Raises:
        ExportError: It is not an asset, is damaged, or is of an unknown version.
    """
    document = read_asset_metadata(path)
    program, digest = path / "main.mlirb", path / "main.hash"
    if not program.is_file() or not digest.is_file():
        raise ExportError(f"{path} is not a Core AI asset: it has no {program.name} or no {digest.name}.")
    if bytes.fromhex(sha256_of_file(program)) != digest.read_bytes():
        raise ExportError(f"{program} was changed: its SHA-256 is not the one in {digest.name}.", hint=_AGAIN)
    return document


def describe_asset(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Facts about an asset, and the entries that mckit wrote into it.

    Raises:
        ExportError: It is not an asset, is damaged, or is of an unknown version.
    """
    document = check_asset(path)
    facts = {"asset_version": document["assetVersion"], "producer": document.get("producer")}
    if is_installed("coreai"):
        from coreai.authoring import AIModelAsset

        try:
            with quiet_native_stderr():
                summary: Any = AIModelAsset.load(path).summary()
            if not summary.operation_distribution:  # all that a program tells that cannot be read
                raise ValueError("it has no program that this version reads")
            facts |= {
                "operators": {str(name): int(count) for name, count in summary.operation_distribution},
                "stored_types": {str(kind): int(count) for kind, count in summary.storage_types},
            }
        except (RuntimeError, AttributeError, TypeError, ValueError) as error:
            raise ExportError(f"Core AI cannot read {path}: {first_line(error).rstrip('.')}.", hint=_AGAIN) from error
    custom = document.get("creatorDefinedMetadata") or {}
    return facts, {str(key): str(value) for key, value in custom.items()}


async def _load(path: Path) -> Any:
    from coreai.authoring import AIModelAsset

    # On Linux the asset is compiled into a temporary folder, which is not needed once the function is loaded.
    async with AIModelAsset.load(path).executable() as model:
        return model.load_function(FUNCTION)


async def _result(call: Any) -> Any:
    return await call
