"""Core ML exports executed by mckit's own interpreter, on any machine, with a phone's float16 emulated."""

from __future__ import annotations

import numpy as np

from mobileclip_kit.arrays import Ids, Pixels, Vectors
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.mil.interpreter import Arithmetic, Interpreter, NumericProblem
from mobileclip_kit.mil.program import read_program
from mobileclip_kit.runtime.encoder import Encoder
from mobileclip_kit.spec import Tower


class MilEncoder(Encoder):
    """A Core ML export as an encoder, wherever Core ML is not. It is exact, not fast.

    Args:
        export: Of the format ``coreml``.
        arithmetic: ``float16`` rounds as the program's types say; ``float32`` computes what the program means.
        threads: Ignored; numpy chooses.
        brief: Few inputs are coming: a tower's SHA-256 may come from :mod:`mobileclip_kit.exporting.digests`'s memory.
    """

    runtime = "mil"
    is_timed = False

    def __init__(
        self, export: Export, *, arithmetic: Arithmetic = "float16", threads: int | None = None, brief: bool = False
    ) -> None:
        super().__init__(export.spec, tokenizer_file=export.tokenizer_file, batch_size=1)
        self._export = export
        self._arithmetic, self._brief = arithmetic, brief
        self._interpreters: dict[Tower, Interpreter] = {}

    def problems(self, tower: Tower) -> tuple[NumericProblem, ...]:
        """Operators of a tower that overflowed or became NaN in any run so far."""
        return self._interpreters[tower].problems if tower in self._interpreters else ()

    def _run_images(self, pixels: Pixels) -> Vectors:
        return self._interpreter("image").run({"image": pixels})["embedding"].astype(np.float32)

    def _run_texts(self, ids: Ids) -> Vectors:
        return self._interpreter("text").run({"ids": ids.astype(np.int32)})["embedding"].astype(np.float32)

    def _interpreter(self, tower: Tower) -> Interpreter:
        if tower not in self._interpreters:
            program = read_program(self._export.sound_path(tower, from_memory=self._brief))
            self._interpreters[tower] = Interpreter(program, arithmetic=self._arithmetic)
        return self._interpreters[tower]
