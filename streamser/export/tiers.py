"""Who speaks, words and emotions as intervals: Praat's TextGrid, ELAN's EAF, NIST's RTTM."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree as ET

from streamser.export.records import Timeline, UtteranceRecord
from streamser.text import flat

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_LINGUISTIC_TYPE = "default-lt"


class Interval(NamedTuple):
    """A stretch of time with what stands in it, in ms."""

    start_ms: int
    end_ms: int
    text: str


class Tier(NamedTuple):
    """Intervals one after another, without gaps, from 0 to the end."""

    name: str
    intervals: tuple[Interval, ...]


def to_textgrid(timeline: Timeline) -> str:
    """Write a TextGrid in Praat's long text form, UTF-8, times in s."""
    end = _length(timeline)
    tiers = tiers_of(timeline)
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {_seconds(end)}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, tier in enumerate(tiers, 1):
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(tier.name)}",
            "        xmin = 0",
            f"        xmax = {_seconds(end)}",
            f"        intervals: size = {len(tier.intervals)}",
        ]
        for index, interval in enumerate(tier.intervals, 1):
            lines += [
                f"        intervals [{index}]:",
                f"            xmin = {_seconds(interval.start_ms)}",
                f"            xmax = {_seconds(interval.end_ms)}",
                f"            text = {_quoted(interval.text)}",
            ]
    return "\n".join(lines) + "\n"


def to_eaf(timeline: Timeline) -> str:
    """Write ELAN's annotation format, EAF 3.0: XML, times in ms.

    The tiers are those of ``tiers_of``; where nothing is said there is no annotation.
    """
    ET.register_namespace("xsi", _INSTANCE)
    began = min((each.began for each in timeline.sessions if each.began is not None), default=0)
    document = ET.Element(
        "ANNOTATION_DOCUMENT",
        AUTHOR="streamser",
        DATE=datetime.fromtimestamp(began / 1000, UTC).isoformat(timespec="seconds"),
        FORMAT="3.0",
        VERSION="3.0",
        attrib={f"{{{_INSTANCE}}}noNamespaceSchemaLocation": _SCHEMA},
    )
    header = ET.SubElement(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if timeline.sound is not None:
        kind = mimetypes.guess_type(timeline.sound)[0] or "audio/x-wav"
        ET.SubElement(
            header, "MEDIA_DESCRIPTOR", MEDIA_URL=_address(timeline.sound), MIME_TYPE=kind
        )
    order = ET.SubElement(document, "TIME_ORDER")
    slots: list[tuple[int, str]] = []
    numbers = count(1)
    for name, intervals in tiers_of(timeline):
        tier = ET.SubElement(
            document, "TIER", LINGUISTIC_TYPE_REF=_LINGUISTIC_TYPE, TIER_ID=flat(name)
        )
        for start, end, text in intervals:
            if not text:
                continue
            number = next(numbers)
            ends = f"ts{2 * number - 1}", f"ts{2 * number}"
            slots += zip((start, end), ends, strict=True)
            placed = ET.SubElement(
                ET.SubElement(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                ANNOTATION_ID=f"a{number}",
                TIME_SLOT_REF1=ends[0],
                TIME_SLOT_REF2=ends[1],
            )
            ET.SubElement(placed, "ANNOTATION_VALUE").text = text
    for at_ms, slot in sorted(slots, key=lambda each: each[0]):
        ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(at_ms))
    ET.SubElement(
        document,
        "LINGUISTIC_TYPE",
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID=_LINGUISTIC_TYPE,
        TIME_ALIGNABLE="true",
    )
    ET.indent(document)
    body = ET.tostring(document, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def to_rttm(timeline: Timeline) -> str:
    """Write who speaks when as RTTM, NIST's format for scoring of diarisation, times in s.

    A line a turn: ``SPEAKER``, file, channel, onset, duration, speaker, and ``<NA>`` for the rest.
    Fields have no blanks, which are written as ``_``.
    """
    sound = timeline.sound or next((each.session_id for each in timeline.sessions), "")
    file = _field(Path(sound.replace("\\", "/")).stem)
    lines = []
    for each in timeline.utterances:
        start, end = _span(each)
        place = f"{start / 1000:.3f} {(end - start) / 1000:.3f}"
        speaker = _field(each.speaker or "speaker")
        lines.append(f"SPEAKER {file} 1 {place} <NA> <NA> {speaker} <NA> <NA>\n")
    return "".join(lines)


def _field(text: str) -> str:
    return "_".join(flat(text).split()) or "_"


def _address(sound: str) -> str:
    """Return a file's address; one that is not to be found from here stands beside the document."""
    path = Path(sound)
    if path.is_absolute() or path.is_file():
        return path.absolute().as_uri()
    return quote(f"./{path.name}")


def tiers_of(timeline: Timeline) -> list[Tier]:
    """Return a tier of who speaks, then for each speaker words, transcript and category.

    Intervals of a tier cannot overlap: where two speak at once the first tier has both names,
    and each speaker has tiers of their own, called after them where there are several. There
    is no tier of words where none has a time.
    """
    end = _length(timeline)
    speakers = timeline.speakers
    tiers = [Tier("speakers", _filled(_speaking(timeline), end))]
    for speaker in speakers or (None,):
        said = [each for each in timeline.utterances if each.speaker == speaker]
        before = f"{flat(speaker or '') or 'speaker'} " if len(speakers) > 1 else ""
        words = [
            Interval(max(word.start_ms, each.start_ms), min(word.end_ms, each.end_ms), word.word)
            for each in said
            for word in each.words
        ]
        if words:
            tiers.append(Tier(f"{before}words", _filled(words, end)))
        texts = [Interval(*_span(each), each.text) for each in said]
        tiers.append(Tier(f"{before}transcript", _filled(texts, end)))
        found = [Interval(*_span(each), _category(each)) for each in said]
        tiers.append(Tier(f"{before}category", _filled(found, end)))
    return tiers


def _length(timeline: Timeline) -> int:
    # Praat reads no tier that has no length.
    return max(1, timeline.length_ms)


def _span(utterance: UtteranceRecord) -> tuple[int, int]:
    # Nor an interval.
    return utterance.start_ms, max(utterance.start_ms + 1, utterance.end_ms)


def _category(utterance: UtteranceRecord) -> str:
    emotion = utterance.judged
    return "" if emotion is None else emotion.category


def _speaking(timeline: Timeline) -> Iterator[Interval]:
    """Yield who speaks between any two moments at which that changes."""
    spans = [(*_span(each), flat(each.speaker or "") or "speaker") for each in timeline.utterances]
    moments = sorted({moment for start, end, _ in spans for moment in (start, end)})
    open_now: list[tuple[int, int, str]] = []
    waiting = sorted(spans, reverse=True)
    for start, end in pairwise(moments):
        while waiting and waiting[-1][0] <= start:
            open_now.append(waiting.pop())
        open_now = [span for span in open_now if span[1] > start]
        names = dict.fromkeys(name for _, _, name in open_now)
        if names:
            yield Interval(start, end, " + ".join(names))


def _filled(intervals: Iterable[Interval], end: int) -> tuple[Interval, ...]:
    """Put intervals in order, cut what overlaps, and fill the gaps; empty texts too are told."""
    filled: list[Interval] = []
    at = 0
    for start, stop, text in sorted(intervals):
        begin, stop = min(max(start, at), end), min(stop, end)
        if begin >= stop:
            # No room of its own: it is told with the one before.
            if filled and flat(text):
                before = filled[-1]
                joined = " ".join(part for part in (before.text, flat(text)) if part)
                filled[-1] = before._replace(text=joined)
            continue
        if begin > at:
            filled.append(Interval(at, begin, ""))
        filled.append(Interval(begin, stop, flat(text)))
        at = stop
    if at < end:
        filled.append(Interval(at, end, ""))
    return tuple(filled)


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.3f}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
