"""Plain speech: people who read or talk without acting, at their own microphones.

CREMA-D was recorded in one live room, and to those who only heard it a lively reader at a close
microphone is angry. So half of the speakers of a folder of plain recordings teach what is
neutral, and what an unknown microphone sounds like; the other half judge it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from streamser.training.corpora.reading import one_hot, read_rows
from streamser.training.manifest import Item

__all__ = ["PlainClip", "plain_clips", "plain_lessons"]

_UNSTATED: Final = "not stated"


class PlainClip(NamedTuple):
    """Name a clip of plain speech; ``held_out`` speakers judge, the others make the prior."""

    path: Path
    speaker: str
    licence: str
    text: str
    held_out: bool


def plain_clips(root: Path) -> list[PlainClip]:
    """List plain recordings: ``labels.csv`` with path, speaker, licence, text.

    Every second speaker by name is held out. Raises ``ConfigError`` without such a table.
    """
    rows = list(read_rows(root / "labels.csv", ("path", "speaker", "licence", "text")))
    held_out = set(sorted({row["speaker"] for row in rows})[1::2])
    return [
        PlainClip(
            path=root / row["path"],
            speaker=row["speaker"],
            licence=row["licence"],
            text=row["text"],
            held_out=row["speaker"] in held_out,
        )
        for row in rows
    ]


def plain_lessons(root: Path) -> list[Item]:
    """List the clips that teach: those of stated licence whose speakers are not held out."""
    return [
        Item(
            id=f"plain-{clip.path.relative_to(root).as_posix()}",
            corpus="plain",
            speaker=clip.speaker,
            audio=clip.path,
            votes=one_hot("neutral"),
        )
        for clip in plain_clips(root)
        if not clip.held_out and _UNSTATED not in clip.licence
    ]
