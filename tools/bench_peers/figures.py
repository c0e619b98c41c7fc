"""From the logs of the streams to figures, by definitions that are the same for all; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from tools.bench_peers.log import Shown, StreamLog
from tools.bench_peers.words import align, spoken_words

__all__ = [
    "DEFINITIONS",
    "Figures",
    "Spread",
    "figures_of",
    "held",
    "spread",
    "standing",
    "staying",
]

HOLD_S = 1.5
_AHEAD = 12
"""How many words may be missing in a text for those behind them to be found."""
DEFINITIONS = (
    "Truth and text are compared as words in lower case, without punctuation, numbers spelled out."
    " WER: the least number of words wrong, left out or added, over those said, all streams"
    " together, by the text as it stands at the end of each stream. After its conversation a stream"
    " is silent until no stream's text has changed for 10 s, for a minute at most.",
    "The words of the truth are aligned with that text (least errors), so that each utterance has"
    " its words in it. Last word: the moment from which on the last word of the utterance is in"
    " the text shown and stays there (each text aligned with the last one), less the moment at"
    " which the speech of the utterance ended. What the server calls final makes no difference, so"
    " that one without finals is measured like one with; other words may still change.",
    "All its words: the same of the whole text up to that word: none of it changes any more.",
    "Final: the same as all its words, of the text alone that the server says it will not change"
    " (WhisperLive: segments that are `completed`; WhisperLiveKit: `lines`; streamser: completed"
    " transcripts).",
    "First word: the moment at which the text shown becomes so long that it has a word in the place"
    " of the utterance's first (right or not yet), less the moment at which the utterance began.",
    "An utterance is lost where none of its words was heard right, and cut where others were, but"
    " nothing, right or wrong, stands for its last word. Neither has a lag; in the percentiles they"
    " count as infinitely late. Percentiles are nearest ranks.",
    "Speech ends where the last 20 ms within 25 dB of the clip's loudest are; a sample is spoken"
    " at its place in the stream's real time, and frames go out when their last sample is.",
    f"Streams held: the most, of the counts measured, at which the last word's p95 is at most"
    f" {HOLD_S:g} s, at all smaller counts as well, and no stream broke.",
    "CPU: processor time of the server's process and all it started, over the time from the"
    " beginning of the first stream to the last word said. Memory: the highest sum of their"
    " proportional set sizes (PSS), read once a second, loading and warm-up included.",
)


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how ``n`` times are distributed, in seconds; ``None`` is never."""

    n: int
    p50: float | None
    p95: float | None
    most: float | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what the streams of one server at one count came to; times in seconds.

    ``emotion`` is the lag of the voice's final reading after the end of speech as the server
    heard it, ``emotion_beyond`` that beyond the silence which ends an utterance. ``partials``
    counts the texts shown that were not settled, ``readings`` those of the voice while one spoke.
    """

    streams: int
    utterances: int
    said: int
    wer: float
    lost: int
    cut: int
    last_word: Spread
    all_words: Spread
    final: Spread
    first_word: Spread
    emotion: Spread | None = None
    emotion_beyond: Spread | None = None
    partials: int = 0
    readings: int = 0
    late_s: float = 0.0
    faults: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Say whether the last words came in time."""
        p95 = self.last_word.p95
        return p95 is not None and p95 <= HOLD_S and not self.faults


class _Lags(msgspec.Struct):
    last: list[float] = []
    whole: list[float] = []
    final: list[float] = []
    first: list[float] = []
    errors: int = 0
    said: int = 0
    lost: int = 0
    cut: int = 0


def figures_of(logs: Sequence[StreamLog]) -> Figures:
    """Measure the streams of one run."""
    lags = _Lags()
    for log in logs:
        _measure(log, lags)
    finals = [read for log in logs for read in log.readings if read.final]
    beyond = [read.beyond_s for read in finals if read.beyond_s is not None]
    return Figures(
        streams=len(logs),
        utterances=sum(len(log.utterances) for log in logs),
        said=lags.said,
        wer=round(lags.errors / max(1, lags.said), 4),
        lost=lags.lost,
        cut=lags.cut,
        last_word=spread(lags.last),
        all_words=spread(lags.whole),
        final=spread(lags.final),
        first_word=spread(lags.first),
        emotion=spread([read.lag_s for read in finals]) if finals else None,
        emotion_beyond=spread(beyond) if beyond else None,
        partials=sum(1 for log in logs for shown in log.shown if shown.open),
        readings=sum(1 for log in logs for read in log.readings if not read.final),
        late_s=round(max((log.late_s for log in logs), default=0.0), 3),
        faults=tuple(log.fault for log in logs if log.fault is not None),
    )


def staying(shown: Iterable[Shown], end: Sequence[str]) -> list[float]:
    """Return for each word at the end the moment from which on it is there, whatever others do."""
    moments = [math.inf] * len(end)
    for each in shown:
        there = _there(spoken_words(f"{each.settled} {each.open}"), end)
        for place, is_there in enumerate(there):
            if not is_there:
                moments[place] = math.inf
            elif moments[place] == math.inf:
                moments[place] = each.at
    return moments


def standing(shown: Iterable[Shown], end: Sequence[str], *, settled: bool) -> list[float]:
    """Return for each word at the end the moment from which on all up to it stands.

    ``settled``: the text alone that the server itself calls final. A word that does not stand
    even then (the text was never settled) has ``inf``.
    """
    moments = [math.inf] * len(end)
    known = 0
    for each in shown:
        words = spoken_words(each.settled if settled else f"{each.settled} {each.open}")
        common = _common(words, end)
        for place in range(common, known):
            moments[place] = math.inf
        for place in range(known, common):
            moments[place] = each.at
        known = common
    return moments


def spread(times: Sequence[float]) -> Spread:
    """Summarise times in seconds by nearest ranks."""
    ranked = sorted(times)

    def rank(share: float) -> float | None:
        if not ranked:
            return None
        value = ranked[max(0, math.ceil(share * len(ranked)) - 1)]
        return round(value, 3) if math.isfinite(value) else None

    return Spread(n=len(ranked), p50=rank(0.5), p95=rank(0.95), most=rank(1.0))


def held(figures: Iterable[Figures]) -> Figures | None:
    """Return the figures at the largest count that is held, and all smaller ones with it."""
    best = None
    for each in sorted(figures, key=lambda each: each.streams):
        if not each.holds:
            break
        best = each
    return best


def _measure(log: StreamLog, lags: _Lags) -> None:
    truth = [word for each in log.utterances for word in each.words]
    last = log.shown[-1] if log.shown else Shown(0.0, "", "")
    end = spoken_words(f"{last.settled} {last.open}")
    found = align(truth, end)
    lags.errors += found.errors
    lags.said += len(truth)
    stays = staying(log.shown, end)
    stands = standing(log.shown, end, settled=False)
    finals = standing(log.shown, end, settled=True)
    counts = [(each.at, len(spoken_words(f"{each.settled} {each.open}"))) for each in log.shown]
    place = 0
    for each in log.utterances:
        mine = range(place, place + len(each.words))
        place += len(each.words)
        heard = [at for word in mine if (at := found.heard[word]) is not None]
        last_place = found.heard[mine[-1]]
        spoken, start = log.began + each.end_s, log.began + each.start_s
        lost = not any(found.right[word] for word in mine)
        lags.lost += lost
        lags.cut += not lost and last_place is None
        lags.first.append(math.inf if lost else _beyond(counts, heard[0], start))
        for times, moments in ((lags.last, stays), (lags.whole, stands), (lags.final, finals)):
            came = math.inf if lost or last_place is None else moments[last_place]
            times.append(came - spoken)


def _beyond(counts: Iterable[tuple[float, int]], place: int, start: float) -> float:
    for at, count in counts:
        if at > start and count > place:
            return at - start
    return math.inf


def _there(words: Sequence[str], end: Sequence[str]) -> list[bool]:
    """Say which words of the end are in a text, in their places; most texts begin alike."""
    same = _common(words, end)
    rest = words[same:]
    found = align(end[same : same + len(rest) + _AHEAD], rest).right
    return [True] * same + [*found] + [False] * (len(end) - same - len(found))


def _common(words: Sequence[str], end: Sequence[str]) -> int:
    count = 0
    for word, other in zip(words, end, strict=False):
        if word != other:
            break
        count += 1
    return count
