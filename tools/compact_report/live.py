"""The whole program on joined clips: detector, endpointing, partials, the listener's memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from streamser import Analyzer
from streamser.audio.clip import Samples
from streamser.errors import ConfigError
from streamser.events import EmotionBody, EmotionCompleted, EmotionDelta, Event, SessionClosed
from streamser.settings import AsrSettings, EmotionSettings, PartialSettings, Settings
from streamser.training.sounds import read_clip
from tools.compact_report.bench import Bench
from tools.compact_report.clips import Corpus
from tools.compact_report.figures import uar_figure
from tools.compact_report.joined import JoinedSource, Match, join, match
from tools.compact_report.plain_speech import read_speech
from tools.compact_report.play import Played, play, tabulate
from tools.compact_report.records import Cell, Figure, Section, Table
from tools.compact_report.streams import Stream, shuffled

__all__ = ["live_path"]

_SAMPLES: Final = "cremad_mel/griffinlim_samples"


class _Heard(NamedTuple):
    """Hold what the program said of streams of clips: a reading a clip, and what befell clips."""

    played: Played
    split: float
    merged: float
    missed: float
    extra: int


def live_path(bench: Bench) -> Section:
    """Measure the program as a whole, by the model that ships."""
    rows: list[tuple[Cell, ...]] = []
    with Analyzer(_settings(bench, every_ms=0)) as analyzer:
        for name in ("emodb", "ravdess"):
            rows += _beside(bench, analyzer, name)
        resynthesised = _resynthesised(bench, analyzer)
    with Analyzer(_settings(bench, every_ms=500)) as analyzer:
        flicker = _flicker(bench, analyzer)
    return Section(
        title="The live path",
        text="The first order of each speaker's clips in `Voice alone`, joined with pauses of 1 s "
        "of silence and run through `Analyzer` (no recogniser), the model that ships alone: what "
        "the voice activity detector takes for utterances is matched to clips by overlap. `Clip by "
        "clip` is the same order without the program around. Split: more utterances than one; "
        "merged: an utterance shared with another clip; missed: no utterance. Label changes are "
        "counted among `streamser.emotion.delta` events of an utterance, on plain speech.",
        tables=(
            Table(
                "UAR",
                (
                    *("corpus", "heard", "clip by clip", "live"),
                    *("split", "merged", "missed", "other utterances"),
                ),
                tuple(rows),
            ),
            resynthesised,
            flicker,
        ),
    )


def _settings(bench: Bench, *, every_ms: int) -> Settings:
    return Settings(
        asr=AsrSettings(engine="none"),
        emotion=EmotionSettings(model=str(bench.directories[0])),
        partial=PartialSettings(every_ms=every_ms),
    )


def _beside(bench: Bench, analyzer: Analyzer, name: str) -> list[tuple[Cell, ...]]:
    corpus = bench.corpus(name)
    streams = shuffled(corpus, 0)
    sounds = [bench.samples(clip.item) for clip in corpus.clips]
    heard = _hear(analyzer, streams, sounds)
    first = play(bench.models[0], streams, bench.findings(name), bench.seconds(name))
    rows: list[tuple[Cell, ...]] = []
    for time, before, after in (
        ("cold", first.cold, heard.played.cold),
        ("warm", first.warm, heard.played.warm),
    ):
        rows.append(
            (
                corpus.title,
                time,
                _own(uar_figure(corpus, [first], before, bench.plan)),
                _own(uar_figure(corpus, [heard.played], after, bench.plan)),
                *map(_share, (heard.split, heard.merged, heard.missed)),
                heard.extra,
            )
        )
    return rows


def _hear(analyzer: Analyzer, streams: Sequence[Stream], sounds: Sequence[Samples]) -> _Heard:
    """Run streams through the program; ``heard`` counts the clips before, as elsewhere."""
    places: list[tuple[int, int, int]] = []
    clock: list[float] = []
    bodies: list[EmotionBody] = []
    matches: list[Match] = []
    extra = 0
    for number, stream in enumerate(streams):
        joined = join([sounds[clip] for clip in stream.clips])
        found = _completed(list(analyzer.stream(JoinedSource(joined.samples))))
        matched = match(joined.spans, [body.window for body in found])
        matches.append(matched)
        extra += len(found) - len({each for each in matched.utterances if each is not None})
        for heard, (clip, place) in enumerate(zip(stream.clips, matched.utterances, strict=True)):
            if place is not None:
                places.append((number, clip, heard))
                clock.append(joined.spans[heard].start_ms / 1000)
                bodies.append(found[place])
    clips = max(1, sum(len(stream.clips) for stream in streams))
    return _Heard(
        tabulate(places, clock, bodies),
        sum(sum(each.split) for each in matches) / clips,
        sum(sum(each.merged) for each in matches) / clips,
        sum(each.utterances.count(None) for each in matches) / clips,
        extra,
    )


def _completed(events: Sequence[Event]) -> list[EmotionBody]:
    return [event.emotion for event in events if isinstance(event, EmotionCompleted)]


def _resynthesised(bench: Bench, analyzer: Analyzer) -> Table:
    """Compare CREMA-D's frames with sound that was made of them, and that sound heard live."""
    corpus = bench.corpus("cremad")
    folder = bench.data / _SAMPLES
    sounds = {
        place: read_clip(folder / f"{clip.item.id}.flac")
        for place, clip in enumerate(corpus.clips)
        if (folder / f"{clip.item.id}.flac").is_file()
    }
    streams = [
        Stream(speaker, tuple(place for place in places if place in sounds))
        for speaker, places in corpus.by_speaker().items()
    ]
    streams = [stream for stream in streams if stream.clips]
    findings, seconds = bench.findings("cremad"), bench.seconds("cremad")
    model = bench.models[0]
    sounded = list(findings)
    for place, samples in sounds.items():
        sounded[place] = model.examine([(samples, None)])[0]
    silence = np.zeros(0, np.float32)
    heard = _hear(analyzer, streams, [sounds.get(n, silence) for n in range(len(corpus.clips))])
    cases = (
        ("log-mel frames", play(model, streams, findings, seconds)),
        ("sound made of them", play(model, streams, sounded, seconds)),
        ("that sound, live", heard.played),
    )
    rows = [
        (name, len(each.clip), _labelled(corpus, each), _right(corpus, each))
        for name, each in cases
    ]
    return Table(
        "CREMA-D's 24 test clips that were turned back into sound (Griffin-Lim), up to six a "
        "speaker, so nearly cold",
        ("heard as", "clips heard", "with a category", "right"),
        tuple(rows),
    )


def _labelled(corpus: Corpus, played: Played) -> int:
    return int((corpus.labels[played.clip] >= 0).sum())


def _right(corpus: Corpus, played: Played) -> Figure:
    labels: npt.NDArray[np.int64] = corpus.labels[played.clip]
    known = labels >= 0
    right = played.scores.argmax(axis=1)[known] == labels[known]
    return Figure(value=float(right.mean()) if len(right) else None)


def _flicker(bench: Bench, analyzer: Analyzer) -> Table:
    corpus = read_speech(bench)
    changes = readings = speech_ms = surely = 0
    for places in corpus.by_speaker().values():
        joined = join([bench.samples(corpus.clips[place].item) for place in places])
        events = list(analyzer.stream(JoinedSource(joined.samples)))
        deltas = [event for event in events if isinstance(event, EmotionDelta)]
        readings += len(deltas)
        for before, after in pairwise(deltas):
            if before.item_id == after.item_id:
                one, two = before.emotion, after.emotion
                changes += one.category != two.category
                surely += _likeliest(one) != _likeliest(two)
        speech_ms += _speech_ms(events)
    minutes = speech_ms / 60_000
    per_minute = (Figure(value=count / minutes if minutes else None) for count in (changes, surely))
    return Table(
        "Flicker on plain speech, readings every 500 ms",
        (
            *("", "minutes of speech", "readings"),
            *("label changes a minute (with `unsure`)", "changes of the likeliest a minute"),
        ),
        (("plain speech", Figure(value=minutes), readings, *per_minute),),
    )


def _speech_ms(events: Sequence[Event]) -> int:
    closed = next((event for event in events if isinstance(event, SessionClosed)), None)
    if closed is None:
        raise ConfigError("the program ended a stream without a word; its settings are at fault.")
    return closed.speech_ms


def _likeliest(body: EmotionBody) -> str:
    return max(body.scores, key=body.scores.__getitem__)


def _own(figure: Figure) -> Figure:
    """Leave out who ships: nobody else is measured here."""
    return replace(figure, ships=None)


def _share(value: float) -> Figure:
    return Figure(value=value)
