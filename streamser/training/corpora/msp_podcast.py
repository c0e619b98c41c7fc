"""MSP-Podcast: natural emotional speech, cut from podcasts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from streamser.errors import ConfigError
from streamser.training.corpora import reading
from streamser.training.manifest import Item, RatingScale, Split

Votes = Literal["raters", "consensus"]
Test = Literal["test1", "test2", "test3", "all"]

SOURCE: Final = reading.Source(
    "MSP-Podcast", "https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html"
)
_SCALE: Final = RatingScale(1.0, 7.0)
_CLASSES: Final = {"N": "neutral", "H": "happy", "S": "sad", "A": "angry"}
_OTHERS: Final = frozenset("UFDCOX")
_PRIMARY: Final = {"neutral": "neutral", "happy": "happy", "sad": "sad", "angry": "angry"}
_SPLITS: Final[Mapping[str, Split]] = MappingProxyType(
    {
        "Train": "train",
        "Development": "dev",
        "Validation": "dev",
        "Test": "test",
        "Test1": "test",
        "Test2": "test",
        "Test3": "test",
    }
)
_DETAIL: Final = re.compile(r"\s*WORKER\w*\s*;\s*([^;]*);", re.IGNORECASE)


def read(
    root: Path,
    *,
    votes: Votes = "raters",
    categories: reading.Categories = "four",
    test: Test = "test1",
) -> list[Item]:
    """Read MSP-Podcast (Lotfian & Busso, IEEE Trans. Affective Computing 10, 2019).

    ``Labels/labels_consensus.csv`` (columns FileName, EmoClass, EmoAct, EmoVal, EmoDom, SpkrID,
    Split_Set), ``Labels/labels_detailed.csv`` where present, sound in ``Audios/`` or ``Audio/``,
    words in ``Transcripts/*.txt`` where present.

    Category: the consensus by plurality: N neutral, H happy, S sad, A angry. U (surprise), F, D,
    C (contempt), O (other) and X (no agreement) are left out, or kept without a category by
    ``categories="all"``. ``votes="raters"`` gives the shares of the raters' primary emotions
    within the four where there is a detailed file and it favours the same category; else, and
    with ``"consensus"``, the consensus has all votes.

    Dimensions: means of 1 to 7. Split: the corpus's partitions; of its test sets the one named
    by ``test`` (before version 1.8 there is one, ``Test1``), the other test sets left out. The
    labels of Test3 are not published: its rows may have none.

    Speaker: ``SpkrID``. An ``Unknown`` becomes one speaker for each recording and partition
    (``unknown-0153-train``): two recordings may be by the same person, which nobody knows.

    Raises ``ConfigError`` for missing files, and rows that are not as described.
    """
    table = reading.find(root, ("Labels/labels_consensus.csv", "labels_consensus.csv"), SOURCE)
    audio = reading.find(root, ("Audios", "Audio"), SOURCE)
    detailed = table.with_name("labels_detailed.csv")
    counts = _primary_votes(detailed) if votes == "raters" and detailed.exists() else {}
    columns = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Split_Set")
    items = []
    for row in reading.read_rows(table, columns):
        split = row.split("Split_Set", _SPLITS)
        if split == "test" and test != "all" and row["Split_Set"] not in ("Test", test.title()):
            continue
        category = _category(row)
        if category is None and categories == "four":
            continue
        name = row["FileName"]
        items.append(
            Item(
                id=Path(name).stem,
                corpus="msp-podcast",
                speaker=_speaker(row, split),
                split=split,
                audio=audio / name,
                text=_words(root / "Transcripts" / f"{Path(name).stem}.txt"),
                votes=_label(category, counts.get(name, {})),
                dimensions=row.rated("EmoVal", "EmoAct", "EmoDom", scale=_SCALE),
            )
        )
    if not items:
        raise ConfigError(f"{table} has no row of the partitions Train, Development and {test}.")
    return items


def _category(row: reading.Row) -> str | None:
    label = row["EmoClass"].strip()
    if label and label not in _CLASSES and label not in _OTHERS:
        raise row.fault(f"EmoClass {label!r} is none of {', '.join((*_CLASSES, *sorted(_OTHERS)))}")
    return _CLASSES.get(label)


def _speaker(row: reading.Row, split: Split) -> str:
    if row["SpkrID"].strip().casefold() not in ("unknown", ""):
        return row["SpkrID"].strip()
    # MSP-PODCAST_0153_0027.wav: recording, turn.
    recording = Path(row["FileName"]).stem.split("_")[1:2]
    return "-".join(("unknown", *recording, split))


def _label(category: str | None, counts: Mapping[str, float]) -> tuple[float, ...] | None:
    shares = reading.vote_shares(counts) if counts and category else None
    hard = reading.one_hot(category)
    if shares is None or hard is None:
        return hard
    return shares if shares.index(max(shares)) == hard.index(1.0) else hard


def _primary_votes(path: Path) -> Mapping[str, Mapping[str, float]]:
    """Count the raters' primary emotions by file, in either form that releases have had."""
    counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in reading.read_rows(path, ("FileName",)):
        if "EmoClass_Major" in row.cells:
            emotion = row["EmoClass_Major"]
        elif "EmoDetail" in row.cells:
            found = _DETAIL.match(row["EmoDetail"])
            if found is None:
                raise row.fault("EmoDetail is not `WORKER…; primary; secondary; A:…; V:…; D:…`")
            emotion = found[1]
        else:
            raise row.fault("neither EmoClass_Major nor EmoDetail")
        emotion = emotion.strip().casefold()
        counts[row["FileName"]][_PRIMARY.get(emotion, emotion)] += 1
    return counts


def _words(path: Path) -> str | None:
    return reading.read_text(path).strip() or None if path.exists() else None
