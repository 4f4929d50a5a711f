"""Small Core ML programs, made by coremltools, so that reader and interpreter meet files that they did not write."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Build = Callable[..., Any]
Save = Callable[[Any], Path]
Convert = Callable[..., Path]


@pytest.fixture(scope="session")
def ct() -> Any:
    """The coremltools library."""
    import coremltools

    return coremltools


@pytest.fixture(scope="session")
def build(ct: Any) -> Build:
    """``build(source, target="iOS16", precision="FLOAT32", **options)``: a coremltools model, no pass applied to it."""

    def apply(source: Any, *, target: str = "iOS16", precision: str = "FLOAT32", optimize: bool = False,
              **options: Any) -> Any:  # fmt: skip
        with warnings.catch_warnings():
            # coremltools leaves its temporary folders to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            # It turns one-element arrays into integers, which numpy 2.4 forbids; hence numpy < 2.4.
            warnings.filterwarnings("ignore", "Conversion of an array", DeprecationWarning)
            return ct.convert(
                source,
                convert_to="mlprogram",
                compute_precision=getattr(ct.precision, precision),
                minimum_deployment_target=getattr(ct.target, target),
                pass_pipeline=ct.PassPipeline.DEFAULT if optimize else ct.PassPipeline.EMPTY,
                **options,
            )

    return apply


@pytest.fixture(scope="session")
def save(tmp_path_factory: pytest.TempPathFactory) -> Save:
    """``save(model)``: the path of its package."""

    def apply(model: Any) -> Path:
        path = tmp_path_factory.mktemp("package") / "model.mlpackage"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            model.save(str(path))
        return path

    return apply


@pytest.fixture(scope="session")
def convert(build: Build, save: Save) -> Convert:
    """``build`` and ``save`` in one."""
    return lambda source, **options: save(build(source, **options))
