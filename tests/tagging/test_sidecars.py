"""XMP sidecars: well-formed, merged with what others wrote, or refused."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mobileclip_kit.errors import DataError, OutputError
from mobileclip_kit.tagging.sidecars import merged, prepare_sidecars, write_sidecars

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
SUBJECT = "{http://purl.org/dc/elements/1.1/}subject"
FOREIGN = """<?xml version="1.0" encoding="UTF-8"?>
<!-- made by a photo program -->
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Program 1.0">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/>
  <rdf:Description rdf:about="" xmlns:dublin="http://purl.org/dc/elements/1.1/">
   <dublin:subject>
    <rdf:Bag>
     <rdf:li>family &amp; friends</rdf:li>
     <rdf:li>dog</rdf:li>
    </rdf:Bag>
   </dublin:subject>
   <dublin:title><rdf:Alt><rdf:li xml:lang="x-default">Über <![CDATA[<us>]]></rdf:li></rdf:Alt></dublin:title>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def subjects(text: str) -> list[str | None]:
    return [entry.text for found in ElementTree.fromstring(text).iter(SUBJECT) for entry in found.iter(f"{RDF}li")]


def make(folder: Path, tags: list[str], name: str = "a.jpg.xmp") -> str:
    write_sidecars(prepare_sidecars({folder / name: tags}))
    return (folder / name).read_text(encoding="utf-8")


def test_a_new_sidecar_is_well_formed_xmp(tmp_path: Path) -> None:
    text = make(tmp_path / "sub", ["red <star>", "dog & cat", "猫"])
    assert subjects(text) == ["red <star>", "dog & cat", "猫"]
    assert text.startswith("<?xpacket begin=") and text.rstrip().endswith('<?xpacket end="w"?>')
    assert prepare_sidecars({tmp_path / "sub" / "a.jpg.xmp": ["red <star>", "dog & cat", "猫"]}) == {}  # unchanged


def test_no_tag_makes_no_sidecar(tmp_path: Path) -> None:
    assert prepare_sidecars({tmp_path / "a.jpg.xmp": []}) == {}


def test_a_later_run_replaces_its_own_tags_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "a.jpg.xmp").write_text(FOREIGN, encoding="utf-8")
    first = make(tmp_path, ["cat", "dog"])
    assert subjects(first) == ["family & friends", "dog", "cat"]
    second = make(tmp_path, ["horse"])
    assert subjects(second) == ["family & friends", "dog", "horse"]  # another program wrote "dog"
    assert subjects(make(tmp_path, [])) == ["family & friends", "dog"]


def test_everything_else_in_a_sidecar_stays(tmp_path: Path) -> None:
    text = merged(merged(FOREIGN, ["cat"], "a.xmp"), [], "a.xmp")
    before, after = (ElementTree.canonicalize(each, with_comments=True, strip_text=True) for each in (FOREIGN, text))
    assert after == before
    with_tag = merged(FOREIGN, ["cat"], "a.xmp")
    for kept in ('xmp:Rating="4"', "made by a photo program", 'x:xmptk="Program 1.0"', "Über ", "dublin:subject"):
        assert kept in with_tag
    assert with_tag == merged(with_tag, ["cat"], "a.xmp")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<x:xmpmeta", "is not well-formed XML"),
        ("<notes/>", "is not XMP: it has 0 elements rdf:RDF"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "has a document type"),
        (FOREIGN.replace("rdf:Bag", "rdf:Alt"), "has a dc:subject that is no list"),
        (FOREIGN.replace('xmp:Rating="4"', 'xmlns:d="http://purl.org/dc/elements/1.1/" d:subject="x"'), "attribute"),
    ],
)
def test_what_cannot_be_merged_is_refused_and_nothing_is_written(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "b.jpg.xmp").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as refused:
        prepare_sidecars({tmp_path / "a.jpg.xmp": ["dog"], tmp_path / "b.jpg.xmp": ["dog"]})
    assert "b.jpg.xmp" in refused.value.message
    assert (tmp_path / "b.jpg.xmp").read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["b.jpg.xmp"]


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg.xmp").write_bytes(FOREIGN.encode("utf-16"))
    with pytest.raises(DataError, match="is not UTF-8"):
        prepare_sidecars({tmp_path / "a.jpg.xmp": ["dog"]})


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(tmp_path / "locked") and access(path, mode))
    (tmp_path / "locked").mkdir()
    with pytest.raises(OutputError, match=r"cannot be written into .*locked; none was"):
        prepare_sidecars({tmp_path / "open" / "a.xmp": ["dog"], tmp_path / "locked" / "b.xmp": ["dog"]})


def test_a_folder_is_listed_once_however_many_sidecars_it_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    abandoned = tmp_path / ".a.png.xmp.x1y2.part"
    abandoned.touch()
    os.utime(abandoned, (1, 1))
    (tmp_path / ".mine.part").touch()
    listed, iterdir = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or iterdir(path))
    write_sidecars(prepare_sidecars({tmp_path / f"{number}.png.xmp": ["dog"] for number in range(5)}))
    assert listed == [tmp_path]
    assert sorted(path.name for path in iterdir(tmp_path)) == [".mine.part", *(f"{n}.png.xmp" for n in range(5))]
