"""The Core ML layer and the app, checked by the Swift compiler against declarations of Apple's interfaces.

What only Xcode can tell is whether Apple's own declarations are the ones in ``tests/apple``; that the parts of this
project fit each other, and keep Swift 6's rules of concurrency, can be told anywhere.
"""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.test_ios_demo import APP, KIT, SWIFTC

APPLE = Path(__file__).parent / "apple"
# Later ones import earlier ones.
MODULES = (
    "FoundationOnApple",
    "CryptoKit",
    "CoreGraphics",
    "CoreVideo",
    "CoreML",
    "CoreAI",
    "ImageIO",
    "UIKit",
    "Photos",
    "PhotosUI",
)
MODULES += ("BackgroundTasks", "UniformTypeIdentifiers", "CoreTransferable", "os", "SwiftUI")
# On a Mac, `swift build` takes the branches for AppKit; before macOS 27, there is no Core AI.
MAC_ONLY = ("AppKit", "Photos")
NOT_ON_A_MAC = ("UIKit", "CoreAI", "Photos")

pytestmark = pytest.mark.skipif(SWIFTC is None, reason="there is no Swift compiler here")


def compile_module(name: str, sources: list[Path], modules: Path, *, emit: bool = True, bodies: bool = True) -> str:
    """Check a module's types, and keep its interface for those that import it; returns what the compiler says."""
    what = ["-emit-module", "-o", str(modules / f"{name}.swiftmodule")] if emit else ["-typecheck"]
    what += [] if bodies else ["-Xfrontend", "-experimental-skip-all-function-bodies"]
    command = [str(SWIFTC), *what, "-parse-as-library", "-swift-version", "6", "-warnings-as-errors"]
    command += ["-D", "DEBUG"]
    if (modules / "FoundationOnApple.swiftmodule").exists():
        command += ["-Xfrontend", "-import-module", "-Xfrontend", "FoundationOnApple"]
    command += ["-I", str(modules), "-I", str(APPLE / "Darwin"), "-module-name", name, *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr or "failed"


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Apple's interfaces and our core."""
    folder = tmp_path_factory.mktemp("modules")
    for name in MODULES:
        assert compile_module(name, [APPLE / f"{name}.swift"], folder) == ""
    core = sorted((KIT / "Sources" / "MobileCLIPCore").rglob("*.swift"))
    # Its bodies are checked by `swift build`.
    assert compile_module("MobileCLIPCore", core, folder, bodies=False) == ""
    # But for the one that Linux does not have.
    assert compile_module("Digest", [KIT / "Sources" / "MobileCLIPCore" / "FileDigest.swift"], folder, emit=False) == ""
    return folder


def kit_files() -> list[Path]:
    return sorted((KIT / "Sources" / "MobileCLIPKit").glob("*.swift"))


def previews_as_functions(path: Path) -> str:
    numbers = itertools.count()

    def function(_: re.Match[str]) -> str:
        return f"@MainActor @ViewBuilder func preview{path.stem}{next(numbers)}() -> some View {{"

    return re.sub(r"#Preview(\(.*?\))? \{", function, path.read_text())


def test_the_core_ml_layer_and_the_app_have_sound_types(modules, tmp_path):
    """The previews too, as functions: only Xcode has their macro."""
    assert compile_module("MobileCLIPKit", kit_files(), modules) == ""
    for path in APP.glob("*.swift"):
        (tmp_path / path.name).write_text(previews_as_functions(path))
    files = sorted(tmp_path.glob("*.swift"))
    assert compile_module("MobileCLIPDemo", files, modules, emit=False) == ""


def test_the_layer_has_sound_types_on_a_mac_without_uikit_and_core_ai(modules, tmp_path):
    for path in modules.iterdir():
        if path.stem not in NOT_ON_A_MAC:
            shutil.copyfile(path, tmp_path / path.name)
    for name in MAC_ONLY:
        assert compile_module(name, [APPLE / f"{name}.swift"], tmp_path) == ""
    assert compile_module("MobileCLIPKit", kit_files(), tmp_path, emit=False) == ""


def test_the_lines_of_the_documentation_have_sound_types(modules, tmp_path):
    """The lines for Core AI in docs/exports.md, as the body of a function."""
    page = (APPLE.parent.parent / "docs" / "exports.md").read_text()
    (block,) = re.findall(r"```swift\nimport CoreAI\n(.*?)```", page, re.DOTALL)
    source = tmp_path / "Lines.swift"
    source.write_text(
        "import CoreAI\nimport Foundation\n"
        f"func vector(_ pixels: [Float]) async throws -> NDArray? {{\n{block}\nreturn embedding\n}}\n"
    )
    assert compile_module("Lines", [source], modules, emit=False) == ""


def test_a_call_that_apple_does_not_have_is_found(modules, tmp_path):
    """The check checks: one wrong name in a file that is sound otherwise."""
    source = (KIT / "Sources" / "MobileCLIPKit" / "CoreMLTower.swift").read_text()
    wrong = tmp_path / "CoreMLTower.swift"
    wrong.write_text(source.replace("MLModel.compileModel(at:", "MLModel.compileModels(at:"))
    assert "has no member 'compileModels'" in compile_module("Wrong", [wrong], modules, emit=False)


def test_a_c_variable_that_anybody_may_change_is_found(modules, tmp_path):
    """SDKs before macOS 15.4 do not mark ``mach_task_self_``, which Swift 6 refuses unless it is told otherwise."""
    source = (KIT / "Sources" / "MobileCLIPKit" / "EncoderBench.swift").read_text()
    assert "@preconcurrency import Darwin" in source
    wrong = tmp_path / "EncoderBench.swift"
    wrong.write_text(source.replace("@preconcurrency import Darwin", "import Darwin"))
    files = [wrong if path.name == wrong.name else path for path in kit_files()]
    assert "'mach_task_self_' is not concurrency-safe" in compile_module("Wrong", files, modules, emit=False)


def test_the_declarations_are_not_part_of_the_app():
    package = (KIT / "Package.swift").read_text()
    assert "apple" not in package
    assert not any(path.stem in MODULES for path in APP.rglob("*.swift"))
