"""Texts inside sentences: vectors averaged over templates such as "a photo of {}"."""

from __future__ import annotations

from collections.abc import Sequence

from mobileclip_kit.arrays import Vectors
from mobileclip_kit.errors import UsageError
from mobileclip_kit.metrics import scale_rows
from mobileclip_kit.runtime.encoder import Encoder


def encode_prompts(encoder: Encoder, texts: Sequence[str], templates: Sequence[str] = ()) -> Vectors:
    """Vectors of texts, ``(n, d)``: unit rows, each the mean over sentences with ``{}`` in the place of the text.

    Without templates the texts stand alone.

    Raises:
        ModelError: The model has no text tower.
        UsageError: A template has no ``{}``.
    """
    for template in templates:
        if "{}" not in template:
            raise UsageError(f"The template {template!r} has no {{}} where the words go.")
    sentences = [template.replace("{}", text) for text in texts for template in templates or ("{}",)]
    encoded = encoder.encode_texts(sentences).reshape(len(texts), -1, encoder.spec.embedding_dim)
    vectors: Vectors = scale_rows(encoded.mean(axis=1))[0]  # (texts, templates, d) → (texts, d)
    return vectors
