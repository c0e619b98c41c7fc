"""The table of what is heard in each window, and what that costs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from streamser.speech.whisper import WhisperOptions
from tools.whisper_windows.material import Said, beginnings, load
from tools.whisper_windows.trial import Outcome, TrialWhisper, Way, hear

__all__ = ["WAYS", "Kept", "words_table"]

WAYS: Final = (
    Way(None),
    *(Way(margin, "in every layer") for margin in (0.5, 0.0, 1.0)),
    *(Way(margin, "behind") for margin in (0.0, 0.5, 1.0, 2.0)),
    *(Way(2.0, kept) for kept in ("behind, the last 4 s", "behind, every 4th")),
    *(Way(margin) for margin in (12.0, 8.0, 6.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.0)),
)
_HOPELESS: Final = 2
"""Loops in a set after which shorter margins without remembered silence are not tried."""
_PARTIALS_S: Final = (0.7, 1.0, 1.5, 2.0, 2.7, 3.4, 5.0, 7.3, 9.1)


class Kept:
    """Keep outcomes in a file, so that a run that was stopped goes on where it was."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._outcomes: dict[str, Outcome] = {}
        if path is not None and path.exists():
            self._outcomes = msgspec.json.decode(path.read_bytes(), type=dict[str, Outcome])

    def get(self, key: str, measure: Callable[[], Outcome]) -> Outcome:
        """Return what was kept under a key, or measure it and keep it."""
        if key not in self._outcomes:
            self._outcomes[key] = measure()
            if self._path is not None:
                self._path.write_bytes(msgspec.json.encode(self._outcomes))
        return self._outcomes[key]


def words_table(
    model: Path,
    data: Path,
    sets: Sequence[str],
    german: int,
    partials: int,
    kept: Kept,
    ways: Sequence[Way] | None = None,
    whisper: Callable[[WhisperOptions], TrialWhisper] = TrialWhisper,
) -> str:
    """Hear every set in every way, those of ``WAYS`` by default; return Markdown, one row a way."""
    ways = WAYS if ways is None else ways
    known: dict[str, list[Said]] = {}
    found: dict[str, dict[Way, Outcome]] = {}
    whispers: dict[str, TrialWhisper] = {}
    for name in sets:
        language = name.partition("-")[0]
        if language != "en" and model.name.endswith(".en"):
            continue
        if language not in whispers:
            options = WhisperOptions(model=str(model), language=language, device="cpu", threads=1)
            whispers[language] = whisper(options)
        measured = partial(_all_ways, whispers[language], kept, model.name)
        known[name] = load(name, data, german)
        found[name] = measured(name, known[name], [one.words for one in known[name]], ways)
        if name == "en" and partials:
            known["partials"] = cut = _drawn(beginnings(known["en"], _PARTIALS_S), partials)
            # Nobody knows what is right of half a word: the full window is the truth.
            full = measured("partials", cut, [()] * len(cut), (Way(None),))[Way(None)]
            found["partials"] = measured("partials against it", cut, full.heard, ways)
    return "\n".join(_lines(model.name, known, found, ways))


def _all_ways(
    whisper: TrialWhisper,
    kept: Kept,
    model: str,
    name: str,
    said: Sequence[Said],
    truth: Sequence[Sequence[str]],
    ways: Sequence[Way],
) -> dict[Way, Outcome]:
    outcomes: dict[Way, Outcome] = {}
    for way in ways:
        if way.remembered == "nothing" and _is_hopeless(outcomes):
            continue
        key = f"{model}, {name}, {len(said)}, {way}"
        outcomes[way] = outcome = kept.get(key, lambda way=way: hear(whisper, way, said, truth))  # type: ignore[misc]
        cost = f"{1000 * outcome.encode_s:.0f} + {1000 * outcome.decode_s:.0f} ms"
        note = f"{name}: {way}: {outcome.error_rate:.3f}, {outcome.loops} loops, {cost}"
        print(note, file=sys.stderr, flush=True)
    return outcomes


def _is_hopeless(outcomes: dict[Way, Outcome]) -> bool:
    return any(
        outcome.loops > _HOPELESS
        for way, outcome in outcomes.items()
        if way.remembered == "nothing"
    )


def _lines(
    model: str,
    known: dict[str, list[Said]],
    found: dict[str, dict[Way, Outcome]],
    ways: Sequence[Way],
) -> Iterator[str]:
    sizes = ", ".join(
        f"{name} {len(said)} of {min(one.seconds for one in said):.1f} to"
        f" {max(one.seconds for one in said):.1f} s"
        + (f" ({sum(len(one.words) for one in said)} words)" if said[0].words else "")
        for name, said in known.items()
    )
    yield f"**{model}**: word error rate (loops); CPU ms an utterance of the first set. {sizes}."
    yield ""
    heads = ["encoded behind it", "remembered", *known, "encoder", "decoder"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    first = next(iter(found.values()))
    for way in ways:
        cells = [_cell(outcomes.get(way)) for outcomes in found.values()]
        timed = first.get(way)
        cost = (
            [f"{1000 * timed.encode_s:.0f}", f"{1000 * timed.decode_s:.0f}"]
            if timed is not None
            else ["", ""]
        )
        margin = "up to 30 s" if way.margin_s is None else f"{way.margin_s:g} s"
        yield f"| {' | '.join([margin, way.remembered, *cells, *cost])} |"


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return "–"
    rate = f"{outcome.error_rate:.3f}".removeprefix("0")
    return f"{rate} ({outcome.loops})" if outcome.loops else rate


def _drawn(said: Sequence[Said], most: int) -> list[Said]:
    order = np.random.default_rng(0).permutation(len(said))
    return [said[i] for i in order[:most]]
