"""XMP sidecars: tags as ``dc:subject`` in ``IMAGE.xmp``, merged into what other programs wrote there.

The tags that mckit wrote are listed in a property of its own, so that the next run takes back those that are gone and
no others. Comments, processing instructions, prefixes and everything that is not a tag stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from mobileclip_kit.errors import DataError, OutputError
from mobileclip_kit.files import atomic_file, remove_abandoned_files
from mobileclip_kit.progress import track

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_OWN = "urn:mckit:tags:1.0"
_XMLNS = "http://www.w3.org/2000/xmlns/"
_LONGEST = 16 << 20
_EMPTY = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{_RDF}">
  <rdf:Description rdf:about="" xmlns:dc="{_DC}"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def prepare_sidecars(tags: Mapping[Path, Sequence[str]]) -> dict[Path, str]:
    """The new content of each sidecar that changes; nothing is written.

    Args:
        tags: The tags of each sidecar. One without tags is not made, but loses those that an earlier run wrote.

    Raises:
        DataError: A sidecar is not XMP that tags can be merged into.
        OutputError: A folder cannot be written.
    """
    planned = {}
    for path, names in tags.items():
        old = _read(path) if path.is_file() else None
        if old is None and not names:
            continue
        new = merged(old or _EMPTY, names, str(path))
        if new != old:
            planned[path] = new
    for folder in {next(each for each in path.parents if each.exists()) for path in planned}:
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise OutputError(
                f"Sidecars cannot be written into {folder}; none was.", hint="Name another folder: --xmp DIR."
            )
    return planned


def write_sidecars(planned: Mapping[Path, str]) -> None:
    """Write what :func:`prepare_sidecars` planned, each file atomically."""
    for folder in {path.parent for path in planned}:
        folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned_files(folder, ".xmp")
    for path, text in track(list(planned.items()), "sidecars", "files"):
        with atomic_file(path, is_tidy=True) as staging:
            staging.write_text(text, encoding="utf-8")


def merged(text: str, tags: Iterable[str], where: str) -> str:
    """A sidecar's text with these tags among its subjects, in place of those that mckit wrote before.

    Raises:
        DataError: The text is not XMP.
    """
    hint = "Move the sidecar away, or name another folder: --xmp DIR."
    if "<!DOCTYPE" in text:
        raise DataError(f"{where} has a document type, which no XMP sidecar has.", hint=hint)
    try:
        document = minidom.parseString(text)
    except (ExpatError, ValueError) as error:
        raise DataError(f"{where} is not well-formed XML: {error}.", hint=hint) from error
    roots = document.getElementsByTagNameNS(_RDF, "RDF")
    if len(roots) != 1:
        raise DataError(f"{where} is not XMP: it has {len(roots)} elements rdf:RDF instead of one.", hint=hint)
    root = roots[0]
    descriptions = _children(root, _RDF, "Description")
    if any(node.hasAttributeNS(_DC, "subject") for node in descriptions):
        raise DataError(f"{where} has dc:subject as an attribute, which tags cannot be merged into.", hint=hint)
    if not descriptions:
        descriptions = [_append(root, _RDF, root.prefix, "Description")]
        descriptions[0].setAttributeNS(_RDF, _named(root.prefix, "about"), "")
    subjects, own = (_find_bag(descriptions, namespace, name) for namespace, name in ((_DC, "subject"), (_OWN, "tags")))
    if subjects is _NO_BAG or own is _NO_BAG:
        raise DataError(f"{where} has a dc:subject that is no list, which tags cannot be merged into.", hint=hint)
    before, ours = _texts(subjects), set(_texts(own))
    foreign = [text for text in before if text not in ours]
    new = [tag for tag in tags if tag not in foreign]
    kept = [text for text in before if text in foreign or text in new]
    _fill(subjects, descriptions[0], (_DC, "dc", "subject"), [*kept, *(tag for tag in new if tag not in kept)])
    _fill(own, descriptions[0], (_OWN, "mckit", "tags"), new)
    declared = '<?xml version="1.0" encoding="UTF-8"?>\n' if text.lstrip().startswith("<?xml ") else ""
    return declared + "\n".join(node.toxml() for node in document.childNodes) + "\n"


_NO_BAG = object()


def _find_bag(descriptions: Sequence[Any], namespace: str, name: str) -> Any:
    """The list of a property; None if there is no such property, :data:`_NO_BAG` if it is something else."""
    for description in descriptions:
        for found in _children(description, namespace, name):
            lists = [bag for kind in ("Bag", "Seq") for bag in _children(found, _RDF, kind)]
            return lists[0] if len(lists) == 1 else _NO_BAG
    return None


def _texts(bag: Any) -> list[str]:
    entries = [] if bag is None else _children(bag, _RDF, "li")
    return ["".join(node.data for node in entry.childNodes if node.nodeType == node.TEXT_NODE) for entry in entries]


def _fill(bag: Any, description: Any, named: tuple[str, str, str], texts: Sequence[str]) -> None:
    """Make a list hold these texts; entries that stay are not touched, and an empty list is removed."""
    namespace, prefix, name = named
    rdf = description.prefix
    if bag is None:
        if not texts:
            return
        made = _append(description, namespace, prefix, name)
        made.setAttributeNS(_XMLNS, f"xmlns:{prefix}", namespace)
        bag = _append(made, _RDF, rdf, "Bag")
    known = _texts(bag)
    for entry, text in zip(_children(bag, _RDF, "li"), known, strict=True):
        if text not in texts:
            bag.removeChild(entry)
    for text in texts:
        if text not in known:
            _append(bag, _RDF, rdf, "li").appendChild(bag.ownerDocument.createTextNode(text))
    if not texts:
        bag.parentNode.parentNode.removeChild(bag.parentNode)


def _children(parent: Any, namespace: str, name: str) -> list[Any]:
    elements = (node for node in parent.childNodes if node.nodeType == node.ELEMENT_NODE)
    return [node for node in elements if (node.namespaceURI, node.localName) == (namespace, name)]


def _append(parent: Any, namespace: str, prefix: str | None, name: str) -> Any:
    return parent.appendChild(parent.ownerDocument.createElementNS(namespace, _named(prefix, name)))


def _named(prefix: str | None, name: str) -> str:
    return f"{prefix}:{name}" if prefix else name


def _read(path: Path) -> str:
    if path.stat().st_size > _LONGEST:
        raise DataError(f"{path} is too large for a sidecar.", hint="Move it away, or name another folder: --xmp DIR.")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8.", hint="Move the sidecar away, or name another folder: --xmp DIR."
        ) from error
