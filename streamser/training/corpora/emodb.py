"""EmoDB: ten German actors, ten sentences, seven emotions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from streamser.errors import ConfigError
from streamser.training.corpora.reading import Categories, Source, find, one_hot
from streamser.training.manifest import Item

SOURCE: Final = Source("the Berlin Database of Emotional Speech", "http://emodb.bilderbar.info")
_NAME: Final = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-f]?)")
_EMOTIONS: Final = {"N": "neutral", "F": "happy", "T": "sad", "W": "angry"}
_SENTENCES: Final = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}


def read(root: Path, *, categories: Categories = "four") -> list[Item]:
    """Read EmoDB (Burkhardt et al., Interspeech 2005): 535 recordings.

    ``wav/03a01Fa.wav`` of the official archive, or ``audio/03a01Fa.flac``: speaker, sentence,
    emotion by its German initial, version.

    Category: what the actor was told: N neutral, F (Freude) happy, T (Trauer) sad, W (Wut)
    angry; L (Langeweile, boredom), E (Ekel, disgust) and A (Angst, fear) are none of the four:
    left out, or kept without a category by ``categories="all"``. Listeners recognised each
    published recording at 80 % or more. No dimensions, no split; see ``folds``.

    Raises ``ConfigError`` where there are no such files.
    """
    folder = find(root, ("wav", "audio"), SOURCE)
    items = []
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".wav", ".flac")):
        found = _NAME.fullmatch(path.stem)
        if found is None or found[2] not in _SENTENCES:
            raise ConfigError(f"{path} is not named as EmoDB is, such as 03a01Fa.wav.")
        category = _EMOTIONS.get(found[3])
        if category is None and categories == "four":
            continue
        items.append(
            Item(
                id=f"emodb-{path.stem}",
                corpus="emodb",
                speaker=found[1],
                audio=path,
                text=_SENTENCES[found[2]],
                votes=one_hot(category),
            )
        )
    if not items:
        raise ConfigError(f"{folder} holds no recordings; EmoDB comes from {SOURCE.origin}.")
    return items
