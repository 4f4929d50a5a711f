"""Writes docs/api.md from the docstrings of the public API: ``python docs/make_api.py``."""

from __future__ import annotations

import importlib
import inspect
import json
import operator
import re
import typing
from pathlib import Path
from typing import Any

import mobileclip_kit as mckit

PAGE = Path(__file__).parent / "api.md"
FUNCTIONS = ("load", "build_index", "open_index", "distill", "train", "export", "verify")
CLASSES = (
    "Encoder",
    "Index",
    "Hit",
    "DuplicateGroup",
    "IndexReport",
    "TagReport",
    "TrainingReport",
    "Export",
    "Verification",
    "Progress",
)
METHODS = {
    "Encoder": ("encode_images", "encode_texts"),
    "Index": ("search", "encode", "search_vectors", "duplicates", "tag", "update", "close"),
    "Export": ("rows", "tower_path"),
}
REQUESTS = {
    "Index.search": "search.request:Filters",
    "Index.tag": "tagging.request:TagRequest",
    "build_index": "indexing.options:IndexOptions",
    "distill": "distillation.request:DistillRequest",
    "train": "distillation.request:TrainRequest",
    "export": "exporting.request:ExportRequest",
}
INTRODUCTION = """\
# Python API

`import mobileclip_kit as mckit` is quick: torch, faiss and ONNX Runtime are imported when they are needed. Paths are
`str` or `Path`. [library.md](library.md) is a whole example. This page is made from the docstrings by
`python docs/make_api.py`. The examples are run by the tests, where `model` is an ONNX export, `teacher` its model
folder, `student` and `text` are JSON files of small towers, `photo` is one of three images in a folder, `captions` a
CSV file with captions of them, and `index` an index of them.
"""


def render_page() -> str:
    """The text of docs/api.md."""
    parts = [INTRODUCTION, "## Functions"]
    parts += [_entry(name, getattr(mckit, name), 3) + _options(name) for name in FUNCTIONS]
    parts.append("## Classes")
    for name in CLASSES:
        kind = getattr(mckit, name)
        parts.append(_entry(name, kind, 3))
        methods = [f"{name}.{method}" for method in METHODS.get(name, ())]
        parts += [_entry(method, operator.attrgetter(method)(mckit), 4) + _options(method) for method in methods]
    errors = importlib.import_module("mobileclip_kit.errors").__doc__ or ""
    tree = inspect.cleandoc("\n" + errors.split("::", 1)[1].split("\n\nA message", 1)[0]).strip()
    parts += ["## Errors", "Every error is a `mckit.MckitError` with a `message` and a `hint`.", _code(tree)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _entry(name: str, described: Any, level: int) -> str:
    pieces = re.split(
        r"^(Args|Attributes|Returns|Raises|Example):\n", inspect.getdoc(described) or "", flags=re.MULTILINE
    )
    sections = zip(pieces[1::2], pieces[2::2], strict=True)
    shown = [f"{'#' * level} `{name}`", _code(_signature(name, described)), _prose(pieces[0])]
    return "\n\n".join([*shown, *(_section(title, inspect.cleandoc("\n" + body)) for title, body in sections)])


def _signature(name: str, described: Any) -> str:
    if inspect.isclass(described):
        return f"class mckit.{name}"
    found = inspect.signature(described)
    parameters = [each for each in found.parameters.values() if each.name != "self"]
    shown = [_parameter(each) for each in parameters]
    kinds = [each.kind for each in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds:
        shown.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    result = f" -> {found.return_annotation}"
    text = f"mckit.{name}({', '.join(shown)}){result}"
    if len(text) > 100:
        text = f"mckit.{name}(\n    " + ",\n    ".join(shown) + f",\n){result}"
    return text


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "**" if parameter.kind is inspect.Parameter.VAR_KEYWORD else ""
    text = f"{stars}{parameter.name}: {parameter.annotation}"
    if parameter.default is inspect.Parameter.empty:
        return text
    default = json.dumps(parameter.default) if isinstance(parameter.default, str) else repr(parameter.default)
    return f"{text} = {default}"


def _in_python(help: str) -> str:
    """The help of an option, which names other options, in the names of Python."""
    return re.sub(r"--([a-z][a-z-]*)", lambda found: f"`{found[1].replace('-', '_')}`", help)


def _options(function: str) -> str:
    """The fields of the request that a function's ``**options`` fill in, with the help of the command line."""
    if function not in REQUESTS:
        return ""
    module, _, name = REQUESTS[function].partition(":")
    kind = getattr(importlib.import_module(f"mobileclip_kit.{module}"), name)
    named = {*inspect.signature(operator.attrgetter(function)(mckit)).parameters, "compare"}
    lines = []
    for field, hint in typing.get_type_hints(kind, include_extras=True).items():
        option = next((each for each in getattr(hint, "__metadata__", ()) if hasattr(each, "help")), None)
        if option is not None and field not in named:
            lines.append(f"- `{field}`: {_in_python(option.help)}")
    return "\n\n**Options**\n\n" + "\n".join(lines)


def _section(title: str, body: str) -> str:
    if title == "Example":
        return _code(body)
    if title == "Returns":
        return f"**Returns** {_prose(body)}"
    entries = [re.sub(r"\s*\n\s*", " ", entry) for entry in re.split(r"\n(?=\S)", body)]
    items = [_prose(re.sub(r"^([^:]+): ", r"`\1`: ", entry)) for entry in entries]
    return f"**{title}**\n\n" + "\n".join(f"- {item}" for item in items)


def _prose(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`").strip()


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")
