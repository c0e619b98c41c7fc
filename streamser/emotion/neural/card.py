"""The model card: what the hub reads at its head, and what people read below."""

from __future__ import annotations

from typing import Final

from huggingface_hub import ModelCardData

__all__ = ["LIBRARY", "PIPELINE", "TAGS", "finished_card"]

LIBRARY: Final = "streamser"
PIPELINE: Final = "audio-classification"
TAGS: Final = ("emotion-recognition", "speech-emotion-recognition", "valence-arousal")


def finished_card(text: str, license: str | None = None) -> str:
    """Return a card in Markdown with front matter: library, task, tags, and licence if given.

    A card that begins with its own front matter stays as it is. An empty one gets a line.
    """
    if text.startswith("---\n"):
        return text
    data = ModelCardData(
        library_name=LIBRARY, pipeline_tag=PIPELINE, license=license, tags=list(TAGS)
    )
    body = text.strip() or "# Emotion from speech\n\nA model of streamser; nobody described it yet."
    return f"---\n{data.to_yaml().strip()}\n---\n\n{body}\n"
