"""``mckit export`` and ``mckit verify`` as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from mobileclip_kit import extras
from mobileclip_kit.cli.entry import main
from mobileclip_kit.cli.export import describe, describe_comparison
from mobileclip_kit.exporting.exporter import load_request
from mobileclip_kit.exporting.folder import Export, ExportedTower
from mobileclip_kit.exporting.request import ExportOptions, ExportRequest
from mobileclip_kit.exporting.sensitivity import Sensitivity, table_path, write_sensitivities
from mobileclip_kit.spec import ImageSpec, ModelSpec, Tower


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, color in enumerate(["red", "green", "blue", "white"]):
        Image.new("RGB", (50 + number, 40), color).save(folder / f"{color}.png")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def test_verify_prints_one_document(
    capsys: pytest.CaptureFixture[str],
    onnx_export: Export,
    tiny_model_folder: Path,
    photos: Path,
) -> None:
    code, out, err = run(
        capsys, "verify", onnx_export.path, "--against", tiny_model_folder, "--images", photos, "--json"
    )
    rows = json.loads(out)["exports"]
    assert code == 0
    assert [(row["tower"], row["passed"]) for row in rows] == [("image", True), ("text", True)]
    assert rows[0]["images"] == 4
    assert "torn.jpg" in err
    assert [entry["item"] for entry in json.loads(out)["skipped"]] == ["torn.jpg"]


def test_an_image_that_is_read_twice_is_told_once(tiny_model_folder: Path, photos: Path) -> None:
    for number in range(8):  # enough to calibrate
        Image.new("RGB", (60, 40 + number), "red").save(photos / f"{number}.png")
    lines: list[str] = []
    request = ExportRequest(
        model=str(tiny_model_folder), format="onnx", images=photos, calibration=photos, precision="int8"
    )
    assert [item for item, _ in load_request(request, report=lines.append).skipped] == ["torn.jpg"]
    assert [line for line in lines if "torn" in line] == [
        f"skipped {photos / 'torn.jpg'} is not an image in a format that can be decoded here."
    ]


def test_a_budget_of_recall_is_refused_without_a_text_tower(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, photos: Path
) -> None:
    from mobileclip_kit.networks.model import PLACEHOLDER_TEXT, build_network, describe, save_model
    from tests.exports import tiny_config

    folder, config = tmp_path / "blank", tiny_config(600)
    folder.mkdir()
    config["model_cfg"]["text_cfg"] = PLACEHOLDER_TEXT
    network = build_network(config["model_cfg"])
    save_model(folder, network, config, describe("blank", network, config))
    flags = ("--int8", "--calibration", photos, "--images", photos, "--max-recall-drop", "0.1")
    code, _, err = run(capsys, "export", folder, "--format", "onnx", *flags, "-o", tmp_path / "out")
    assert code == 2
    assert "blank has no text tower, so its recall from text to image cannot be measured. Omit" in err


def test_verify_below_the_threshold_prints_the_table_and_fails(
    capsys: pytest.CaptureFixture[str],
    coreml_export: Export,
    tiny_model_folder: Path,
) -> None:
    code, out, err = run(capsys, "verify", coreml_export.path, "--against", tiny_model_folder, "--threshold", "1")
    assert code == 1
    assert f"`mckit verify {coreml_export.path} --against MODEL --intermediates` names the operators" in err
    assert "FAILED" in out
    assert "least cosine 0.9" in err


def test_verify_names_the_operators_that_lose_most(
    capsys: pytest.CaptureFixture[str], coreml_export: Export, tiny_model_folder: Path
) -> None:
    arguments = ("verify", coreml_export.path, "--against", tiny_model_folder, "--intermediates")
    code, out, _ = run(capsys, *arguments, "--json")
    traces = json.loads(out)["intermediates"]
    assert code == 0
    assert [(trace["tower"], trace["first"]) for trace in traces] == [("image", None), ("text", None)]
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert traces[0]["worst"]["operation"] in out


def test_verify_against_another_model(capsys: pytest.CaptureFixture[str], onnx_export: Export, tmp_path: Path) -> None:
    from mobileclip_kit.networks.model import build_network, describe, save_model
    from tests.exports import tiny_config

    folder = tmp_path / "other"
    folder.mkdir()
    config = tiny_config(600)
    network = build_network(config["model_cfg"])
    save_model(folder, network, config, describe("other", network, config))
    code, out, err = run(capsys, "verify", onnx_export.path, "--against", folder, "--json")
    assert code == 1
    assert json.loads(out)["error"]["kind"] == "ModelMismatchError"
    assert "belongs to the model" in err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--format", "onnx", "--fp32", "--int8"], "contradict each other"),
        (["--format", "onnx", "--int8"], "--calibration"),
        ([], "--format onnx"),
        (["--compare", "--int8"], "--compare writes every precision"),
        (["--format", "coreml", "--fp16", "--max-recall-drop", "0.01"], "in coreml fp16 nothing has. Choose"),
        (["--format", "onnx", "--int8", "--max-recall-drop", "0.01"], "needs images with captions"),
        (["--format", "coreml", "--int8-weights"], "not in int8-weights"),
        (["--compare", "--sensitivity", "student-int8"], "--compare writes every precision"),
        (["--format", "onnx", "--sensitivity", "student-int8"], "--sensitivity decides what has more bits"),
        (["--format", "onnx", "--min-cosine", "nan"], "nan is not a number"),
        (["--format", "onnx", "--ane"], "--ane is a layout for Core ML"),
        (["--format", "onnx", "--gpu-layout"], "--gpu-layout is a layout for LiteRT"),
        (["--format", "litert", "--int8"], "--calibration"),
        (["--format", "coreai", "--int8-dynamic"], "not in int8-dynamic"),
        (["--compare", "--ane"], "--compare writes every precision"),
        (["--format", "onnx", "--palettize", "6"], "not in palette6"),
        (["--format", "coreml", "--fp32", "--palettize", "6"], "contradict each other"),
    ],
)
def test_flags_that_cannot_work(
    capsys: pytest.CaptureFixture[str], flags: list[str], sentence: str, tmp_path: Path
) -> None:
    """Refused before the model is even looked for."""
    code, _, err = run(capsys, "export", tmp_path / "absent", *flags)
    assert code == 2
    assert sentence in err


def test_a_usage_error_costs_no_import_of_torch() -> None:
    code = (
        "import sys\nfrom mobileclip_kit.cli.entry import main\n"
        "try: main(['export', 'student'])\n"
        "except SystemExit as stop: print(stop.code, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False", "False"]
    assert "Add --format onnx or --format coreml or --format coreai or --format litert, or --compare." in done.stderr


def test_help_names_what_each_flag_does_in_each_format(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "export", "--help")
    said = " ".join(out.split())
    assert (
        "--int8 onnx, litert: int8 weights and activations (needs --calibration); coreml, coreai: int8 weights, "
        in said
    )
    assert "onnx (default), coreml, coreai, litert (default): float32." in said
    assert "--palettize [8|6|4]" in said
    assert "student-onnx-fp32 or student-coreml-fp16" in said


def test_existing_output_is_refused_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "export", "ViT-B-32", "--format", "onnx", "-o", tmp_path)
    assert code == 1
    assert "exists already" in err


def test_calibration_without_images(
    capsys: pytest.CaptureFixture[str],
    tiny_model_folder: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/notes.png").write_text("no image")
    flags = ["--format", "onnx", "--int8", "--calibration", tmp_path / "notes", "-o", tmp_path / "out"]
    code, _, err = run(capsys, "export", tiny_model_folder, *flags)
    assert code == 1
    assert "no image that can be read" in err
    assert not (tmp_path / "out").exists()


def test_default_destination(tmp_path: Path) -> None:
    (tmp_path / "student").mkdir()
    student = str(tmp_path / "student")
    assert ExportRequest(model=student, format="coreml").destination() == tmp_path / "student-coreml-fp16"
    assert ExportRequest(model=student, format="coreml", ane=True).destination().name == "student-coreml-fp16-ane"
    assert ExportRequest(model=student, compare=True).destination() == tmp_path / "student-compared"
    named = ExportRequest(model="ViT-B-32:openai", format="onnx", precision="int8")
    assert named.destination() == Path("ViT-B-32-openai-onnx-int8")


def test_a_comparison_takes_the_asked_cosine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> None:
    asked: list[object] = []

    def compare(model: object, place: object, options: ExportOptions, **_: object) -> dict[str, object]:
        asked.append(options.threshold)
        return {"rows": [], "threads": 1}

    monkeypatch.setattr("mobileclip_kit.comparison.compare_precisions", compare)
    code, _, _ = run(capsys, "export", tiny_model_folder, "--compare", "--min-cosine", "0.97", "-o", tmp_path / "all")
    assert (code, asked) == (0, [0.97])


def test_verify_tells_the_operators_of_what_fails(
    capsys: pytest.CaptureFixture[str], coreml_export: Export, tiny_model_folder: Path
) -> None:
    """One document on stdout, the failure's; what was asked about the operators is said all the same."""
    flags = ("--threshold", "1", "--intermediates", "--json")
    code, out, err = run(capsys, "verify", coreml_export.path, "--against", tiny_model_folder, *flags)
    assert code == 1
    assert json.loads(out)["error"]["kind"] == "ParityError"
    assert "operators in float16 beside float32" in err


def test_the_report_names_what_int8_costs(tmp_path: Path) -> None:
    found = [Sensitivity("a", "Gemm", "w", 0.25), Sensitivity("b", "Conv", "v", 0.0)]
    write_sensitivities(table_path(tmp_path, "image"), found, "8 images")
    tower = ExportedTower(tower="image", file="image.onnx", size_bytes=1, sha256="", kept_in_float=("Gemm of w",))
    spec = ModelSpec(name="chain", embedding_dim=8, image=ImageSpec(height=4, width=4), text=None)
    text = describe(Export(path=tmp_path, spec=spec, format="onnx", precision="int8", towers={"image": tower}))
    assert "kept in float: Gemm of w" in text
    assert "int8-sensitivity-image.json: what each of 2 products costs alone in int8; most do Gemm of w 0.25" in text


def test_the_report_says_what_recall_costs_once(tmp_path: Path) -> None:
    noted = {"on": "60 images with 151 captions of img.csv", "before": 0.75, "after": 0.7456, "max_drop": 0.01}
    towers = {
        name: ExportedTower(tower=name, file=f"{name}.onnx", size_bytes=1, sha256="", notes={"mean_recall": noted})
        for name in get_args(Tower)
    }
    spec = ModelSpec(name="chain", embedding_dim=8, image=ImageSpec(height=4, width=4), text=None)
    text = describe(Export(path=tmp_path, spec=spec, format="onnx", precision="int8", towers=towers))
    assert text.count("mean recall 0.7500 before, 0.7456 after: 60 images with 151 captions of img.csv") == 1


def test_a_comparison_says_a_reason_once_and_why_nothing_is_timed() -> None:
    row = {"name": "coreml-palette4", "size_bytes": 1, "cosine_min": 0.9, "cosine_mean": 0.95, "overlap_at_10": None,
           "latency_ms": None, "passed": False, "inputs": "12 inputs", "runtime": "mil",
           "reason": "it differs."}  # fmt: skip
    document = {"rows": [{**row, "tower": tower} for tower in get_args(Tower)], "threads": 1}
    table = describe_comparison(document)
    assert table.count("coreml-palette4: it differs.") == 1
    assert "macOS" in table and "1 thread" not in table


def test_the_report_says_what_float32_costs_core_ml(tmp_path: Path) -> None:
    tower = ExportedTower(tower="image", file="image.mlpackage", size_bytes=1, sha256="",
                          kept_in_float=("linear up", "gelu act"), notes={"float_costs_bytes": 12345})  # fmt: skip
    spec = ModelSpec(name="loud", embedding_dim=8, image=ImageSpec(height=4, width=4), text=None)
    text = describe(Export(path=tmp_path, spec=spec, format="coreml", precision="fp16", towers={"image": tower}))
    assert "kept in float: linear up, gelu act; 12,345 bytes more than without" in text


@pytest.mark.parametrize("width", ["8 bits", "int8"])
def test_weights_in_eight_bits_are_not_called_floats(tmp_path: Path, width: str) -> None:
    kept = (f"Linear of up.weight ({width})", "Linear of down.weight (float16)")
    tower = ExportedTower(tower="image", file="image.mlpackage", size_bytes=1, sha256="", kept_in_float=kept)
    spec = ModelSpec(name="chain", embedding_dim=8, image=ImageSpec(height=4, width=4), text=None)
    text = describe(Export(path=tmp_path, spec=spec, format="coreml", precision="palette4", towers={"image": tower}))
    assert f"image: in more bits: {', '.join(kept)}" in text
    row = {"name": "coreml-palette4", "tower": "image", "size_bytes": 1, "cosine_min": 1.0, "cosine_mean": 1.0,
           "overlap_at_10": None, "latency_ms": None, "passed": True, "reason": None, "inputs": "2", "runtime": "mil",
           "kept_in_float": [*kept]}  # fmt: skip
    assert f"image: in more bits: {', '.join(kept)}" in describe_comparison({"rows": [row], "threads": 1})


@pytest.mark.parametrize(
    ("arguments", "idle"),
    [
        (("--format", "coreml", "--calibration", "photos"), ("--calibration ",)),
        (("--format", "onnx", "--calibration-method", "entropy"), ("--calibration-method",)),
        (("--format", "onnx", "--num-images", "4"), ("--num-images",)),
        (("--format", "onnx", "--int8", "--calibration", "photos", "--calibration-method", "minmax"), ()),
        (("--compare", "--calibration", "photos", "--calibration-method", "minmax"), ()),
        (("--compare", "--format", "coreml", "--calibration", "photos"), ("--calibration ",)),
        (("--format", "onnx", "--images", "photos", "--num-images", "4"), ()),
    ],
)
def test_options_without_effect_are_told(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    photos: Path,
    arguments: tuple[str, ...],
    idle: tuple[str, ...],
) -> None:
    """Said before anything is read: the model is missing here."""
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "export", tmp_path / "missing", *arguments)
    assert code != 0
    found = [line for line in err.splitlines() if "no effect" in line]
    assert len(found) == len(idle)
    assert all(f"warning: {option}" in line for option, line in zip(idle, found, strict=True))


@pytest.mark.parametrize(
    ("format", "installed", "words"),
    [("litert", False, "--format litert needs the extra [litert]"),
     ("coreai", False, "--format coreai needs the extra [coreai]"),
     ("litert", True, "was tested with ai-edge-litert 2, but 0.1 is installed; install the tested one"),
     ("coreai", True, "was tested with coreai-core 1.0.0b3, but 0.1 is installed; install the tested one")],
)  # fmt: skip
def test_a_converter_that_is_missing_or_was_not_tested_is_named(
    format: str, installed: bool, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tiny_model_folder: Path, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setattr(extras, "is_installed", lambda name: installed or name not in extras.EXTRAS[format])
    monkeypatch.setattr(metadata, "version", lambda name: "0.1")
    code, _, err = run(capsys, "export", tiny_model_folder, "--format", format, "-o", tmp_path / "out")
    assert code != 0 and words in err
    assert not (tmp_path / "out").exists()


def test_a_calibration_without_images_is_refused(
    capsys: pytest.CaptureFixture[str], tiny_model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = run(capsys, "export", tiny_model_folder, "--format", "onnx", "--int8", "--calibration",
                       tmp_path / "empty", "-o", tmp_path / "out")  # fmt: skip
    assert code != 0 and "empty holds no usable image." in err
    assert not (tmp_path / "out").exists()
