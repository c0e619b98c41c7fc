"""Made talk of two or three at one microphone, and how well who speaks when is heard in it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, permutations
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.errors import ConfigError
from streamser.speech.overlap import STEP, Activity
from tools.speakers.judge import Spoken

__all__ = ["NOISE_DB", "Alone", "Heard", "Mixture", "alone", "load_noises", "mixed", "score"]

Truth = npt.NDArray[np.bool_]

NOISE_DB: Final = 15.0
"""How far below the voices the noise is."""
_GAPS_S: Final = (-1.5, 1.0)
_NEAR: Final = round(0.25 * SAMPLE_RATE)
"""Samples that a change may be missed by."""
_ADJACENT: Final = round(0.4 * SAMPLE_RATE)
"""Samples between two turns below which an endpointer hears one utterance."""
_LEAST: Final = SAMPLE_RATE // 4
"""Samples of a turn, or of two at once, that count."""
_PAUSE: Final = 12
"""Frames within a turn that are bridged: what is softer for 0.2 s is no end of it."""
_AUDIBLE_DB: Final = 35.0
_CENTRE: Final = 495


class Mixture(msgspec.Struct, frozen=True, eq=False):
    """Hold made talk, who speaks in each frame [frames, people], and where speakers change.

    ``changes`` are samples at which another goes on without a pause.
    """

    samples: Samples
    truth: Truth
    changes: tuple[int, ...]


class Heard(NamedTuple):
    """Tell how well it is heard, each in [0, 1].

    Precision and recall of frames with two at once; of changes without a pause, within 0.25 s;
    and the share of frames with one speaker that are on another's track, by the best naming.
    """

    precision: float
    recall: float
    change_precision: float
    change_recall: float
    confused: float


class Alone(NamedTuple):
    """Tell what is wrongly heard of one speaker alone, in shares.

    Of frames with two at once; of clips with two at once for 0.25 s; of clips with turns of two.
    """

    frames: float
    overlapped: float
    parted: float


def mixed(
    clips: Sequence[Spoken],
    count: int,
    seed: int,
    seconds: tuple[float, float],
    noises: Sequence[Samples] = (),
) -> Iterator[Mixture]:
    """Make so many mixtures: two or three people in turns, gaps from -1.5 to 1 s, or none.

    ``seconds`` are the least and the greatest length.
    """
    rng = np.random.default_rng(seed)
    people = sorted({clip.speaker for clip in clips})
    own = {person: [clip for clip in clips if clip.speaker == person] for person in people}
    for number in range(count):
        there = rng.choice(people, size=2 + number % 2, replace=False).tolist()
        length = round(rng.uniform(*seconds) * SAMPLE_RATE)
        yield _mixture(rng, length, [own[person] for person in there], noises)


def score(hear: Callable[[Samples], Activity], mixtures: Sequence[Mixture]) -> Heard:
    """Hear all mixtures, and count over all of them together."""
    found = [_counted(hear(each.samples), each) for each in mixtures]
    total = {name: sum(each[name] for each in found) for name in found[0]}

    def share(part: str, whole: str) -> float:
        return total[part] / max(1, total[whole])

    return Heard(
        share("both", "said"),
        share("both", "true"),
        share("change hits", "changes said"),
        share("changes found", "changes"),
        share("confused", "single"),
    )


def alone(hear: Callable[[Samples], Activity], clips: Sequence[Spoken]) -> Alone:
    """Hear clips of one speaker each, and tell how often there seem to be two."""
    frames = both = overlapped = parted = 0
    for clip in clips:
        heard = hear(clip.samples)
        frames += len(heard.counts)
        both += int((heard.counts == 2).sum())
        overlapped += bool(heard.overlaps(least=_LEAST))
        parted += len({track for track, _ in heard.turns(least=_LEAST)}) > 1
    return Alone(both / frames, overlapped / len(clips), parted / len(clips))


def load_noises(folder: Path) -> list[Samples]:
    """Return the noises of ``noise_rir``; raises ``ConfigError`` where one is missing."""
    try:
        with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
            paths = [row["path"] for row in csv.DictReader(file) if "noise" in row["path"]]
        return [soundfile.read(folder / path, dtype="float32")[0] for path in paths]
    except (OSError, soundfile.LibsndfileError) as error:
        raise ConfigError(f"the noises are not all in {folder}: {error}") from error


def _mixture(
    rng: np.random.Generator,
    length: int,
    people: Sequence[Sequence[Spoken]],
    noises: Sequence[Samples],
) -> Mixture:
    sound = np.zeros(length, np.float32)
    truth = np.zeros((1 + (length - 991) // STEP, len(people)), np.bool_)
    turns: list[tuple[int, int, int]] = []
    at, who = round(rng.uniform(0.0, 0.5) * SAMPLE_RATE), int(rng.integers(len(people)))
    while at < length - SAMPLE_RATE // 2:
        clip = people[who][int(rng.integers(len(people[who])))].samples[: length - at]
        level = np.float32(0.1 * 10 ** (rng.uniform(-3, 3) / 20) / _loudness(clip))
        sound[at : at + len(clip)] += level * clip
        spoken = _frames_of(clip, at, len(truth))
        truth[spoken, who] = True
        turns.append((at, at + len(clip), who))
        # Every third turn follows at once: what an endpointer hears as one utterance.
        gap = 0.0 if rng.random() < 1 / 3 else rng.uniform(*_GAPS_S)
        at = max(at + SAMPLE_RATE // 2, at + len(clip) + round(gap * SAMPLE_RATE))
        who = (who + int(rng.integers(1, len(people)))) % len(people)
    if noises:
        noise = noises[int(rng.integers(len(noises)))]
        part = np.take(noise, int(rng.integers(len(noise))) + np.arange(length), mode="wrap")
        sound += part * np.float32(0.1 * 10 ** (-NOISE_DB / 20) / _loudness(part))
    changes = tuple(
        (end + start) // 2
        for (_, end, old), (start, _, new) in pairwise(turns)
        if old != new and abs(start - end) < _ADJACENT
    )
    return Mixture(sound / max(1.0, float(np.abs(sound).max())), truth, changes)


def _counted(heard: Activity, mixture: Mixture) -> dict[str, int]:
    truth = mixture.truth
    both, said = truth.sum(axis=1) >= 2, heard.counts == 2
    single = (truth.sum(axis=1) == 1) & (heard.counts == 1)
    whose, track = truth[single].argmax(axis=1), heard.tracks[single].argmax(axis=1)
    table = np.zeros((truth.shape[1], heard.tracks.shape[1]), np.int64)
    np.add.at(table, (whose, track), 1)
    turns = heard.turns(least=_LEAST)
    told = [
        old.end for (_, old), (_, new) in pairwise(turns) if abs(new.start - old.end) < _ADJACENT
    ]
    # What is said while two speak is no error: there is no one change.
    sure = [each for each in told if not both[_around(each, len(both))].any()]
    known = [each for each in mixture.changes if not both[_around(each, len(both))].all()]
    return {
        "both": int((both & said).sum()),
        "said": int(said.sum()),
        "true": int(both.sum()),
        "changes": len(known),
        "changes found": sum(any(abs(a - b) <= _NEAR for b in told) for a in known),
        "changes said": len(sure),
        "change hits": sum(any(abs(a - b) <= _NEAR for b in mixture.changes) for a in sure),
        "single": len(whose),
        "confused": len(whose) - _best(table),
    }


def _around(sample: int, frames: int) -> slice:
    frame = (sample - _CENTRE) // STEP
    return slice(max(0, min(frame - 6, frames - 1)), max(1, frame + 7))


def _best(table: npt.NDArray[np.int64]) -> int:
    """Return how many frames agree by the best naming of tracks, one each."""
    return max(
        sum(int(table[person, track]) for person, track in enumerate(order))
        for order in permutations(range(table.shape[1]), table.shape[0])
    )


def _frames_of(clip: Samples, at: int, frames: int) -> npt.NDArray[np.intp]:
    """Return in which frames somebody is heard to speak, pauses of 0.2 s bridged."""
    width = STEP
    count = len(clip) // width
    power = np.square(clip[: count * width].reshape(-1, width)).mean(axis=1)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-_AUDIBLE_DB / 10))
    spoken = np.zeros(count, np.bool_)
    spoken[loud] = True
    for first, last in pairwise(loud):
        if last - first <= _PAUSE:
            spoken[first:last] = True
    middles = at + np.flatnonzero(spoken) * width + width // 2
    found = np.rint((middles - _CENTRE) / STEP).astype(np.intp)
    return found[(found >= 0) & (found < frames)]


def _loudness(samples: Samples) -> float:
    return float(np.sqrt(np.square(samples).mean())) + 1e-9
