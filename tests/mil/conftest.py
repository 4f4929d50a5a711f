"""Small Core ML programs, made by coremltools, so that reader and interpreter meet files that they did not write."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Convert = Callable[..., Path]


@pytest.fixture(scope="session")
def ct() -> Any:
    """Coremltools."""
    import coremltools

    return coremltools


@pytest.fixture(scope="session")
def convert(ct: Any, tmp_path_factory: pytest.TempPathFactory) -> Convert:
    """``convert(source, target="iOS16", precision="FLOAT32", **options)``: a saved package, no pass applied to it."""

    def apply(source: Any, *, target: str = "iOS16", precision: str = "FLOAT32", optimize: bool = False,
              compress: Callable[[Any], Any] | None = None, **options: Any) -> Path:  # fmt: skip
        path = tmp_path_factory.mktemp("package") / "model.mlpackage"
        with warnings.catch_warnings():
            # coremltools leaves its temporary folders to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            model = ct.convert(
                source,
                convert_to="mlprogram",
                compute_precision=getattr(ct.precision, precision),
                minimum_deployment_target=getattr(ct.target, target),
                pass_pipeline=ct.PassPipeline.DEFAULT if optimize else ct.PassPipeline.EMPTY,
                **options,
            )
            if compress is not None:
                model = compress(model)
            model.save(str(path))
            del model
            gc.collect()
        return path

    return apply
