"""Corpora of actors with fixed sentences: CREMA-D, EmoDB and RAVDESS."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Final, Literal

from streamser.errors import ConfigError
from streamser.taxonomy import DIMENSIONS
from streamser.training.corpora import reading
from streamser.training.manifest import Item, MelSpan, RatingScale

Votes = Literal["intended", "voice", "face", "av"]
Proxies = Literal["voice", "av", "none"]

CREMAD_ARCHIVE: Final = "cremad_logmel128_dt_u8.npz"
_CREMAD: Final = reading.Source("CREMA-D", "https://github.com/CheyneyComputerScience/CREMA-D")

_LETTERS: Final = {
    "N": "neutral",
    "H": "happy",
    "S": "sad",
    "A": "angry",
    "D": "disgust",
    "F": "fear",
}
_CREMAD_CODES: Final = {"NEU": "neutral", "HAP": "happy", "SAD": "sad", "ANG": "angry"}
_CREMAD_OTHERS: Final = ("DIS", "FEA")
_QUERIES: Final = {"1": "voice", "2": "face", "3": "av"}
_PROXY_SCALE: Final = RatingScale(-1.0, 1.0)
_DEV: Final = frozenset(map(str, (1002, 1005, 1009, 1011, 1016, 1022, 1024, 1030, 1083)))
CREMAD_TEST_SPEAKERS: Final = frozenset(
    map(
        str,
        (
            *(1007, 1017, 1019, 1020, 1021, 1026, 1035, 1048, 1051, 1052),
            *(1058, 1059, 1065, 1069, 1072, 1074, 1081, 1084, 1089),
        ),
    )
)
_CREMAD_SENTENCES: Final = {
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

_EMODB: Final = reading.Source(
    "the Berlin Database of Emotional Speech", "http://emodb.bilderbar.info"
)
_EMODB_NAME: Final = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-f]?)")
_EMODB_EMOTIONS: Final = {"N": "neutral", "F": "happy", "T": "sad", "W": "angry"}
_EMODB_SENTENCES: Final = {
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

Calm = Literal["neutral", "drop"]

_RAVDESS: Final = reading.Source("RAVDESS", "https://zenodo.org/records/1188976")
_RAVDESS_NAME: Final = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_SPEECH, _SOUND_ONLY = "01", "03"
_RAVDESS_EMOTIONS: Final = {
    "01": "neutral",
    "02": "neutral",
    "03": "happy",
    "04": "sad",
    "05": "angry",
}
_CALM: Final = "02"
_ALL: Final = ("01", "02", "03", "04", "05", "06", "07", "08")
_RAVDESS_SENTENCES: Final = {
    "01": "Kids are talking by the door.",
    "02": "Dogs are sitting by the door.",
}


def read_cremad(
    root: Path,
    *,
    votes: Votes = "voice",
    categories: reading.Categories = "four",
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
    if (root / CREMAD_ARCHIVE).exists():
        items = _read_mel(root, votes, dimensions)
    else:
        items = _read_wav(root, votes)
    return [item for item in items if categories == "all" or item.votes is not None]


def _read_mel(root: Path, votes: Votes, dimensions: Proxies) -> list[Item]:
    archive = root / CREMAD_ARCHIVE
    letters = () if votes == "intended" else tuple(_LETTERS)
    proxies = [f"{dimensions}_{name}_proxy" for name in DIMENSIONS if dimensions != "none"]
    columns = ["name", "speaker", "text", "n_frames", "offset", "split", *proxies]
    items = []
    for row in reading.read_rows(root / "labels.csv", columns + [f"{votes}_{x}" for x in letters]):
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
                votes=reading.vote_shares(counts)
                if counts
                else reading.one_hot(_CREMAD_CODES.get(emotion)),
                dimensions=row.rated(*proxies, scale=_PROXY_SCALE) if proxies else reading.UNRATED,
            )
        )
    return items


def _read_wav(root: Path, votes: Votes) -> list[Item]:
    folder = reading.find(root, ("AudioWAV",), _CREMAD)
    counts = {} if votes == "intended" else _tabulated(root, votes)
    items = []
    for path in sorted(folder.glob("*.wav")):
        actor, sentence, emotion = _parts(path.stem)
        judged = counts.get(path.stem)
        intended = reading.one_hot(_CREMAD_CODES.get(emotion)) if votes == "intended" else None
        items.append(
            Item(
                id=path.stem,
                corpus="cremad",
                speaker=actor,
                split="dev"
                if actor in _DEV
                else "test"
                if actor in CREMAD_TEST_SPEAKERS
                else "train",
                audio=path,
                text=_CREMAD_SENTENCES.get(sentence),
                votes=reading.vote_shares(judged) if judged else intended,
            )
        )
    if not items:
        raise ConfigError(f"{folder} holds no .wav; {_CREMAD.title} comes from {_CREMAD.origin}.")
    return items


def _tabulated(root: Path, votes: Votes) -> dict[str, dict[str, float]]:
    """Count the votes of a query by clip; a clip may have been asked about under two numbers."""
    table = reading.find(
        root, ("processedResults/tabulatedVotes.csv", "tabulatedVotes.csv"), _CREMAD
    )
    counts: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(_LETTERS.values(), 0.0))
    for row in reading.read_rows(table, ("", "fileName", *_LETTERS)):
        if _QUERIES.get(row[""][:1]) == votes:
            for letter, emotion in _LETTERS.items():
                counts[row["fileName"]][emotion] += row.count(letter)
    return counts


def _parts(name: str) -> tuple[str, str, str]:
    parts = name.split("_")
    if len(parts) != 4 or parts[2] not in (*_CREMAD_CODES, *_CREMAD_OTHERS):
        raise ConfigError(f"{name!r} is not named as {_CREMAD.title}'s clips are: 1001_DFA_ANG_XX.")
    return parts[0], parts[1], parts[2]


def read_emodb(root: Path, *, categories: reading.Categories = "four") -> list[Item]:
    """Read EmoDB (Burkhardt et al., Interspeech 2005): 535 recordings.

    ``wav/03a01Fa.wav`` of the official archive, or ``audio/03a01Fa.flac``: speaker, sentence,
    emotion by its German initial, version.

    Category: what the actor was told: N neutral, F (Freude) happy, T (Trauer) sad, W (Wut)
    angry; L (Langeweile, boredom), E (Ekel, disgust) and A (Angst, fear) are none of the four:
    left out, or kept without a category by ``categories="all"``. Listeners recognised each
    published recording at 80 % or more. No dimensions, no split; see ``folds``.

    Raises ``ConfigError`` where there are no such files.
    """
    folder = reading.find(root, ("wav", "audio"), _EMODB)
    items = []
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".wav", ".flac")):
        found = _EMODB_NAME.fullmatch(path.stem)
        if found is None or found[2] not in _EMODB_SENTENCES:
            raise ConfigError(f"{path} is not named as EmoDB is, such as 03a01Fa.wav.")
        category = _EMODB_EMOTIONS.get(found[3])
        if category is None and categories == "four":
            continue
        items.append(
            Item(
                id=f"emodb-{path.stem}",
                corpus="emodb",
                speaker=found[1],
                audio=path,
                text=_EMODB_SENTENCES[found[2]],
                votes=reading.one_hot(category),
            )
        )
    if not items:
        raise ConfigError(f"{folder} holds no recordings; EmoDB comes from {_EMODB.origin}.")
    return items


def read_ravdess(
    root: Path, *, calm: Calm = "neutral", categories: reading.Categories = "four"
) -> list[Item]:
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
        found = _RAVDESS_NAME.fullmatch(path.stem)
        if found is None or found[1] != _SOUND_ONLY or found[2] != _SPEECH:
            continue
        if found[3] not in _ALL or found[5] not in _RAVDESS_SENTENCES:
            raise ConfigError(f"{path} is not named as {_RAVDESS.title} is: emotion or statement.")
        dropped = found[3] == _CALM and calm == "drop"
        category = None if dropped else _RAVDESS_EMOTIONS.get(found[3])
        if category is None and categories == "four":
            continue
        items.append(
            Item(
                id=f"ravdess-{path.stem}",
                corpus="ravdess",
                speaker=found[7],
                split="test",
                audio=path,
                text=_RAVDESS_SENTENCES[found[5]],
                votes=reading.one_hot(category),
            )
        )
    if not items:
        raise ConfigError(
            f"{root} is no copy of {_RAVDESS.title}: it has no speech such as "
            f"Actor_01/03-01-06-01-02-01-12.wav. The corpus comes from {_RAVDESS.origin}."
        )
    return items
