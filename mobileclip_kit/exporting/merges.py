"""Is an export's ``merges.txt`` the one that its text tower was exported with?"""

from __future__ import annotations

from pathlib import Path

from mobileclip_kit.errors import ExportError, ModelError
from mobileclip_kit.files import sha256_of_file
from mobileclip_kit.spec import ModelSpec
from mobileclip_kit.tokenizer import STANDARD_MERGES_COUNT, Tokenizer

_AGAIN = "Copy the export again, or make it again with `mckit export`."


def check_merges_file(path: Path, *, spec: ModelSpec, sha256: str | None, count: bool) -> None:
    """Refuse a ``merges.txt`` that would split texts otherwise than the text tower learned them.

    Args:
        path: The file; it may be missing where ``sha256`` is None.
        spec: Of the model.
        sha256: What ``export.json`` says of it; None where an older mckit wrote none.
        count: Without a digest, read the file and compare how many merges it lists.

    Raises:
        ExportError: The file is missing, was changed, or does not fit the model.
    """
    if sha256 is not None:
        if not path.is_file():
            raise ExportError(f"{path} is missing.", hint=_AGAIN)
        if sha256_of_file(path) != sha256:
            raise ExportError(f"{path} was changed: its SHA-256 is not the one in export.json.", hint=_AGAIN)
    elif count and path.is_file() and spec.text is not None and spec.text.tokenizer == "clip-bpe":
        try:
            tokenizer = Tokenizer.for_spec(spec.text, path)
        except ModelError as error:
            raise ExportError(f"The tokenizer of {path.parent} cannot be used: {error.message}", hint=_AGAIN) from error
        others = tokenizer.vocab_size - len(tokenizer.merges)  # bytes, start and end
        wanted = STANDARD_MERGES_COUNT if spec.text.merges == "standard" else spec.text.vocab_size - others
        if len(tokenizer.merges) != wanted:
            raise ExportError(f"{path} lists {len(tokenizer.merges)} merges; its model has {wanted}.", hint=_AGAIN)
