"""Whose voices teach the bundled model: CREMA-D, EmoDB, and people who speak plainly.

RAVDESS is not among them: it is for evaluation only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from streamser.training.corpora.acted import CREMAD_TEST_SPEAKERS, read_cremad, read_emodb
from streamser.training.manifest import Item
from tools.compact.plain_speech import plain_lessons

__all__ = ["Lessons", "cremad_lessons", "taught", "training_lessons"]


class Lessons(NamedTuple):
    """Hold utterances with what was intended, and what those who heard some of them voted."""

    items: tuple[Item, ...]
    heard: Mapping[str, tuple[float, ...] | None]


def cremad_lessons(root: Path, split: str) -> Lessons:
    """Read CREMA-D's utterances of a split; raises ``ConfigError`` where it is not there."""
    intended = read_cremad(root, votes="intended", categories="all", dimensions="voice")
    heard = read_cremad(root, votes="voice", categories="all", dimensions="voice")
    return Lessons(
        tuple(item for item in intended if item.split == split),
        {item.id: item.votes for item in heard},
    )


def training_lessons(data: Path, *, german: bool = True) -> Lessons:
    """Read all that is learnt from; without ``german`` EmoDB stays a test.

    ``data`` holds cremad_mel/, emodb/ and speech/. Raises ``ConfigError`` for what is missing.
    """
    english = cremad_lessons(data / "cremad_mel", "train")
    other = tuple(read_emodb(data / "emodb", categories="all")) if german else ()
    return Lessons((*english.items, *other, *plain_lessons(data / "speech")), english.heard)


def taught(*, german: bool = True) -> dict[str, tuple[str, ...]]:
    """Name the corpora that teach or calibrate, each with the speakers or splits kept out.

    XED has no splits in a manifest: all of it counts as taught, though its tenth was kept out.
    """
    found: dict[str, tuple[str, ...]] = {"cremad": tuple(sorted(CREMAD_TEST_SPEAKERS))}
    if german:
        found["emodb"] = ()
    return found | {"goemotions": ("test",), "xed": (), "emobank": ("test",)}
