"""CREMA-D: 91 actors, 12 fixed sentences, six emotions, votes of a crowd."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Final, Literal

from streamser.errors import ConfigError
from streamser.taxonomy import DIMENSIONS
from streamser.training.corpora.reading import (
    UNRATED,
    Categories,
    Source,
    find,
    one_hot,
    read_rows,
    vote_shares,
)
from streamser.training.manifest import Item, MelSpan, Scale

Votes = Literal["intended", "voice", "face", "av"]
Proxies = Literal["voice", "av", "none"]

ARCHIVE: Final = "cremad_logmel128_dt_u8.npz"
SOURCE: Final = Source("CREMA-D", "https://github.com/CheyneyComputerScience/CREMA-D")

_LETTERS: Final = {
    "N": "neutral",
    "H": "happy",
    "S": "sad",
    "A": "angry",
    "D": "disgust",
    "F": "fear",
}
_CODES: Final = {"NEU": "neutral", "HAP": "happy", "SAD": "sad", "ANG": "angry"}
_OTHERS: Final = ("DIS", "FEA")
_QUERIES: Final = {"1": "voice", "2": "face", "3": "av"}
_PROXY_SCALE: Final = Scale(-1.0, 1.0)
_DEV: Final = frozenset(map(str, (1002, 1005, 1009, 1011, 1016, 1022, 1024, 1030, 1083)))
TEST_SPEAKERS: Final = frozenset(
    map(
        str,
        (
            *(1007, 1017, 1019, 1020, 1021, 1026, 1035, 1048, 1051, 1052),
            *(1058, 1059, 1065, 1069, 1072, 1074, 1081, 1084, 1089),
        ),
    )
)
_SENTENCES: Final = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}


def read(
    root: Path,
    *,
    votes: Votes = "voice",
    categories: Categories = "four",
    dimensions: Proxies = "voice",
) -> list[Item]:
    """Read CREMA-D (Cao et al., IEEE Trans. Affective Computing 5, 2014), in either layout.

    A copy of the repository: ``AudioWAV/1001_DFA_ANG_XX.wav`` and
    ``processedResults/tabulatedVotes.csv``, whose row names are 100000 times the query (1 voice,
    2 face, 3 both) plus the clip's number. Or ready-made spectrograms:
    ``cremad_logmel128_dt_u8.npz`` (``training.sounds.read_archive``) and a ``labels.csv``.

    ``votes``: whose judgement is the label. ``voice``, ``face``, ``av``: shares of the raters who
    heard, saw, or did both, within the four; a clip in which disgust or fear has as many votes
    as the best of the four has no label. ``intended``: what the actor was told, all or nothing;
    the voice alone conveys it in fewer than half of the clips. Disgust and fear: left out with
    ``categories="four"``, kept without a label with ``"all"``.

    ``dimensions``: nobody rated these. With the spectrograms come *proxies*, the vote
    distribution (of voice or both) times published valence, arousal and dominance of the emotion
    words and the rated intensity, on -1 to 1; a copy of the repository has none.

    Speakers are the actors. There is no official split; both layouts get the one of the
    spectrograms: 63 actors to train, 9 for dev, 19 to test.

    Raises ``ConfigError`` for a folder that is neither.
    """
    if (root / ARCHIVE).exists():
        items = _read_mel(root, votes, dimensions)
    else:
        items = _read_wav(root, votes)
    return [item for item in items if categories == "all" or item.votes is not None]


def _read_mel(root: Path, votes: Votes, dimensions: Proxies) -> list[Item]:
    archive = root / ARCHIVE
    letters = () if votes == "intended" else tuple(_LETTERS)
    proxies = [f"{dimensions}_{name}_proxy" for name in DIMENSIONS if dimensions != "none"]
    columns = ["name", "speaker", "text", "n_frames", "offset", "split", *proxies]
    items = []
    for row in read_rows(root / "labels.csv", columns + [f"{votes}_{x}" for x in letters]):
        emotion = _parts(row["name"])[2]
        counts = {_LETTERS[letter]: row.count(f"{votes}_{letter}") for letter in letters}
        items.append(
            Item(
                id=row["name"],
                corpus="cremad",
                speaker=row["speaker"],
                split=row.split("split"),
                mel=MelSpan(archive, int(row.count("offset")), int(row.count("n_frames"))),
                text=row["text"],
                votes=vote_shares(counts) if counts else one_hot(_CODES.get(emotion)),
                dimensions=row.rated(*proxies, scale=_PROXY_SCALE) if proxies else UNRATED,
            )
        )
    return items


def _read_wav(root: Path, votes: Votes) -> list[Item]:
    folder = find(root, ("AudioWAV",), SOURCE)
    counts = {} if votes == "intended" else _tabulated(root, votes)
    items = []
    for path in sorted(folder.glob("*.wav")):
        actor, sentence, emotion = _parts(path.stem)
        judged = counts.get(path.stem)
        intended = one_hot(_CODES.get(emotion)) if votes == "intended" else None
        items.append(
            Item(
                id=path.stem,
                corpus="cremad",
                speaker=actor,
                split="dev" if actor in _DEV else "test" if actor in TEST_SPEAKERS else "train",
                audio=path,
                text=_SENTENCES.get(sentence),
                votes=vote_shares(judged) if judged else intended,
            )
        )
    if not items:
        raise ConfigError(f"{folder} holds no .wav; {SOURCE.title} comes from {SOURCE.origin}.")
    return items


def _tabulated(root: Path, votes: Votes) -> dict[str, dict[str, float]]:
    """Count the votes of a query by clip; a clip may have been asked about under two numbers."""
    table = find(root, ("processedResults/tabulatedVotes.csv", "tabulatedVotes.csv"), SOURCE)
    counts: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(_LETTERS.values(), 0.0))
    for row in read_rows(table, ("", "fileName", *_LETTERS)):
        if _QUERIES.get(row[""][:1]) == votes:
            for letter, emotion in _LETTERS.items():
                counts[row["fileName"]][emotion] += row.count(letter)
    return counts


def _parts(name: str) -> tuple[str, str, str]:
    parts = name.split("_")
    if len(parts) != 4 or parts[2] not in (*_CODES, *_OTHERS):
        raise ConfigError(f"{name!r} is not named as {SOURCE.title}'s clips are: 1001_DFA_ANG_XX.")
    return parts[0], parts[1], parts[2]
