"""Plain read speech, in which there is little emotion to find: what the model says of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec.structs import replace

from streamser.emotion.compact.model import CompactFeatures
from streamser.taxonomy import CATEGORIES
from streamser.training.augment.augmenter import plain
from streamser.training.corpora.reading import one_hot
from streamser.training.evaluation.predictions import Predictions
from streamser.training.manifest import Item
from tools.compact.plain_speech import plain_clips
from tools.compact_report.bench import Bench
from tools.compact_report.clips import Corpus, Labelled
from tools.compact_report.figures import (
    ALARM,
    UNSURE_SHARE,
    answers_of,
    figures,
    said_share,
)
from tools.compact_report.play import Played, play
from tools.compact_report.recognised import recognised_words
from tools.compact_report.records import Cell, Figure, Section, Table
from tools.compact_report.streams import Stream
from tools.compact_report.texts import word_groups

__all__ = ["gold_words", "plain_speech", "read_speech"]

_MOST: Final = 0.08


def plain_speech(bench: Bench) -> Section:
    """Measure what is said of speech that was merely read or spoken plainly."""
    corpus = read_speech(bench)
    streams = [Stream(name, tuple(places)) for name, places in corpus.by_speaker().items()]
    worded = np.array([clip.item.text is not None for clip in corpus.clips])
    by_voice, by_both = _played(bench, corpus, streams)
    with_text = worded[by_voice[0].clip]
    cases = (
        ("voice alone", by_voice, np.ones(len(with_text), np.bool_)),
        ("voice alone, those with transcripts", by_voice, with_text),
        ("voice and transcript, those", by_both, with_text),
    )
    rows = [
        _row(name, [answers_of(corpus, each, keep) for each in played], bench)
        for name, played, keep in cases
    ]
    return Section(
        title="Plain speech",
        text=f"{len(corpus.clips)} clips of {len(streams)} speakers who read or talk plainly "
        "(of the other half of the folder's speakers the model was taught what is neutral); a "
        "stream is a speaker's clips in their order, most of them cold. How often each category "
        "is the likeliest, and how often a reading is sure (not `unsure`) of something but "
        "neutral, which is a false alarm as far as one can tell. Then what a recogniser's errors "
        "do to the words: Whisper tiny.en, which the runtime has without a download.",
        tables=(
            Table(
                "",
                ("given", "clips", *CATEGORIES, "unsure", "sure and not neutral"),
                tuple(rows),
            ),
            recognised_words(bench, corpus),
        ),
    )


def read_speech(bench: Bench) -> Corpus:
    """Read the held-out plain speech: each clip is neutral, its transcript what was said.

    Raises ``ConfigError`` where it is not there.
    """
    root = bench.data / "speech"
    clips = [clip for clip in plain_clips(root) if clip.held_out][: bench.plan.clips]
    return Corpus(
        "speech",
        tuple(
            Labelled(
                Item(
                    id=clip.path.relative_to(root).as_posix(),
                    corpus="speech",
                    speaker=clip.speaker,
                    audio=clip.path,
                    text=gold_words(clip.text),
                    votes=one_hot("neutral"),
                ),
                emotion="",
                gender="",
                age=math.nan,
            )
            for clip in clips
        ),
    )


def gold_words(text: str) -> str | None:
    """Return a transcript as somebody would write it; those all in capitals in lower case."""
    return (plain(text) if text.isupper() else text) or None


def _played(
    bench: Bench, corpus: Corpus, streams: Sequence[Stream]
) -> tuple[list[Played], list[Played]]:
    """Return what each model says by voice alone, and by voice and transcript."""
    items = [clip.item for clip in corpus.clips]
    seconds = [bench.sounds.seconds(item) for item in items]
    voices = [bench.models[0].examine([(bench.sound(item), None)])[0] for item in items]
    by_voice = [play(model, streams, voices, seconds) for model in bench.models]
    by_both: dict[int, Played] = {}
    for group in word_groups(bench.models, bench.directories):
        words = group.encoder.examine([(None, item.text) for item in items])
        both = [
            CompactFeatures(voice.measured, said.words)
            for voice, said in zip(voices, words, strict=True)
        ]
        for place in group.members:
            by_both[place] = play(bench.models[place], streams, both, seconds)
    return by_voice, [by_both[place] for place in range(len(bench.models))]


def _row(name: str, runs: Sequence[Predictions], bench: Bench) -> tuple[Cell, ...]:
    measures = {category: said_share(category) for category in CATEGORIES}
    found = figures(runs, measures | {"unsure": UNSURE_SHARE, "alarm": ALARM}, bench.plan)
    *shares, alarm = found.values()
    return name, len(runs[0]), *map(_bare, shares), alarm.aimed(_MOST, at_most=True)


def _bare(figure: Figure) -> Figure:
    """Leave out the interval: a distribution is easier to read without."""
    return replace(figure, low=None, high=None)
