"""What MkDocs does beside converting Markdown: pages from outside of docs/, links, formulas, the list of commands."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import latex2mathml.converter
from mkdocs.structure.files import File, Files

from mobileclip_kit.cli.entry import COMMANDS

ROOT = Path(__file__).parents[2]
# Pages that lie where GitHub shows them, by their place in the repository.
PAGES = ("README.md", "SECURITY.md", "CHANGELOG.md", "ios_demo/README.md", "models/README.md",
         "models/scenes-teacher/README.md", "benchmarks/README.md")  # fmt: skip
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#\s]+)(#[^)\s]*)?\)")
_MATH = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE_MATH = re.compile(r"\$([^$\n]+)\$")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """List a page for each command."""
    for entry in config["nav"]:
        if "Commands" in entry:
            entry["Commands"] = [{name: f"commands/{name}.md"} for name in COMMANDS]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside of docs/, and every file that a page links to."""
    for page in PAGES:
        _add(files, config, page)
    _add(files, config, "docs/site/site.css", uri="site.css")
    for file in list(files.documentation_pages()):
        for place in _links(file):
            if not place.startswith("docs/") and place not in PAGES and (ROOT / place).is_file():
                _add(files, config, place)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links between places of the repository into links between pages of the site, and formulas into MathML."""
    source = _place(page.file)

    def link(found: re.Match[str]) -> str:
        start, target, anchor = found[1], found[2], found[3] or ""
        if "://" in target:
            return found[0]
        place = _joined(source, target)
        if (ROOT / place).is_dir() or place.startswith("."):  # no page of the site; the name stays as text
            return start.lstrip("!")[1:].removesuffix("](")
        if start.endswith(".md]("):  # the name of a file says nothing on a site
            start = f"[{_title(place)}]("
        return f"{start}{posixpath.relpath(_uri(place), posixpath.dirname(page.file.src_uri) or '.')}{anchor})"

    pieces = []
    end = 0
    for fence in _FENCE.finditer(markdown):  # links in code are none
        pieces += [_LINK.sub(link, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    text = "".join([*pieces, _LINK.sub(link, markdown[end:])])
    if not _MATH.search(text):  # a dollar is a dollar where there are no formulas
        return text
    text = _MATH.sub(lambda found: f'<div class="formula">{_mathml(found[1], "block")}</div>', text)
    text = re.sub(r"(?<=\S)\n\$", " $", text)  # a line that begins with a tag would be a block
    return _INLINE_MATH.sub(lambda found: _mathml(found[1], "inline"), text)


def _title(place: str) -> str:
    """The first heading of a page."""
    found = re.search(r"^# (.+)$", (ROOT / place).read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else place


def _mathml(tex: str, display: str) -> str:
    return str(latex2mathml.converter.convert(" ".join(tex.split()), display=display))


def _links(file: File) -> set[str]:
    """The places in the repository that a page links to."""
    source = _place(file)
    text = _FENCE.sub("", (ROOT / source).read_text(encoding="utf-8"))
    return {_joined(source, target) for _, target, _ in _LINK.findall(text) if "://" not in target}


def _place(file: File) -> str:
    """Where a page of the site lies in the repository."""
    return file.src_uri if file.src_uri in PAGES else f"docs/{file.src_uri}"


def _uri(place: str) -> str:
    return place.removeprefix("docs/")


def _joined(source: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def _add(files: Files, config: Any, place: str, uri: str | None = None) -> None:
    name = uri or place
    if files.get_file_from_path(name) is None:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / place)))
