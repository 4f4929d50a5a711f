"""What does each precision of each format cost a trained tower: top-1 of MobileNetV2 on ImageNet's classes?

    python benchmarks/trained_precisions.py DATA [--images 200] [-o results/trained_precisions.json]

DATA holds ``mobilenetv2_imagenet/model.safetensors``, trained weights under timm's names with folded batch norms, and
``imagenet1000``, a photo of each class with ``labels.csv`` (``image,wnid,label``). Depthwise convolutions with folded
batch norms have channels of very different scales, which is what integers find hard. The classifier stays on, so that
an export's vector is a row of logits of length 1 and its largest value the class.

The photos are spread evenly over the classes. Others set the ranges of calibrated precisions. Exports below their
threshold are measured too. ``kept_in_float`` counts what the threshold required in more bits. A row is written as soon
as it is measured, and rows that are in the output already are kept, so that the run can be interrupted.
"""

from __future__ import annotations

import csv
import json
import tempfile
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import RESULTS, parse, write

if TYPE_CHECKING:
    import numpy as np

    from mobileclip_kit.arrays import Pixels
    from mobileclip_kit.exporting.folder import Export
    from mobileclip_kit.exporting.request import ExportOptions
    from mobileclip_kit.networks.model import Model

# A format's default comes first: the others are made from it.
KINDS = (
    "onnx:fp32 onnx:int8 coreml:fp16 coreml:int8 coreml:palette6 litert:fp32 litert:int8 litert:int8-dynamic "
    "litert:int4 coreai:fp16 coreai:int8 coreai:palette6 coreai:palette4 coreai:int4"
).split()
_CLASSES, _SIDE, _SHORTEST = 1000, 224, 256


def main() -> None:
    """Export, classify, write, row by row."""
    chosen = parse("data", images=200, calibration=32, verify=16, kinds=tuple(KINDS), choices={"kinds": KINDS},
                   out=RESULTS / "trained_precisions.json")  # fmt: skip
    for needed in (chosen.data / "mobilenetv2_imagenet" / "model.safetensors", chosen.data / "imagenet1000"):
        if not needed.exists():
            raise SystemExit(f"{needed} does not exist.")
    from mobileclip_kit.exporting.request import ExportOptions
    from mobileclip_kit.exporting.samples import ImageInputs
    from mobileclip_kit.runtime.torch import TorchEncoder

    model = load_trained(chosen.data / "mobilenetv2_imagenet" / "model.safetensors")
    pixels, classes, calibration = read_photos(chosen.data / "imagenet1000", chosen)
    found = TorchEncoder(model).encode_images(pixels).argmax(axis=1)
    document = json.loads(chosen.out.read_text()) if chosen.out.is_file() else {"rows": []}
    document |= {"images": len(pixels), "calibrated_on": len(calibration), "top1": share(found == classes)}
    print(f"torch: {document['top1']:.3f} of {len(pixels)}", flush=True)
    done = {row["name"] for row in document["rows"]}
    bases: dict[str, Export] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in chosen.kinds:
            format, _, precision = kind.partition(":")
            name = f"{format} {precision}"
            if name in done:
                continue
            options = ExportOptions(
                format=format, precision=precision, base=bases.get(format), keep_failed=True,
                images=ImageInputs(pixels[: chosen.verify], f"{chosen.verify} photos"),
                calibration=ImageInputs(calibration, f"{len(calibration)} photos"),
            )  # fmt: skip
            row = {"name": name, "format": format, "precision": precision,
                   **measure(model, Path(folder) / name, options, bases, pixels, found, classes)}  # fmt: skip
            document["rows"].append(row)
            write(chosen.out, document)
            print(json.dumps(row), flush=True)


def load_trained(path: Path) -> Model:
    """MobileNetV2 with its classifier as a model without a text tower."""
    import timm
    from safetensors.torch import load_file
    from torch import nn

    from mobileclip_kit.networks.model import Model, build_network, describe
    from mobileclip_kit.spec import ImageSpec

    class Visual(nn.Module):
        def __init__(self, trunk: nn.Module) -> None:
            super().__init__()
            self.trunk = trunk

        def forward(self, images: Any) -> Any:
            return self.trunk(images)

    half = (0.5, 0.5, 0.5)
    image = ImageSpec(height=_SIDE, width=_SIDE, mean=half, std=half, resize_mode="shortest")
    vision = {"timm_model_name": "mobilenetv2_100", "timm_model_pretrained": False, "timm_pool": "avg",
              "timm_proj": "linear", "image_size": _SIDE}  # fmt: skip
    text = {"context_length": 8, "vocab_size": 64, "width": 8, "heads": 1, "layers": 1}
    config = {"model_cfg": {"embed_dim": _CLASSES, "vision_cfg": vision, "text_cfg": text},
              "preprocess_cfg": image.to_open_clip()}  # fmt: skip
    network = build_network(config["model_cfg"])
    trunk = timm.create_model("mobilenetv2_100", pad_type="same")
    trunk.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    network.visual = Visual(trunk)
    network.eval()
    spec = replace(describe("mobilenetv2", network, config), text=None, image=image, embedding_dim=_CLASSES)
    return Model(network, config, spec)


def read_photos(folder: Path, chosen: Namespace) -> tuple[Pixels, np.ndarray[Any, Any], Pixels]:
    """Photos to classify, their classes, and other photos to calibrate on."""
    import numpy as np

    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    order = {wnid: place for place, wnid in enumerate(sorted({row["wnid"] for row in rows}))}
    assert len(order) == _CLASSES, "a class is an index of the logits"
    step = max(1, len(rows) // chosen.images)
    shown = rows[::step][: chosen.images]
    others = [row for place, row in enumerate(rows) if place % step] or rows
    calibration = others[:: max(1, len(others) // chosen.calibration)][: chosen.calibration]
    parts = [np.stack([crop(folder / row["image"]) for row in part]) for part in (shown, calibration)]
    return parts[0], np.array([order[row["wnid"]] for row in shown]), parts[1]


def crop(path: Path) -> Pixels:
    """The square in the middle of a photo whose shorter side is made 256 pixels, as the weights were trained."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as photo:
        image = photo.convert("RGB")
    scale = _SHORTEST / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    left, top = (width - _SIDE) // 2, (height - _SIDE) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((left, top, left + _SIDE, top + _SIDE)))


def measure(model: Model, path: Path, options: ExportOptions, bases: dict[str, Export], pixels: Pixels,
            found: np.ndarray[Any, Any], classes: np.ndarray[Any, Any]) -> dict[str, Any]:  # fmt: skip
    """One export's figures; the reason where there is none."""
    from mobileclip_kit.errors import ExportError, ParityError
    from mobileclip_kit.exporting.exporter import export_model
    from mobileclip_kit.exporting.folder import open_export
    from mobileclip_kit.exporting.precisions import find_precision
    from mobileclip_kit.runtime.open import open_export_encoder

    started, busy = time.monotonic(), time.process_time()
    try:
        export = export_model(model, path, options)
    except ParityError:
        export = open_export(path)
    except ExportError as error:
        return {"error": error.message}
    if options.row == find_precision(options.format):  # in a run that goes on, the first may be another
        bases[options.format] = export
    spent = {"seconds": round(time.monotonic() - started, 1), "cpu_seconds": round(time.process_time() - busy, 1)}
    tower = export.towers["image"]
    given = open_export_encoder(export).encode_images(pixels).argmax(axis=1)
    return {
        "error": None,
        "top1": share(given == classes),
        "same_class_as_torch": share(given == found),
        "size_bytes": tower.size_bytes,
        "cosine_min": min(row.cosine_min for row in tower.verification),
        "threshold": options.least_cosine,
        "passed": all(row.passed for row in tower.verification),
        # Types of operators that are never reduced are listed with their number; the others missed the threshold.
        "kept_in_float": sum("×" not in entry for entry in tower.kept_in_float),
        **spent,
    }


def share(right: np.ndarray[Any, Any]) -> float:
    """Of true values."""
    return round(float(right.mean()), 4)


if __name__ == "__main__":
    main()
