"""What can be checked of the app without Xcode: that its files parse, name each other and are translated."""

from __future__ import annotations

import json
import os
import plistlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

DEMO = Path(__file__).parent.parent / "ios_demo"
APP = DEMO / "MobileCLIPDemo"
PROJECT = DEMO / "MobileCLIPDemo.xcodeproj" / "project.pbxproj"
KIT = DEMO / "MobileCLIPKit"
SWIFT_FILES = sorted(path for folder in (APP, KIT / "Sources", KIT / "Tests") for path in folder.rglob("*.swift"))
SWIFTC = shutil.which("swiftc") or next((str(p) for p in [Path("/opt/swift/usr/bin/swiftc")] if p.exists()), None)

TOKEN = re.compile(
    r'\s+|/\*.*?\*/|//[^\n]*|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<bare>[\w./$<>-]+)|(?P<sign>[{}()=;,])',
    re.DOTALL,
)


def tokens_of(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        match = TOKEN.match(text, place)
        assert match, f"unexpected text at {place}: {text[place : place + 40]!r}"
        place = match.end()
        if match.lastgroup:
            yield match.group().strip('"') if match.lastgroup == "quoted" else match.group()


def parse_value(tokens: list[str]) -> Any:
    """An old-style property list: dictionaries in braces, lists in parentheses, everything else a string."""
    token = tokens.pop(0)
    if token == "{":
        entries: dict[str, Any] = {}
        while tokens[0] != "}":
            key = tokens.pop(0)
            assert tokens.pop(0) == "="
            entries[key] = parse_value(tokens)
            assert tokens.pop(0) == ";"
        tokens.pop(0)
        return entries
    if token == "(":
        values = []
        while tokens[0] != ")":
            values.append(parse_value(tokens))
            if tokens[0] == ",":
                tokens.pop(0)
        tokens.pop(0)
        return values
    return token


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    tokens = list(tokens_of(PROJECT.read_text()))
    parsed = parse_value(tokens)
    assert not tokens
    return parsed


def identifiers_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for child in value.values():
            yield from identifiers_in(child)
    elif isinstance(value, list):
        for child in value:
            yield from identifiers_in(child)
    elif re.fullmatch(r"4D434B[0-9A-F]{18}", value):
        yield value


def test_every_object_that_the_project_names_is_there_and_used(project):
    objects = project["objects"]
    named = set(identifiers_in(list(objects.values()))) | {project["rootObject"]}
    assert named == set(objects)
    assert project["objectVersion"] == "77"


def test_every_file_that_the_project_names_exists(project):
    objects = project["objects"].values()
    [group] = [entry for entry in objects if entry["isa"] == "PBXFileSystemSynchronizedRootGroup"]
    folder = DEMO / group["path"]
    assert folder == APP
    for name in group["explicitFolders"]:
        assert (folder / name).is_dir()
    for entry in objects:
        if entry["isa"] == "PBXFileSystemSynchronizedBuildFileExceptionSet":
            assert all((folder / name).is_file() for name in entry["membershipExceptions"])
        if entry["isa"] == "XCLocalSwiftPackageReference":
            assert (DEMO / entry["relativePath"] / "Package.swift").is_file()
        if entry["isa"] == "XCBuildConfiguration" and "INFOPLIST_FILE" in entry["buildSettings"]:
            assert (DEMO / entry["buildSettings"]["INFOPLIST_FILE"]).is_file()
            # An identifier belongs to the team that registered it first.
            identifier = entry["buildSettings"]["PRODUCT_BUNDLE_IDENTIFIER"]
            assert identifier == "org.mckit.MobileCLIPDemo$(DEVELOPMENT_TEAM)"
    products = {entry["productName"] for entry in objects if entry["isa"] == "XCSwiftPackageProductDependency"}
    package = (KIT / "Package.swift").read_text()
    assert all(f'.library(name: "{product}"' in package for product in products)


def test_run_builds_what_is_optimised(project):
    """Debug builds search a thousand times slower."""
    scheme = ElementTree.parse(PROJECT.parent / "xcshareddata" / "xcschemes" / "MobileCLIPDemo.xcscheme").getroot()
    launch = scheme.find("LaunchAction")
    assert launch is not None
    assert launch.get("buildConfiguration") == "Release"
    assert all(
        reference.get("BlueprintIdentifier") in project["objects"] for reference in scheme.iter("BuildableReference")
    )


def test_a_bundle_is_checked_before_it_is_put_into_the_app(tmp_path):
    demo = tmp_path / "ios_demo"
    (demo / "MobileCLIPDemo" / "Bundles").mkdir(parents=True)
    shutil.copy(DEMO / "add_bundle.sh", demo)
    bundle = tmp_path / "mine"
    shutil.copytree(DEMO.parent / "tests" / "golden" / "bundle", bundle)
    environment = {**os.environ, "MCKIT": str(tmp_path / "mckit")}
    (tmp_path / "mckit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mobileclip_kit "$@"\n')
    (tmp_path / "mckit").chmod(0o755)

    def add(folder: Path) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(demo / "add_bundle.sh"), str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    target = demo / "MobileCLIPDemo" / "Bundles" / "mine"
    assert add(tmp_path).returncode == 2
    assert add(bundle).returncode == 0
    assert (target / "manifest.json").is_file()
    (bundle / "merges.txt").write_text("cut off")
    refused = add(bundle)
    assert refused.returncode != 0
    assert "merges.txt" in refused.stderr
    assert (target / "merges.txt").read_text() != "cut off"
    assert [path.name for path in target.parent.iterdir()] == ["mine"]


def test_the_property_lists_say_what_the_app_needs():
    info = plistlib.loads((APP / "Info.plist").read_bytes())
    assert len(info["NSPhotoLibraryUsageDescription"]) > 40
    source = (APP / "BackgroundIndexing.swift").read_text()
    named = set(re.findall(r'Identifier = "([^"]+)"', source))
    # Since iOS 26, an identifier of a continued task begins with that of the bundle.
    assert '"\\(Bundle.main.bundleIdentifier ?? "").index.continued"' in source
    assert set(info["BGTaskSchedulerPermittedIdentifiers"]) == {
        *named,
        "$(PRODUCT_BUNDLE_IDENTIFIER).index.continued",
    }
    # Refresh tasks need "fetch", processing tasks "processing"; the system refuses a request without its mode.
    assert ("BGAppRefreshTaskRequest" in source, "BGProcessingTaskRequest" in source) == (True, True)
    assert info["UIBackgroundModes"] == ["fetch", "processing"]
    privacy = plistlib.loads((APP / "PrivacyInfo.xcprivacy").read_bytes())
    assert privacy["NSPrivacyTracking"] is False
    assert privacy["NSPrivacyCollectedDataTypes"] == []


def literals_of(source: str) -> Iterator[str]:
    """String literals, each interpolation replaced by a placeholder."""
    for line in source.splitlines():
        code = line.split("//")[0] if '"' not in line.split("//")[0] or line.lstrip().startswith("//") else line
        for literal in re.findall(r'"((?:\\\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\)|[^"\\])*)"', code):
            yield re.sub(r"\\\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\)", "\0", literal)


def units_of(localization: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The sentences of one language: one, or one for each plural form."""
    if "stringUnit" in localization:
        return {"": localization["stringUnit"]}
    return {form: unit["stringUnit"] for form, unit in localization["variations"]["plural"].items()}


def placeholders_of(text: str) -> list[str]:
    return sorted(re.sub(r"\d+\$", "", found) for found in re.findall(r"%(?:\d+\$)?(?:@|lld)", text))


def test_every_sentence_of_the_app_is_translated():
    catalog = json.loads((APP / "Localizable.xcstrings").read_text())["strings"]
    keys = {re.sub(r"%(?:@|lld)", "\0", key) for key in catalog}
    shown = {
        literal
        for path in APP.glob("*.swift")
        # Only developers see the names of previews.
        for literal in literals_of(re.sub(r'#Preview\("[^"]*"\)', "", path.read_text()))
        if " " in literal or re.fullmatch(r"[A-Z][a-z]+", literal)
    }
    files = {"Bundles", "Indexes", "Shared"}
    assert shown - keys - files == set()
    assert keys - shown == set()


@pytest.mark.parametrize("name", ["Localizable.xcstrings", "InfoPlist.xcstrings"])
def test_translations_are_complete_and_keep_their_placeholders(name):
    catalog = json.loads((APP / name).read_text())
    assert (catalog["sourceLanguage"], catalog["version"]) == ("en", "1.0")
    for key, entry in catalog["strings"].items():
        assert "zh-Hans" in entry["localizations"], key
        for localization in entry["localizations"].values():
            for unit in units_of(localization).values():
                assert unit["state"] == "translated"
                assert unit["value"]
                assert placeholders_of(unit["value"]) == placeholders_of(key), key


def test_numbers_of_things_have_their_plural_forms():
    """English tells one from many, Chinese does not; a number in brackets or of a version counts nothing."""
    strings = json.loads((APP / "Localizable.xcstrings").read_text())["strings"]
    counted = {key: entry["localizations"] for key, entry in strings.items() if re.search(r"%lld photos", key)}
    assert len(counted) >= 4
    for key, localizations in counted.items():
        assert set(units_of(localizations["en"])) == {"one", "other"}, key
        assert set(units_of(localizations["zh-Hans"])) == {"other"}, key
        assert units_of(localizations["en"])["other"]["value"] == key


def test_the_app_turns_grows_with_the_text_and_speaks():
    """Landscape, Dynamic Type, VoiceOver and the system's picker are there; a person must judge them."""
    settings = PROJECT.read_text()
    assert settings.count("UISupportedInterfaceOrientations_iPhone") == 2
    assert settings.count("UIInterfaceOrientationLandscapeLeft") == 4
    app = {path.name: path.read_text() for path in APP.glob("*.swift")}
    assert "@ScaledMetric" in app["SearchView.swift"]
    # Fixed sizes of text do not grow.
    assert not any(re.search(r"\.system\(size:", source) for source in app.values())
    assert "presentLimitedLibraryPicker" in app["LimitedLibraryPicker.swift"]
    assert "LimitedLibraryPicker.present()" in app["IndexingBanner.swift"]
    labels = "".join(app.values())
    for action in (
        'accessibilityAction(named: Text("More like this"))',
        ".accessibilityZoomAction",
        ".accessibilityValue(",
    ):
        assert action in labels
    # A tap that is no button's is also an action of VoiceOver.
    assert app["SearchView.swift"].count(".onTapGesture") == app["SearchView.swift"].count(".accessibilityAction {")


def test_asset_catalogs_are_json():
    for path in (APP / "Assets.xcassets").rglob("Contents.json"):
        assert json.loads(path.read_text())["info"]["version"] == 1


def test_the_icon_is_what_the_store_wants():
    """One image of 1,024 pixels without transparency, in light, dark and tinted."""
    folder = APP / "Assets.xcassets" / "AppIcon.appiconset"
    entries = json.loads((folder / "Contents.json").read_text())["images"]
    looks = [[look["value"] for look in entry.get("appearances", [])] for entry in entries]
    assert looks == [[], ["dark"], ["tinted"]]
    for entry in entries:
        assert entry["size"] == "1024x1024"
        with Image.open(folder / entry["filename"]) as icon:
            assert (icon.format, icon.size, icon.mode) == ("PNG", (1024, 1024), "RGB")


def test_the_readmes_figures_are_those_of_the_run():
    found = json.loads((DEMO.parent / "benchmarks" / "results" / "swift_core.json").read_text())
    kinds = [found["int8"], found["float16"]]
    large = found["large"]
    assert (large["rows"], kinds[0]["rows"], kinds[0]["dim"]) == (1_000_000, 100_000, 512)
    sentences = [
        " | ".join(f"{kind['ratio_to_reading']:.2f}" for kind in kinds),
        " | ".join(" and ".join(f"{edge:.2f}" for edge in kind["ratio_quartiles"]) for kind in kinds),
        " | ".join(f"{kind['open_ms']:.1f} ms" for kind in kinds),
        f"merges take {found['tokenizer']['total_ms']:.0f} ms",
        f"({large['file_bytes'] / 1e6:.0f} MB, mapped), opening takes {large['open_ms']:.0f} ms",
        f"top 10 take {large['search_ms']:.0f} ms, 32 more items {large['append_ms']:.1f} ms",
        f"takes {large['open_for_writing_ms'] / 1e3:.1f} s.",
    ]
    pixels, library = found["pixels"], found["library"]
    sentences += [
        f"takes {pixels['bicubic']['ratio']:.2f} of Pillow's time bicubic",
        f"and {pixels['bilinear']['ratio']:.2f} bilinear",
        f"these takes {library['resume_ms'] / 1e3:.1f} s of wall-clock time",
        f"the first adds {library['growth_bytes'][0] / 1e6:.0f} MB",
        f"an update by three changes takes {library['update_ms'] / 1e3:.1f} s.",
    ]
    assert library["photos"] == 300_000
    # Less than a hundredth of an image's 200 kB for each photo.
    assert library["growth_bytes_per_indexed_photo"] < 2000
    assert max(pixels[name]["ratio"] for name in ("bicubic", "bilinear")) <= 1.5
    readme = " ".join((DEMO / "README.md").read_text().split())
    assert [sentence for sentence in sentences if sentence not in readme] == []
    assert found["memory"] == {"searches": 10_000, "growth_bytes": 0}


def test_nothing_in_swift_may_crash_on_purpose():
    for path in SWIFT_FILES:
        source = path.read_text()
        assert "try!" not in source, path
        assert "fatalError" not in source, path
        assert "as!" not in source, path


def undocumented(source: str) -> Iterator[str]:
    """Public declarations, and requirements of public protocols, without a documentation comment."""
    lines, in_protocol = source.splitlines(), False
    for number, line in enumerate(lines):
        if re.match(r"\s*public protocol ", line):
            in_protocol = True
        elif line == "}":
            in_protocol = False
        declared = re.match(r"\s*(@\w+(\([^)]*\))? )*public (?!extension)", line) or (
            in_protocol and re.match(r"    (associatedtype|var|func|init)\b", line)
        )
        before = number - 1
        while before >= 0 and re.match(r"\s*@", lines[before]):
            before -= 1
        if declared and not lines[before].lstrip().startswith("///"):
            yield line.strip()


def test_every_public_symbol_is_documented():
    assert list(undocumented("/// A.\npublic struct A {\n    public var b: Int\n}\n")) == ["public var b: Int"]
    assert list(undocumented("/// A.\n@MainActor\npublic protocol A {\n    var b: Int { get }\n}\n")) == [
        "var b: Int { get }"
    ]
    files = [path for path in SWIFT_FILES if "Sources" in path.parts]
    assert {path.name: found for path in files if (found := list(undocumented(path.read_text())))} == {}


def test_no_name_is_one_of_apples():
    """Types of SwiftData, CryptoKit, NaturalLanguage and of many other packages."""
    public = {
        name
        for path in SWIFT_FILES
        # Not those inside another type.
        for name in re.findall(r"^public (?:final )?(?:struct|class|actor|enum|protocol) (\w+)", path.read_text(), re.M)
    }
    assert "ModelBundle" in public
    assert public.isdisjoint(
        {"Query", "SHA256", "Tokenizer", "TextEncoder", "ImageEncoder", "Logger", "Model", "Image"}
    )


def test_no_file_written_by_hand_is_long():
    files = [path for path in SWIFT_FILES if not {"Generated", "Tests"} & set(path.parts)]
    lengths = {path.name: len(path.read_text().splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > 250} == {}


def test_the_core_imports_foundation_alone():
    for path in (KIT / "Sources" / "MobileCLIPCore").rglob("*.swift"):
        source = path.read_text()
        assert set(re.findall(r"^import (\w+)", source, re.M)) <= {"Foundation"}, path
        # Indented: for systems that have it.
        assert all(f"#if canImport({name})" in source for name in re.findall(r"^ +import (\w+)", source, re.M)), path


@pytest.mark.skipif(SWIFTC is None, reason="there is no Swift compiler here")
def test_every_swift_file_parses():
    files = [str(path) for path in SWIFT_FILES]
    command = [str(SWIFTC), "-parse", "-swift-version", "6", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
