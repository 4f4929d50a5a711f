"""What the page is told before anything is asked: the library, what its model can be asked, and why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mobileclip_kit.errors import MckitError
from mobileclip_kit.spec import Tower
from mobileclip_kit.web.answers import Voice
from mobileclip_kit.web.library import Library
from mobileclip_kit.web.names import shown
from mobileclip_kit.web.question import TEXTNESS_LIMIT

_WITH_MODEL = "Start mckit serve with --model M to search by words and by images of your own."
_WITH_IMAGES = "start mckit serve with --images FOLDER to see its images."


def describe(
    library: Library, voice: Voice, textness_trouble: MckitError | None, notices: Sequence[str]
) -> dict[str, Any]:
    """The document of ``GET /api/library``.

    Args:
        library: The index.
        voice: Its model.
        textness_trouble: Why there is no textness vector, or None.
        notices: What else the person should know.
    """
    facets, index = library.facets, library.index
    return {
        "name": shown(index.path.resolve().name),
        "generation": library.generation,
        "images": facets.images,
        "failures": facets.failures,
        "model": {"name": shown(index.spec.name), "opening": not voice.belongs_to(index)},
        "words": {"reason": _why_not(voice, "text")},
        "handed_in": {"reason": _why_not(voice, "image")},
        "textness": {
            "reason": None if textness_trouble is None else shown(str(textness_trouble)),
            "limit": TEXTNESS_LIMIT,
        },
        "files": {"reason": _where_files_are_not(library)},
        "folders": [{"path": shown(folder.path), "images": folder.images} for folder in facets.folders],
        "folders_left_out": facets.left_out,
        "days": None if facets.days is None else [day.isoformat() for day in facets.days],
        "notices": list(notices),
    }


def _why_not(voice: Voice, tower: Tower) -> str | None:
    """Why the model cannot be asked with words or with images; None when it can, or is not open yet."""
    if voice.trouble is not None:
        return shown(f"{voice.trouble.message} {_WITH_MODEL}")
    if voice.encoder is None or tower in voice.encoder.spec.towers:
        return None
    what = "words" if tower == "text" else "images"
    return shown(f"The model {voice.encoder.spec.name} of this index cannot read {what}: it has no {tower} tower.")


def _where_files_are_not(library: Library) -> str | None:
    folder = library.images_folder
    if folder is None:
        return f"This index was made of vectors: {_WITH_IMAGES}"
    if not folder.is_dir():
        return shown(f"The folder {folder} is not there (any more): {_WITH_IMAGES}")
    return None
