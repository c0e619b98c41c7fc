"""The rows of a manifest: what was said, how it sounded, who said it, what people heard in it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, Literal

import msgspec

from streamser.taxonomy import CATEGORIES, DIMENSIONS

__all__ = ["SPLITS", "Item", "MelSpan", "Split"]

Split = Literal["train", "dev", "test", ""]
SPLITS: Final = ("train", "dev", "test")


class MelSpan(msgspec.Struct, frozen=True):
    """Point at ready-made log-mel frames: rows ``offset`` to ``offset + frames`` of an archive.

    ``archive`` is a ``.npz`` that ``mel_archive.read_archive`` reads.
    """

    archive: Path
    offset: int
    frames: int


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one utterance and its labels; any of audio, words and labels may be missing.

    ``votes`` gives a weight to each of ``CATEGORIES`` (shares of the raters or of one label);
    it sums to 1, or is ``None`` without a categorical label. ``dimensions`` gives valence,
    arousal and dominance in [0, 1], ``nan`` where there is no rating. ``text`` is what was
    said, ``text_asr`` what a recogniser made of it.
    """

    id: str
    corpus: str
    speaker: str
    session: str = ""
    split: Split = ""
    audio: Path | None = None
    mel: MelSpan | None = None
    text: str | None = None
    text_asr: str | None = None
    votes: tuple[float, ...] | None = None
    dimensions: tuple[float, ...] = (math.nan,) * len(DIMENSIONS)

    @property
    def category(self) -> str | None:
        """Return the category with most votes, or ``None`` without votes or at a draw."""
        if self.votes is None:
            return None
        most = max(self.votes)
        if self.votes.count(most) > 1:
            return None
        return CATEGORIES[self.votes.index(most)]

    @property
    def has_sound(self) -> bool:
        """Say whether there is a recording or its features."""
        return self.audio is not None or self.mel is not None
