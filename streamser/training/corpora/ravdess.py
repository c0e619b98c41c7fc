"""RAVDESS: 24 actors, two sentences, eight emotions in two strengths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

from streamser.errors import ConfigError
from streamser.training.corpora.reading import Categories, Source, one_hot
from streamser.training.manifest import Item

Calm = Literal["neutral", "drop"]

SOURCE: Final = Source("RAVDESS", "https://zenodo.org/records/1188976")
_NAME: Final = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_SPEECH, _SOUND_ONLY = "01", "03"
_EMOTIONS: Final = {"01": "neutral", "02": "neutral", "03": "happy", "04": "sad", "05": "angry"}
_CALM: Final = "02"
_ALL: Final = ("01", "02", "03", "04", "05", "06", "07", "08")
_SENTENCES: Final = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}


def read(root: Path, *, calm: Calm = "neutral", categories: Categories = "four") -> list[Item]:
    """Read RAVDESS's speech (Livingstone & Russo, PLOS ONE 13, 2018), sound only.

    Any folders with its files (``Actor_01/03-01-06-01-02-01-12.wav``, or FLAC): numbers for
    modality (03: sound), channel (01: speech; songs are left out), emotion, strength, statement,
    repetition and actor.

    Category: what the actor was told: 01 neutral, 03 happy, 04 sad, 05 angry; 02 calm is
    neutral, as the authors mean both as the baseline (``calm="drop"``: it is none of the four);
    06 fearful, 07 disgust and 08 surprised are none of the four: left out, or kept without a
    category by ``categories="all"``. No dimensions were rated.

    Split: all of it is ``test``: in this project RAVDESS is for evaluation only, and its licence
    (CC BY-NC-SA 4.0) is not for models that are used commercially.

    Raises ``ConfigError`` where there are no such files.
    """
    items = []
    for path in sorted(path for path in root.rglob("*") if path.suffix in (".wav", ".flac")):
        found = _NAME.fullmatch(path.stem)
        if found is None or found[1] != _SOUND_ONLY or found[2] != _SPEECH:
            continue
        if found[3] not in _ALL or found[5] not in _SENTENCES:
            raise ConfigError(f"{path} is not named as {SOURCE.title} is: emotion or statement.")
        dropped = found[3] == _CALM and calm == "drop"
        category = None if dropped else _EMOTIONS.get(found[3])
        if category is None and categories == "four":
            continue
        items.append(
            Item(
                id=f"ravdess-{path.stem}",
                corpus="ravdess",
                speaker=found[7],
                split="test",
                audio=path,
                text=_SENTENCES[found[5]],
                votes=one_hot(category),
            )
        )
    if not items:
        raise ConfigError(
            f"{root} is no copy of {SOURCE.title}: it has no speech such as "
            f"Actor_01/03-01-06-01-02-01-12.wav. The corpus comes from {SOURCE.origin}."
        )
    return items
