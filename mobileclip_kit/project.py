"""``mckit.toml``: the defaults of every command in a folder.

::

    [project]
    data = "photos"                 # images, or a captions file
    teacher = "ViT-B-32:openai"
    student = "vit-s6-h12"

    [distill]                       # options of one command
    steps = 2000

Commands find what earlier ones made: ``mckit index`` takes the ONNX export if there is one, ``mckit search`` the index.
Options of the command line override all of it. Paths are relative to the file, which is looked for in the current
folder and in those above it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mobileclip_kit.errors import DataError
from mobileclip_kit.files import atomic_file
from mobileclip_kit.urls import is_url

PROJECT_FILE = "mckit.toml"

# The precisions of an export that a command takes, the best first.
_FOR_SEARCH = ("onnx-fp32", "onnx-int8", "onnx-int8-weights", "onnx-fp16")
_FOR_PHONE = ("coreml-fp16", "coreml-palette8", "coreml-palette6", "coreml-int8", "coreml-fp32", "coreml-palette4")


@dataclass(frozen=True, kw_only=True)
class Project:
    """What a ``mckit.toml`` says.

    Attributes:
        data: Images, a captions file, or the URL of shards.
        teacher: A model folder or a name.
        student: A student's name, or a JSON file.
        model: The model folder that `mckit distill` makes.
        index: The index folder.
        bundle: The bundle folder.
        textness: The textness vector.
        commands: Options of single commands: ``{"distill": {"steps": 2000}}``.
    """

    data: str
    teacher: str | None = None
    student: str | None = None
    model: str = "student"
    index: str = "photos.index"
    bundle: str = "bundle"
    textness: str = "textness.json"
    commands: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Project:
        """Read a project file.

        Raises:
            DataError: It is not TOML, or a key is unknown or has the wrong type.
        """
        from mobileclip_kit.formats import from_document, read_toml  # only where there is such a file

        document = read_toml(path)
        values, hint = document.pop("project", None), "`mckit init --data PHOTOS` writes one."
        if not isinstance(values, dict):
            raise DataError(f"{path} has no table [project].", hint=hint)
        for name in [name for name, value in values.items() if isinstance(value, dict)]:
            raise DataError(f"{path}: the table [project.{name}] belongs at the top level, as [{name}].")
        for name, table in document.items():
            if not isinstance(table, dict):
                raise DataError(f"{path}: {name} stands outside of a table; it belongs below [project].")
        return from_document({**values, "commands": document}, cls, where=str(path), hint=hint)

    def write(self, path: Path) -> None:
        """Write the values that are set, with a comment about the file."""
        lines = [
            "# Defaults of mckit's commands in this folder; options of the command line override them.",
            "[project]",
        ]
        named = ((each.name, getattr(self, each.name)) for each in fields(self) if each.name != "commands")
        # A JSON text is a TOML text, but for the characters that JSON leaves and TOML refuses.
        lines += [f"{name} = {json.dumps(value)}" for name, value in named if value is not None]
        for command, table in self.commands.items():
            lines += ["", f"[{command}]", *(f"{name} = {json.dumps(value)}" for name, value in table.items())]
        with atomic_file(path) as staging:
            staging.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def defaults(self, command: str, folder: Path, arguments: Sequence[str] = ()) -> dict[str, Any]:
        """The parameters of a command that the project gives, as click names them.

        Args:
            command: Its name.
            folder: Of the project file.
            arguments: Of the command line: some exclude what the project would give.
        """
        found = _Found(self, folder)
        own = dict(self.commands.get(command, {}))
        if (
            any(argument.startswith(("--from-", "--check", "--compare")) for argument in arguments)
            and command != "export"
        ):
            return own
        given = found.of(command)
        if command == "export" and "--int8" in arguments and not {"coreml", "coreai"}.intersection(arguments):
            given["calibration"] = given["images"]
        for name, value in own.items():  # of a command with commands of its own, such as textness fit
            own[name] = {**given[name], **value} if isinstance(value, dict) and name in given else value
        return {name: value for name, value in {**given, **own}.items() if value is not None and value != ()}


def find_project(start: Path | None = None) -> Path | None:
    """The project file of a folder or of one above it.

    Args:
        start: The folder; None for the current one.
    """
    here = (start or Path.cwd()).absolute()
    return next((folder / PROJECT_FILE for folder in (here, *here.parents) if (folder / PROJECT_FILE).is_file()), None)


class _Found:
    """The places of a project as the commands' parameters."""

    def __init__(self, project: Project, folder: Path) -> None:
        self._project = project
        self._folder = Path() if folder.absolute() == Path.cwd() else folder

    def of(self, command: str) -> dict[str, Any]:
        project = self._project
        data, model, index = self._place(project.data), self._place(project.model), self._place(project.index)
        there = index if (Path(index) / "index.json").is_file() else None
        made = model if Path(model).is_dir() else None  # what an earlier command makes is not given before it is there
        textness = self._place(project.textness)
        textness_there = textness if Path(textness).is_file() else None
        search_model = self._export(_FOR_SEARCH) or made
        exports = [self._export((precision,)) for precision in (*_FOR_SEARCH, *_FOR_PHONE)]
        models = tuple(place for place in (made, *exports) if place is not None)
        teacher = None if project.teacher is None else self._name(project.teacher)
        tables: dict[str, dict[str, Any]] = {
            "distill": {"data": data, "teacher": teacher, "student": self._student(), "out": model},
            "train": {"data": data, "out": model},
            "cache": {"teachers": (teacher,) if teacher else (), "data": data, "out": self._place("teacher.cache")},
            "export": {"model": made, "images": data},
            "verify": {"export": next(filter(None, exports), None), "against": made, "images": data},
            "index": {"folder": data, "model": search_model, "out": index},
            "search": {"project_index": there, "textness_vector": textness_there},
            "serve": {"index_folder": there, "textness_vector": textness_there},
            "dump": {"index_folder": there},
            "duplicates": {"index": there},
            "tag": {"index": there},
            "bundle": {"export": self._export(_FOR_PHONE), "out": self._place(project.bundle), "index": there,
                       "textness": textness_there},
            "push": {"path": search_model},
            "bench": {"models": models},
            "inspect": {"path": self._place(PROJECT_FILE)},
            "textness": {"fit": {"images": data, "model": search_model, "out": textness},
                         "eval": {"model": search_model, "textness_vector": textness_there},
                         "grid": {"index_folder": there, "textness_vector": textness_there}},
        }  # fmt: skip
        return tables.get(command, {})

    def _place(self, name: str) -> str:
        return name if is_url(name) else str(self._folder / name)

    def _name(self, name: str) -> str:
        """A model's folder, if it is there; else its name."""
        return self._place(name) if (self._folder / name).exists() else name

    def _student(self) -> str | None:
        return None if self._project.student is None else self._name(self._project.student)

    def _export(self, precisions: Sequence[str]) -> str | None:
        places = (self._place(f"{self._project.model}-{precision}") for precision in precisions)
        return next((place for place in places if (Path(place) / "export.json").is_file()), None)
