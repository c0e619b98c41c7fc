"""Measure how many turns a mood takes to follow: in the bundled conversation and in made streams.

    python -m tools.measure_mood [--data DIR] [--model DIR] [--out FILE]

The bundled conversation is read by the model as one stream, and as a stream of each speaker,
with the words that are said. A stretch is a row of turns that were *read* alike, unsure ones
left out; of each that is three turns long or longer it is told with which of its turns the mood
took its name. With the folder of recordings, each speaker of DIR/emodb makes streams by voice
alone: twelve neutral turns, then stretches of six of each emotion in an order drawn by chance,
.8 s between turns. There the mood is judged twice: against what was read, as above, and against
what was acted. Then each stretch again with a turn of another emotion amid it, which must not
change the name.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import numpy as np
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.compact.model import CompactFeatures, CompactModel, load_compact
from streamser.emotion.model import Prediction, Segment
from streamser.emotion.mood import Mood
from streamser.taxonomy import CATEGORIES, UNSURE
from tools.talk import ASSETS, turns

__all__ = ["Turn", "delays", "following", "main", "told_turns"]

_WARM: Final = 12
_STRETCH: Final = 6
_PAUSE_MS: Final = 800
_TIMELY: Final = 3

_EMODB: Final = {"neutral": "neutral", "happiness": "happy", "sadness": "sad", "anger": "angry"}

_Clips: TypeAlias = dict[str, list[tuple[CompactFeatures, int]]]
"""Clips of a speaker by emotion, each as it was measured, with its length in ms."""


class Turn(msgspec.Struct, frozen=True):
    """Hold how a turn was meant and read, and what the mood was called after it."""

    meant: str
    read: str
    mood: str


class _Said(msgspec.Struct, frozen=True, eq=False):
    """Hold a turn before it is read."""

    meant: str
    finding: CompactFeatures
    at_ms: int
    duration_ms: int


def told_turns(model: CompactModel, said: Sequence[_Said]) -> list[Turn]:
    """Let a stream of turns be read, each learnt after it was judged, and follow its mood."""
    listener, mood, told = model.new_speaker(), Mood(), []
    for each in said:
        reading: Prediction = listener.predict(each.finding)
        listener.adapt(each.finding)
        state = mood.update(reading, each.at_ms, each.duration_ms)
        told.append(Turn(each.meant, reading.category, state.category))
    return told


def delays(turns: Sequence[Turn], *, meant: bool = False) -> list[int | None]:
    """Return with which turn of each stretch the mood took its name; ``None``: in none of them.

    A stretch is three or more turns in a row that were read alike, unsure ones left out; or, if
    ``meant``, that were meant alike. That the mood had the name before counts as the first.
    """
    key = (lambda turn: turn.meant) if meant else (lambda turn: turn.read)
    counted = turns if meant else [turn for turn in turns if turn.read != UNSURE]
    found = []
    for name, stretch in itertools.groupby(counted, key=key):
        moods = [turn.mood for turn in stretch]
        if len(moods) >= _TIMELY:
            found.append(moods.index(name) + 1 if name in moods else None)
    return found


def following(found: Sequence[int | None]) -> str:
    """Word how many stretches were followed, and by which turn, as cells of a table."""
    by = Counter(found)
    timely = sum(by[number] for number in range(1, _TIMELY + 1))
    cells = (len(found), *(by[number] for number in range(1, _TIMELY + 1)), len(found) - timely)
    return " | ".join(map(str, cells))


def conversation(model: CompactModel) -> Iterator[tuple[str, list[_Said]]]:
    """Yield the bundled conversation as streams, with their names."""
    said = []
    for turn in turns():
        (finding,) = model.extract([Segment(turn.samples, turn.text)])
        length = turn.end_ms - turn.start_ms
        said.append((turn.speaker, _Said(turn.style, finding, turn.end_ms, length)))
    yield "all as one stream", [each for _, each in said]
    for speaker in sorted({speaker for speaker, _ in said}):
        yield speaker, [each for who, each in said if who == speaker]


def recordings(model: CompactModel, data: Path) -> list[_Clips]:
    """Measure EmoDB's clips of the four categories, by speaker and emotion."""
    heard: dict[str, _Clips] = {}
    with (data / "emodb" / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["emotion"] in _EMODB]
    for row in rows:
        samples, _ = soundfile.read(data / "emodb" / row["path"], dtype="float32")
        found = (model.extract([Segment(samples, None)])[0], _ms(samples))
        heard.setdefault(row["speaker"], {}).setdefault(_EMODB[row["emotion"]], []).append(found)
    return list(heard.values())


def acted(
    speakers: Sequence[_Clips], rng: np.random.Generator, *, outlier: bool
) -> Iterator[list[_Said]]:
    """Yield a stream of each speaker; with an ``outlier`` amid each stretch, if asked."""
    for clips in speakers:
        order = list(rng.permutation(CATEGORIES))
        meant = ["neutral"] * _WARM
        for place, emotion in enumerate(order):
            stretch = [emotion] * _STRETCH
            if outlier:
                # The one that comes next has not been the mood yet.
                stretch.insert(_STRETCH // 2, order[(place + 1) % len(order)])
            meant += stretch
        said, now = [], 0
        for emotion in meant:
            finding, length = clips[emotion][int(rng.integers(len(clips[emotion])))]
            now += _PAUSE_MS + length
            said.append(_Said(emotion, finding, now, length))
        yield said


def flips(turns: Sequence[Turn]) -> tuple[int, int]:
    """Count turns read as another than both their sure neighbours, which are alike and the mood.

    Returns how many there are, and how many of them changed the mood's name.
    """
    sure = [turn for turn in turns if turn.read != UNSURE]
    count = changed = 0
    for before, turn, after in zip(sure, sure[1:], sure[2:], strict=False):
        if before.read == after.read == before.mood != turn.read:
            count += 1
            changed += turn.mood != before.mood
    return count, changed


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=ASSETS / "models" / "compact")
    parser.add_argument("--data", type=Path, default=None, help="folder of the recordings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--streams", type=int, default=5, help="of each speaker of EmoDB")
    parser.add_argument("--out", type=Path, default=None, help="else the tables are printed")
    given = parser.parse_args()
    model = load_compact(given.model, "compact")
    lines = [
        "# How soon a mood follows",
        "",
        f"`python -m tools.measure_mood`, seed {given.seed}, model {given.model.name}.",
        "",
        "| stretches of the bundled conversation | all | 1st turn | 2nd | 3rd | later, or not |",
        "|---|---|---|---|---|---|",
    ]
    everything: list[Turn] = []
    for name, said in conversation(model):
        turns = told_turns(model, said)
        everything = everything or turns
        lines.append(f"| {name}, as read | {following(delays(turns))} |")
        if turns is everything:
            lines.append(f"| {name}, as meant | {following(delays(turns, meant=True))} |")
    lines += ["", "| turn | meant | read | mood |", "|---|---|---|---|"]
    lines += [
        f"| {number} | {turn.meant} | {turn.read} | {turn.mood} |"
        for number, turn in enumerate(everything, 1)
    ]
    if given.data is not None:
        lines += _acted_tables(model, given.data, given.seed, given.streams)
    text = "\n".join(lines) + "\n"
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text, encoding="utf-8")


def _acted_tables(model: CompactModel, data: Path, seed: int, streams: int) -> list[str]:
    rng = np.random.default_rng(seed)
    speakers = recordings(model, data)
    lines = [
        "",
        "| stretches of EmoDB's speakers | all | 1st turn | 2nd | 3rd | later, or not |",
        "|---|---|---|---|---|---|",
    ]
    talks = [
        told_turns(model, said)
        for _ in range(streams)
        for said in acted(speakers, rng, outlier=False)
    ]
    for name, meant in (("as read", False), ("as acted", True)):
        found = [each for turns in talks for each in delays(turns, meant=meant)]
        lines.append(f"| {name} | {following(found)} |")
    broken = [
        flips(told_turns(model, said))
        for _ in range(streams)
        for said in acted(speakers, rng, outlier=True)
    ]
    count, changed = (sum(column) for column in zip(*broken, strict=True))
    return [
        *lines,
        "",
        f"Single turns read as another than the mood, between two that were read as it: {count};"
        f" {changed} of them changed its name.",
    ]


def _ms(samples: Samples) -> int:
    return len(samples) * 1000 // SAMPLE_RATE


if __name__ == "__main__":
    main()
