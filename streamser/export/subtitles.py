"""Subtitles with emotions: SubRip (SRT) and WebVTT."""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from streamser.events import WordTiming
from streamser.export.records import Timeline, UtteranceRecord
from streamser.speech.hypothesis import units
from streamser.text import direction_mark, flat

_LONGEST_MS = 7_000
_MOST_COLUMNS = 84  # two lines of 42, as subtitles usually have

_COLOURS = {
    "happy": "#ffe082",
    "sad": "#90caf9",
    "angry": "#ef9a9a",
    "unsure": "#bdbdbd",
}
_NEVER_FIRST: Final = frozenset("ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶゝゞヽヾ々ๆฯໆ")
"""Signs that no line begins with: they belong to the one before."""
_LEADING: Final = frozenset("เแโใไເແໂໃໄ")
"""Vowels of Thai and Lao that stand before the consonant they belong to."""


class Cue(msgspec.Struct, frozen=True):
    """Hold what stands on the screen at once; ``text`` has no line breaks, or is empty."""

    start_ms: int
    end_ms: int
    text: str
    category: str | None
    speaker: str | None


def cues_of(timeline: Timeline) -> Iterator[Cue]:
    """Yield what there is to show; long utterances in parts, where their words have times.

    An utterance of which there are neither words nor an emotion is not shown.
    """
    cues = []
    for utterance in timeline.utterances:
        emotion = utterance.judged
        category = None if emotion is None else flat(emotion.category)
        speaker = flat(utterance.speaker or "") or None
        for start, end, text in _parts(utterance):
            if text or category:
                cues.append(Cue(start, max(end, start + 1), text, category, speaker))
    return iter(sorted(cues, key=lambda cue: cue.start_ms))


def to_srt(timeline: Timeline) -> str:
    """Write SubRip: ``[happy] Anna: words``, in the direction of the words.

    The format has no escapes; players take ``<b>`` and its like for styles.
    """
    blocks = []
    for number, cue in enumerate(cues_of(timeline), 1):
        span = f"{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}"
        tag = None if cue.category is None else f"[{cue.category}]"
        name = None if cue.speaker is None else f"{cue.speaker}:"
        line = " ".join(part for part in (tag, name, cue.text) if part)
        line = direction_mark(line, cue.text) + line
        blocks.append(f"{number}\n{span}\n{line}\n")
    return "\n".join(blocks)


def to_vtt(timeline: Timeline) -> str:
    """Write WebVTT: ``<v Anna><c.happy>[happy] words</c></v>``, and a colour for each class.

    Each line has the direction of its words.
    """
    cues = list(cues_of(timeline))
    names = dict.fromkeys(cue.category for cue in cues if cue.category is not None)
    styles = [
        f"::cue(.{_class(name)}) {{ color: {_COLOURS[name]} }}"
        for name in names
        if name in _COLOURS
    ]
    head = "WEBVTT\n" + ("\nSTYLE\n" + "\n".join(styles) + "\n" if styles else "")
    blocks = [head]
    for number, cue in enumerate(cues, 1):
        span = f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}"
        body = _escaped(cue.text)
        if cue.category is not None:
            tag = f"[{_escaped(cue.category)}]"
            line = f"{tag} {body}".strip()
            line = direction_mark(line, cue.text) + line
            body = f"<c.{_class(cue.category)}>{line}</c>"
        if cue.speaker is not None:
            body = f"<v {_escaped(cue.speaker)}>{body}</v>"
        blocks.append(f"{number}\n{span}\n{body}\n")
    return "\n".join(blocks)


def _parts(utterance: UtteranceRecord) -> Iterator[tuple[int, int, str]]:
    """Cut an utterance where it is too long to be read at once; start, end, words."""
    text = flat(utterance.text)
    long = width(text) > _MOST_COLUMNS or utterance.end_ms - utterance.start_ms > _LONGEST_MS
    pieces = pieces_of(text, utterance.words) if long else []
    if not pieces:
        yield utterance.start_ms, utterance.end_ms, text
        return
    start = utterance.start_ms
    groups = list(_groups(pieces))
    for index, group in enumerate(groups):
        last = index == len(groups) - 1
        end = utterance.end_ms if last else max(start, groups[index + 1][0].start_ms)
        end = min(end, utterance.end_ms)
        yield start, end, "".join(piece.text for piece in group).strip()
        start = end


def _groups(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    group: list[Piece] = []
    columns = 0
    for piece in pieces:
        size = width(piece.text if group else piece.text.lstrip())
        longer = group and piece.end_ms - group[0].start_ms > _LONGEST_MS
        if group and (longer or columns + size > _MOST_COLUMNS):
            yield group
            group, columns = [], 0
            size = width(piece.text.lstrip())
        group.append(piece)
        columns += size
    if group:
        yield group


def _clock(ms: int, point: str) -> str:
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _class(category: str) -> str:
    return re.sub(r"[^\w-]+", "-", category) or "other"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Piece(msgspec.Struct, frozen=True):
    """Hold what is never cut, with the blank before it, and when it was said in ms."""

    start_ms: int
    end_ms: int
    text: str


def width(text: str) -> int:
    """Return how many columns a text takes: two for a wide character (Unicode's UAX #11)."""
    return sum(_columns(each) for each in text)


def pieces_of(text: str, words: Sequence[WordTiming]) -> list[Piece]:
    """Cut a flat text at its words; joined, the pieces are the text again.

    What recognisers time is not always a word: ``two`` and ``-bedroom``, ``d`` and ``'avoir``,
    ``3`` and ``.5`` are one piece each, since no blank is between them. In scripts without
    spaces a piece ends where what was timed does. No pieces where the words are not those of
    the text, whatever the blanks.
    """
    spans = _spans(text, words)
    if not spans:
        return []
    starts = {start for start, _, _ in spans}
    cuts = [place for place in _breaks(text) if _past_blanks(text, place) in starts]
    return list(_timed(text, [0, *cuts, len(text)], spans))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _spans(text: str, words: Sequence[WordTiming]) -> list[tuple[int, int, WordTiming]]:
    """Find the words in the text, in their order; none where they are not all of it."""
    spans = []
    place = 0
    for word in words:
        said = flat(word.word)
        if not said:
            continue
        place = _past_blanks(text, place)
        if not text.startswith(said, place):
            return []
        spans.append((place, place + len(said), word))
        place += len(said)
    return spans if not text[place:].strip() else []


def _past_blanks(text: str, place: int) -> int:
    return len(text) - len(text[place:].lstrip())


def _breaks(text: str) -> Iterator[int]:
    """Yield where a line may end before: blanks, and characters of scripts without spaces."""
    place = 0
    for unit in units(text):
        letter = unit.lstrip()[:1]
        bound = letter in _NEVER_FIRST or text[place - 1 : place] in _LEADING
        if place and (unit[:1].isspace() or not bound):
            yield place
        place += len(unit)


def _timed(
    text: str, cuts: Sequence[int], spans: Sequence[tuple[int, int, WordTiming]]
) -> Iterator[Piece]:
    spoken = deque(spans)
    for begin, end in pairwise(cuts):
        held = []
        while spoken and spoken[0][0] < end:
            held.append(spoken.popleft()[2])
        yield Piece(held[0].start_ms, held[-1].end_ms, text[begin:end])
