#!/usr/bin/env bash
# How these files were written: by mckit as of commit d9e415a, before the names of keys, options and modules changed.
#
#   git worktree add OLD d9e415a
#   PYTHONPATH=OLD PYTHON=.venv/bin/python tests/golden/first-version/make.sh FOLDER
#
# tests/test_first_version.py holds today's code to reading them.
set -euo pipefail
mkdir -p "$1" && cd "$1"
python=${PYTHON:-python}
mckit() { "$python" -m mobileclip_kit "$@" >/dev/null; }

"$python" - <<'PYTHON'
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from mobileclip_kit.distill.recipe import load_recipe, save_recipe
from mobileclip_kit.networks.model import build_network, describe, save_model
from mobileclip_kit.spec import ImageSpec
from mobileclip_kit.textness.vector import Textness
from mobileclip_kit.tokenizer import Tokenizer, standard_merges, trim_merges, write_merges

merges, rows = trim_merges(["a red star", "a blue boat"], Tokenizer(standard_merges()))
image = ImageSpec(height=16, width=16, mean=(0.4, 0.45, 0.5), std=(0.2, 0.25, 0.3))
config = {
    "model_cfg": {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": len(rows), "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": image.to_open_clip(),
}
torch.manual_seed(3)
network = build_network(config["model_cfg"])
spec = describe("tiny", network, config, licence="MIT")
folder = Path("model")
folder.mkdir()
write_merges(folder / "merges.txt", merges)
save_model(folder, network, config, spec, None)
save_recipe(folder / "recipe.toml", load_recipe("piccollage"))

photos = Path("photos")
photos.mkdir()
for number, colour in enumerate(["red", "green", "blue", "orange"]):
    drawn = Image.new("RGB", (40, 32), "white")
    ImageDraw.Draw(drawn).ellipse((4 + 4 * number, 6, 20 + 4 * number, 26), fill=colour)
    drawn.save(photos / f"{colour}.png")
Path("photos.csv").write_text("image,caption\n" + "".join(
    f"photos/{colour}.png,a {colour} disc\n" for colour in ("red", "green", "blue", "orange")))
Path("bank.txt").write_text("star\nboat\n")

recipes = Path("recipes")
recipes.mkdir()
for name in ("piccollage", "tinyclip-auto", "lightclip"):
    save_recipe(recipes / f"{name}.toml", load_recipe(name))

model_hash = json.loads((folder / "model.json").read_text())["model_hash"]
direction = np.zeros(8, np.float32)
direction[2] = 1.0
report = {"accuracy": 1.0, "accuracies": {"probe": 1.0}, "pair_accuracies": {"probe": 1.0}, "training_accuracy": 1.0,
          "angle_degrees": 0.0, "raw_norms": {"probe": 1.0}, "pictures": 40, "pairs": 20, "extra_text_pictures": 0,
          "held_out_rows": 4, "l2": 0.1, "seed": 0}
textness = Textness(model="tiny", model_hash=model_hash, directions={"probe": direction}, report=report)
textness.save(Path("textness.json"))
(recipes / "views.toml").write_text('objective = "mixture"\n[mixture]\ncosine = 1.0\n[augmentation]\ncrop_scale = [0.5, 1.0]\nflip = 0.5\n')
Path("gates.toml").write_text("""[[gate]]
model = "onnx-fp32"
figure = "metrics.world_right_first"
at_least = 0.0

[[gate]]
model = "onnx-fp32"
figure = "pictures_per_s"
at_least = 1
""")
PYTHON

mckit export model --format onnx --fp32 --images photos -o onnx-fp32
mckit export model --format onnx --int8 --calibration photos --images photos --threshold 0.5 -o onnx-int8
mckit export model --format coreml --fp16 --images photos -o coreml-fp16
mckit index photos --model onnx-fp32 -o photos.index
mckit cache --teacher model --data photos.csv --views 2 --recipe recipes/views.toml --captions --bank bank.txt -o teacher.cache
mckit scenes 3 -o scenes --size 32 --workers 1
mckit bundle coreml-fp16 --textness textness.json --index photos.index -o bundle
mckit bench model onnx-fp32 --images photos.csv --teacher onnx-fp32 --seconds 0.05 --rounds 2 -o bench-images
mckit bench onnx-fp32 --world 50 --seconds 0.05 --rounds 2 --gate gates.toml -o bench-world
# The app wrote phone-bench.json; it is the golden file of that commit. Paths were shortened to /library afterwards.
for bench in bench-images bench-world; do mv $bench/report.json $bench.json; rm -r $bench; done
