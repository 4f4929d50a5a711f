"""Devices: each is refused where it is not installed, and a session that computes elsewhere is found out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from mobileclip_kit import load
from mobileclip_kit.errors import ExportError, UsageError
from mobileclip_kit.exporting.folder import Export
from mobileclip_kit.runtime.open import check_device, open_encoder
from mobileclip_kit.runtime.providers import (
    PROVIDERS,
    Provider,
    automatic_devices,
    check_taken,
    present_devices,
    provider_list,
)

# A provider of ONNX Runtime's own packages that executes no operator of ours: every one falls back to the CPU.
IDLE = "AzureExecutionProvider"
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
idle = pytest.mark.skipif(IDLE not in ort.get_available_providers(), reason=f"this ONNX Runtime has no {IDLE}")


@pytest.mark.parametrize("device", [device for device in PROVIDERS if device not in present_devices()])
def test_a_device_that_is_not_installed_is_refused_by_its_package(
    onnx_export: Export, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Export, "sound_path", None)  # nothing is loaded before the refusal
    with pytest.raises(UsageError, match=f"needs the package {PROVIDERS[device].package.split()[0]}"):
        open_encoder(onnx_export.path, device=f"{device}:0" if device == "cuda" else device)
    with pytest.raises(UsageError, match="which is not installed") as caught:
        check_device(onnx_export.path, device)
    assert (caught.value.hint is None) == (device == "coreml")  # no package brings it


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "No device is called 'gpu'; the devices are cpu, cuda"),
        ("cuda:one", "No device is called 'cuda:one'"),
        ("coreml:1", "No device is called 'coreml:1'"),
        ("openvino:", "No device is called 'openvino:'"),
        ("mps", "runs on cpu, cuda, coreml, openvino, not on 'mps'"),
    ],
)
def test_other_names_are_refused(onnx_export: Export, device: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(onnx_export.path, device=device)


def test_a_model_folder_runs_where_torch_does(tiny_model_folder: Path) -> None:
    assert open_encoder(tiny_model_folder, device="cpu").device == "cpu"
    with pytest.raises(UsageError, match="runs on cpu, cuda, mps, not on 'openvino'") as refused:
        open_encoder(tiny_model_folder, device="openvino")
    assert "mckit export" in (refused.value.hint or "")
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match=r"torch .* has no device 'cuda' here"):
            check_device(tiny_model_folder, "cuda")


def test_cpu_and_auto_name_what_computed(onnx_export: Export) -> None:
    plain, named = open_encoder(onnx_export.path), open_encoder(onnx_export.path, device="cpu")
    assert (plain.device, named.device) == ("cpu", "cpu")
    np.testing.assert_array_equal(plain.encode_images(PIXELS), named.encode_images(PIXELS))


@pytest.fixture
def idle_device(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(PROVIDERS, "openvino", Provider(name=IDLE, package="nothing", setting="device_type"))
    return "openvino"


@idle
def test_operators_that_fall_back_silently_are_refused(onnx_export: Export, idle_device: str) -> None:
    encoder = open_encoder(onnx_export.path, device=idle_device)
    with pytest.raises(ExportError, match=rf"{IDLE} does not execute all of .*image.onnx: \d+ operators .* the CPU"):
        encoder.encode_images(PIXELS)
    with pytest.raises(ExportError, match=rf"{IDLE} does not execute all of .*text.onnx"):
        encoder.encode_texts("a dog")


@idle
def test_auto_takes_the_next_device_and_says_so(
    onnx_export: Export, idle_device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = open_encoder(onnx_export.path, device="auto")
    assert encoder.device == "auto"
    with encoder.in_parallel() as (many, _):
        vectors = many.encode_images(PIXELS)
        assert many.device == "cpu"
    assert "Trying the next device" in capsys.readouterr().err
    np.testing.assert_allclose(vectors, open_encoder(onnx_export.path).encode_images(PIXELS), atol=1e-6)


def test_auto_prefers_accelerators_and_takes_openvino_only_when_named(monkeypatch: pytest.MonkeyPatch) -> None:
    every = [provider.name for provider in PROVIDERS.values()]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: every)
    assert automatic_devices() == ["cuda", "coreml", "cpu"]


def test_a_provider_that_does_not_start_is_refused() -> None:
    class Session:
        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    with pytest.raises(ExportError, match="has CUDAExecutionProvider, but cannot start it"):
        check_taken(Session(), "cuda:1", "image.onnx")


def test_parts_and_threads_become_options_of_the_provider() -> None:
    assert provider_list("cuda:1", 4) == [("CUDAExecutionProvider", {"device_id": "1"})]
    wanted = {"precision": "ACCURACY", "device_type": "GPU.1", "num_of_threads": "2"}
    assert provider_list("openvino:GPU.1", 2) == [("OpenVINOExecutionProvider", wanted)]
    assert provider_list("cpu", 3) == [("CPUExecutionProvider", {})]


@pytest.mark.parametrize("device", [device for device in present_devices() if device != "cpu"])
def test_every_installed_device_gives_the_vectors_of_the_cpu(onnx_export: Export, device: str) -> None:
    encoder, reference = open_encoder(onnx_export.path, device=device), open_encoder(onnx_export.path)
    assert ((encoder.encode_images(PIXELS) * reference.encode_images(PIXELS)).sum(1) > 0.999).all()
    assert encoder.device == device
