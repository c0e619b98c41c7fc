"""What a measurement of speakers came to: as a record, and as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from tools.reporting import MISSED, Goal, Page, Provenance, Section, Table
from tools.speakers.emotions import (
    AFTER,
    APART,
    DRAWS,
    ONE,
    WAYS,
    Recognised,
    lost,
    recognised,
    uar,
)
from tools.speakers.meetings import FEW, NOISE_DB, Cell
from tools.speakers.overlaps import Mixed
from tools.speakers.peers.report import PeersReport, compared, heard_by_all, peers_rows, row
from tools.speakers.scoring import Figures, total

__all__ = ["GOALS", "Judged", "SpeakersReport", "speakers_page", "trials_section"]

GOALS: Final = {
    ("neutral", "once"): Goal(0.15, "DER"),
    ("neutral", "final"): Goal(0.10, "DER"),
    ("emotions", "once"): Goal(0.25, "DER"),
    ("emotions", "final"): Goal(0.18, "DER"),
    ("any", "count"): Goal(0.85, "of meetings", at_least=True),
    ("any", "attribution"): Goal(0.12, "of speech read"),
    ("emotions", "uar once"): Goal(0.03, "of UAR"),
    ("emotions", "uar final"): Goal(0.03, "of UAR"),
}
"""For two to four people, with a collar of .25 s."""

_WORDS: Final = {
    "once": "DER at once",
    "final": "DER after correction",
    "count": "count right",
    "attribution": "emotion to the wrong one",
    "uar once": "UAR below true speakers, at once",
    "uar final": "UAR below true speakers, after",
}
_HEADS: Final = (
    "meetings",
    "DER at once, collar 0 / .25",
    "DER after, collar 0 / .25",
    "missed / confused / invented (after, .25)",
    "count right",
    "labels a person",
    "emotion to the wrong one: at once / after",
)
_NOTES: Final = (
    "A meeting: people at one microphone, turns of 1 to 8 s made of recordings of one person (in"
    " meetings with emotions each turn has one), pauses of 0 to 1.5 s between them; one change in"
    " ten overlaps by up to .5 s. Nothing is heard twice in a meeting, so neutral ones are short."
    f" In half of them there is a recorded room, and recorded noise at {NOISE_DB:g} dB.",
    "DER: speech missed, taken for another person's, and invented, over all speech"
    " (pyannote.metrics); a collar of .25 leaves out a quarter of a second on either side of each"
    " boundary. Utterances are as the detector of speech finds them, with the sound before and"
    " after that belongs to them: with collar 0 that is invented speech.",
    "Where two are heard at once in three tenths of an utterance or more, it is nobody's, as in a"
    " session: its speech is missed.",
    "At once: the label that is told when the utterance is over. After: the label that stands at"
    " the end of the meeting. Count right: as many labels as people at its end.",
    "Emotion to the wrong one: of the speech that lies in some reading, the share whose reading"
    " has the label of somebody else, after the mapping of labels to people that fits best.",
    "Emotion of utterances: by voice alone (acted sentences say the same in every mood), with the"
    " model that ships; the truth is the acted emotion of the turn with most time in the utterance."
    " Calm is neutral; fear, disgust, boredom and surprise are heard and learnt from, and not"
    " counted. Read is the likeliest category, whether or not it would be called unsure. UAR: the"
    " mean recall of the four, all utterances of a row together; of neutral meetings it is the"
    " recall of neutral alone. EmoDB taught the model, so that what counts there is the difference;"
    " RAVDESS did not.",
    "One past for all: whoever speaks is judged by all who spoke before. Told apart: by what the"
    " voice with their label said, as a session does it, corrections included. After: anew by the"
    " labels that stand at the end, each utterance by those before it; a session does not tell"
    " readings again. True: by who spoke. Below true: how much lower UAR is than with true"
    f" speakers; in brackets 95 % of {DRAWS} draws of as many meetings.",
    "Programs of others: with the same networks, unrounded (senko, on a CPU, with the same embedder"
    " and silero); as it comes, or with settings tried on the voices that ours were set by. diart"
    " tells as sound comes, .5 s late unless its latency is named; sherpa-onnx and senko at the end"
    " of a meeting.",
)


class Judged(msgspec.Struct, frozen=True):
    """Hold one meeting: how long it is in seconds, and what was told at once and in the end."""

    name: str
    cell: Cell
    seconds: float
    once: Figures
    final: Figures
    read: Recognised = Recognised()
    mixed: Mixed = Mixed()


class SpeakersReport(Provenance, frozen=True, kw_only=True):
    """Hold all that was measured; ``told`` says whether the number of people was told before."""

    part: str
    count: int
    told: bool
    embedder: str
    judged: tuple[Judged, ...]
    peers: PeersReport | None = None


def speakers_page(report: SpeakersReport) -> Page:
    """Lay a report out for people."""
    judged = report.judged
    tables = [
        _table("By emotions and people", judged, lambda c: f"{_kind(c)}, {_size(c)}"),
        _table(
            "Two to four people, by recordings", _few(judged), lambda c: f"{_kind(c)}, {c.corpus}"
        ),
        _table("Two to four people, by sound", _few(judged), lambda c: f"{_kind(c)}, {_where(c)}"),
        _table("By the number of people", judged, lambda c: f"{_kind(c)}, {c.people} people"),
    ]
    minutes = sum(each.seconds for each in judged) / 60
    number = (
        "told how many people there are" if report.told else "not told how many people there are"
    )
    two = sum(each.mixed.heard for each in judged)
    true = sum(each.mixed.truly for each in judged)
    missed = sum(each.mixed.missed for each in judged)
    section = Section(
        facts=(
            *report.origin,
            f"{len(judged)} meetings, {minutes:.0f} minutes; voices that {report.part};"
            f" {report.embedder}; {number}",
            f"Two at once in three tenths of an utterance or more: heard in {two}, which are"
            f" nobody's for it; true of {true} of these, and of {missed} others",
        ),
        tables=(_goals(report), _emotions(report), *_beside(report), *tables),
    )
    return Page(title="How well voices are told apart", sections=(section,), notes=_NOTES)


def trials_section(tried: Mapping[str, Sequence[Judged]]) -> Section:
    """Lay out ways that were tried: two to four people, collar .25, at once / after."""
    rows = []
    for name, judged in tried.items():
        cells = [name]
        for kind in ("neutral", "emotions"):
            chosen = [each for each in _few(judged) if _kind(each.cell) == kind]
            once, final = (
                total(each.once for each in chosen),
                total(each.final for each in chosen),
            )
            cells.append(f"{once.times[1].der:.3f} / {final.times[1].der:.3f}")
            cells.append(f"{final.counted / max(final.meetings, 1):.2f}")
        rows.append(tuple(cells))
    heads = ("", "neutral: DER", "count right", "emotions: DER", "count right")
    return Section(tables=(Table(heads, tuple(rows), "", "lrrrr"),))


def _goals(report: SpeakersReport) -> Table:
    judged, rows = report.judged, []
    for (kind, what), goal in GOALS.items():
        for name in ("neutral", "emotions") if kind == "any" else (kind,):
            chosen = [each for each in _few(judged) if _kind(each.cell) == name]
            if not chosen:
                continue
            value = _value(what, chosen, report.seed)
            words = _WORDS[what]
            met = "met" if goal.met_by(value) else MISSED
            rows.append((f"{name}: {words}", f"{value:.3f}", str(goal), met))
    return Table(("two to four people", "", "goal", ""), tuple(rows), "Goals", "lrll")


def _value(what: str, chosen: Sequence[Judged], seed: int) -> float:
    once, final = (total(e.once for e in chosen), total(e.final for e in chosen))
    read = [each.read for each in chosen]
    match what:
        case "once":
            return once.times[1].der
        case "final":
            return final.times[1].der
        case "count":
            return final.counted / final.meetings
        case "attribution":
            return final.attribution_error
        case "uar once":
            return lost(read, APART, seed)[0]
    return lost(read, AFTER, seed)[0]


def _emotions(report: SpeakersReport) -> Table:
    """Lay out how emotions were read: kinds of meetings, then their recordings."""
    groups: dict[str, list[Judged]] = {}
    for each in report.judged:
        kind = f"{_kind(each.cell)}, {_size(each.cell)}"
        groups.setdefault(kind, []).append(each)
        if each.cell.people <= FEW:
            name = f"{_kind(each.cell)}, 2 to {FEW}, {each.cell.corpus}"
            groups.setdefault(name, []).append(each)
    # What is of all recordings first.
    names = sorted(groups, key=lambda name: "people" not in name)
    rows = []
    for name in names:
        several = [each.read for each in groups[name]]
        found = recognised(several)
        if not found.utterances:
            continue
        cells = [name, f"{found.utterances} / {found.others}"]
        cells += [f"{uar(found.counts[way]):.3f}" for way in WAYS]
        for way in (ONE, APART, AFTER):
            value, low, high = lost(several, way, report.seed)
            cells.append(f"{value:.3f} [{low:.3f}, {high:.3f}]")
        rows.append(tuple(cells))
    heads = (
        "",
        "utterances / not counted",
        "UAR: one past for all",
        "told apart, at once",
        "after",
        "true speakers",
        "below true: one for all",
        "at once",
        "after",
    )
    return Table(heads, tuple(rows), "Emotion of utterances, by whose past", "lrrrrrrrr")


def _beside(report: SpeakersReport) -> tuple[Table, ...]:
    """Lay out what others tell of the same meetings, and ours of those that they heard."""
    if report.peers is None:
        return ()
    both = heard_by_all(report.peers) & {each.name for each in report.judged}
    chosen = [each for each in report.judged if each.name in both]
    rows = (
        row("ours, at once", [(each.cell, each.once) for each in chosen]),
        row("ours, after correction", [(each.cell, each.final) for each in chosen]),
        *peers_rows(report.peers, both.__contains__),
    )
    cells = [each.cell for each in chosen]
    return (compared(cells, rows, "Beside programs of others, same meetings"),)


def _table(title: str, judged: Sequence[Judged], key: Callable[[Cell], str]) -> Table:
    names = list(dict.fromkeys(key(each.cell) for each in judged))
    rows = tuple((name, *_cells([e for e in judged if key(e.cell) == name])) for name in names)
    return Table(("", *_HEADS), rows, title, "lrrrrrrr")


def _cells(judged: Sequence[Judged]) -> Iterator[str]:
    once, final = (total(each.once for each in judged), total(each.final for each in judged))
    time = final.times[1]
    yield f"{len(judged)}"
    for each in (once, final):
        yield " / ".join(f"{times.der:.3f}" for times in each.times)
    lost = (time.missed, time.confused, time.invented)
    yield " / ".join(f"{part / max(time.speech, 1e-9):.3f}" for part in lost)
    yield f"{final.counted / final.meetings:.2f}"
    yield f"{final.labels / final.people:.2f}"
    yield f"{once.attribution_error:.3f} / {final.attribution_error:.3f}"


def _few(judged: Sequence[Judged]) -> list[Judged]:
    return [each for each in judged if each.cell.people <= FEW]


def _kind(cell: Cell) -> str:
    return "emotions" if cell.emotions else "neutral"


def _size(cell: Cell) -> str:
    return f"2 to {FEW} people" if cell.people <= FEW else f"{cell.people} people"


def _where(cell: Cell) -> str:
    return f"room and noise, {NOISE_DB:g} dB" if cell.noisy else "clean"
