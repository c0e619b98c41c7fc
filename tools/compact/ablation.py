"""What each part of the voice's half is worth: trained without it, judged across corpora.

    python -m tools.compact.ablation --data DIR --parts DIR --cache DIR --out FILE.md

The voice alone, in streams of each speaker's utterances in random order. All is taught without
EmoDB, which with CREMA-D's validation speakers guides the choices.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from msgspec.structs import replace

from streamser.emotion.compact.encoders import LayerEncoder, load_layers
from streamser.emotion.compact.model import measured_sound
from streamser.emotion.compact.speaker_stats import Norm, SpeakerStats, Views, placed
from streamser.emotion.compact.statistics import Measured
from streamser.emotion.fused.interfaces import Encoded
from streamser.errors import StreamserError
from streamser.taxonomy import CATEGORIES
from streamser.training.corpora.acted import read_cremad, read_emodb
from streamser.training.evaluation.metrics import uar
from streamser.training.manifest import Item
from streamser.training.sounds import Sounds
from tools.compact.channels import open_studio
from tools.compact.directions import fit_directions
from tools.compact.learn import as_voice, teach_voices
from tools.compact.lessons import training_lessons
from tools.compact.network import Judge
from tools.compact.occasions import Occasions
from tools.compact.recipe import BundleSettings
from tools.compact.streams import StreamBatch, Streams, StreamSettings
from tools.compact.texts import NO_TEXTS
from tools.compact.voices import OTHER, Voices, corpus_means, fit_norm, pool_of, read_voices

__all__ = ["Clip", "Score", "main", "mean_score", "measured_clips", "train_and_judge"]

T = TypeVar("T", bound=msgspec.Struct)

_ORDERS: Final = 3
_WARM: Final = 10
_COLD: Final = 4
_MIXED: Final = 60
_LATE: Final = 30
_LONGER: Final = 4000  # steps
_OLD: Final = {
    "absolute": ("pitch", "pitch_move", "shape", "tilt"),
    "context": ("pitch", "shape", "tilt"),
}


_FAR: Final = StreamSettings(move=4 * StreamSettings().move)


class Clip(NamedTuple):
    """Hold an utterance: whose it is, its pool (``OTHER``: none of the four), what it measures."""

    speaker: str
    pool: int
    measured: Measured


class Row(NamedTuple):
    """Name a variation of the training."""

    title: str
    settings: BundleSettings


class Score(NamedTuple):
    """Hold the UAR cold and warm, and how often those of one mood throughout are called so, late.

    ``neutral`` and ``angry`` are the moods.
    """

    cold: float
    warm: float
    neutral: float
    angry: float


def rows() -> list[Row]:
    """List the variations: the whole first, then what is taken away or done otherwise."""
    whole = BundleSettings()
    voices, judge = whole.voices, whole.judge
    longer = _changed(whole.learn, steps=_LONGER)
    return [
        Row("whole", whole),
        Row("learnt longer: 4000 steps", _changed(whole, learn=longer)),
        Row("no channels: CREMA-D as it is", _changed(whole, channels=0)),
        Row("relative view alone", _changed(whole, judge=_changed(judge, absolute=(), context=()))),
        Row("no layers in the absolute view", _changed(whole, judge=_changed(judge, **_OLD))),
        Row("streams not moved", _changed(whole, streams=StreamSettings(moved=0.0))),
        Row("streams of one mood moved four times as far", _changed(whole, streams=_FAR)),
        Row("even streams only", _changed(whole, streams=StreamSettings(1.0, 0.0, 0.0))),
        Row("votes of the hearers", _changed(whole, voices=voices._replace(intended=0.0))),
        Row("half votes, half intended", _changed(whole, voices=voices._replace(intended=0.5))),
    ]


def judge_streams(judge: Judge, norm: Norm, clips: Sequence[Clip]) -> Score:
    """Play each speaker's clips in random orders, and streams of one mood throughout."""
    speakers = sorted({clip.speaker for clip in clips})
    truth, guess, place = [], [], []
    late: dict[str, list[bool]] = {"neutral": [], "angry": []}
    for order in range(_ORDERS):
        for number, name in enumerate(speakers):
            rng = np.random.default_rng([order, number])
            own = [clip for clip in clips if clip.speaker == name]
            stream = [own[i] for i in rng.permutation(len(own))]
            guess.append(_play(judge, norm, stream))
            truth.append(np.array([clip.pool for clip in stream]))
            place.append(np.arange(len(stream)))
            for mood, told in late.items():
                pool = CATEGORIES.index(mood)
                same = [clip for clip in own if clip.pool == pool]
                if same:
                    drawn = [same[i] for i in rng.integers(len(same), size=_MIXED)]
                    told += (_play(judge, norm, drawn)[_LATE:] == pool).tolist()
    heard, said, where = (np.concatenate(parts) for parts in (truth, guess, place))
    known = heard != OTHER
    cold, warm = known & (where < _COLD), known & (where >= _WARM)
    return Score(
        cold=uar(heard[cold], said[cold], len(CATEGORIES)),
        warm=uar(heard[warm], said[warm], len(CATEGORIES)),
        **{mood: float(np.mean(told)) for mood, told in late.items()},
    )


def _play(judge: Judge, norm: Norm, stream: Sequence[Clip]) -> npt.NDArray[np.int64]:
    """Return the likeliest category of each utterance of a stream, learning as it goes."""
    usual = SpeakerStats()
    views, known = [], []
    for clip in stream:
        views.append(usual.views(clip.measured.values, norm))
        known.append([usual.known])
        usual = usual.extended(clip.measured, norm)
    seen = Views(*(np.stack(view) for view in zip(*views, strict=True)))
    batch = StreamBatch(seen, np.array(known, np.float32), np.arange(len(stream)))
    with torch.inference_mode():
        count = len(stream)
        answer = judge(
            as_voice(batch),
            Encoded(torch.zeros(count, 1, judge.settings.words_width), torch.zeros(count, 1) > 0),
            torch.ones(count, dtype=torch.bool),
            torch.zeros(count, dtype=torch.bool),
        )
    return np.asarray(answer.logits.argmax(dim=1).numpy(), np.int64)


def read_tests(data: Path, layers: LayerEncoder) -> dict[str, list[Clip]]:
    """Measure what the variations are judged on, by its title."""
    crema = read_cremad(data / "cremad_mel", votes="intended", categories="all")
    german = read_emodb(data / "emodb", categories="all")
    return {
        "CREMA-D dev": measured_clips((item for item in crema if item.split == "dev"), layers),
        "EmoDB": measured_clips(german, layers),
    }


def measured_clips(items: Iterable[Item], layers: LayerEncoder) -> list[Clip]:
    """Measure utterances, through no channel."""
    sounds = Sounds()
    return [
        Clip(item.speaker, pool_of(item), measured_sound(sounds.load(item), layers))
        for item in items
    ]


def _placed(clips: Sequence[Clip], directions: npt.NDArray[np.float32]) -> list[Clip]:
    return [
        clip._replace(
            measured=clip.measured._replace(values=placed(clip.measured.values, directions))
        )
        for clip in clips
    ]


def _changed(record: T, **changes: object) -> T:
    return msgspec.structs.replace(record, **changes)


def _table(scores: dict[str, dict[str, Score]]) -> str:
    names = list(next(iter(scores.values())))
    head = f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}"
    lines = [
        f"| {title} | {' | '.join(map(_told, row.values()))} |" for title, row in scores.items()
    ]
    return "\n".join([head, *lines])


def _told(score: Score) -> str:
    return f"{score.cold:.3f} / {score.warm:.3f} / {score.neutral:.2f} / {score.angry:.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ablation; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.compact.ablation")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parts", type=Path, required=True, help="folder of layers.onnx")
    parser.add_argument("--cache", type=Path, required=True, help="measurements, kept")
    parser.add_argument("--out", type=Path, required=True, help="Markdown to write")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", help="parts of titles, by commas; default: all")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    asked = options.rows.split(",") if options.rows else [""]
    scores: dict[str, dict[str, Score]] = {}
    try:
        tests = read_tests(options.data, load_layers(options.parts))
        for row in rows():
            if any(part in row.title for part in asked):
                scores[row.title] = _score(row, options, tests)
                print(_table({row.title: scores[row.title]}).splitlines()[-1], flush=True)
    except StreamserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.out.write_text(_table(scores) + "\n", encoding="utf-8")
    return 0


def _score(row: Row, options: argparse.Namespace, tests: dict[str, list[Clip]]) -> dict[str, Score]:
    """Train a variation with each seed, and judge it everywhere."""
    voices = read_voices(
        training_lessons(options.data, german=False),
        BundleSettings().channels,
        open_studio(options.data / "noise_rir"),
        load_layers(options.parts),
        cache=options.cache / "voices-train.npz",
    )
    voices = voices._replace(values=voices.values[: 1 + row.settings.channels])
    found = [train_and_judge(row.settings, voices, tests, 1 + n) for n in range(options.seeds)]
    return {name: mean_score([scores[name] for scores in found]) for name in tests}


def train_and_judge(
    settings: BundleSettings, voices: Voices, tests: dict[str, list[Clip]], seed: int
) -> dict[str, Score]:
    """Train the voice's half on voices not yet placed, and judge it on each test."""
    directions = fit_directions(voices)
    voices = voices.placed(directions)
    norm = replace(fit_norm(voices), mean=corpus_means(voices).mean(axis=0))
    rng = np.random.default_rng(seed)
    streams = Streams(voices, norm, settings.streams, rng)
    occasions = Occasions(voices, streams, NO_TEXTS, settings.voices, rng)
    judge = teach_voices(occasions, settings.judge, settings.learn, seed=seed, tell=_silent)
    return {
        name: judge_streams(judge, norm, _placed(clips, directions))
        for name, clips in tests.items()
    }


def mean_score(scores: Sequence[Score]) -> Score:
    """Return the mean of scores, number by number."""
    return Score(*np.mean(scores, axis=0).tolist())


def _silent(line: str) -> None:
    """Say nothing."""


if __name__ == "__main__":
    sys.exit(main())
