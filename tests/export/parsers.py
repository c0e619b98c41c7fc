"""Readers of the formats, written from their descriptions and not from our writers."""

from __future__ import annotations

import html
import re
from typing import NamedTuple

__all__ = ["GridTier", "Shown", "parse_srt", "parse_textgrid", "parse_vtt"]


class Shown(NamedTuple):
    """What a player shows, in ms; ``classes`` and ``voice`` are WebVTT's alone."""

    start: int
    end: int
    text: str
    voice: str | None = None
    classes: tuple[str, ...] = ()


class GridTier(NamedTuple):
    """A tier of intervals: start and end in s, and a label."""

    name: str
    intervals: list[tuple[float, float, str]]


_SRT_SPAN = re.compile(r"(\d{2,}):(\d\d):(\d\d),(\d{3}) --> (\d{2,}):(\d\d):(\d\d),(\d{3})")
_VTT_SPAN = re.compile(r"(\d{2,}):(\d\d):(\d\d)\.(\d{3}) --> (\d{2,}):(\d\d):(\d\d)\.(\d{3})")


def parse_srt(text: str) -> list[Shown]:
    """Read SubRip as players do: blocks between blank lines; number, span, lines of text."""
    shown = []
    for number, block in enumerate(_blocks(text), 1):
        assert block[0] == str(number), block
        start, end = _span(_SRT_SPAN, block[1])
        shown.append(Shown(start, end, "\n".join(block[2:])))
    return shown


def parse_vtt(text: str) -> list[Shown]:
    """Read WebVTT: a header, styles, cues with voices and classes; entities are decoded."""
    head, *blocks = _blocks(text)
    assert head == ["WEBVTT"], head
    shown: list[Shown] = []
    for block in blocks:
        if block[0] == "STYLE":
            assert not shown, "styles stand before all cues"
            assert not any("-->" in line for line in block)
            continue
        span = next(index for index, line in enumerate(block) if "-->" in line)
        assert span <= 1, "at most a name stands before the span"
        start, end = _span(_VTT_SPAN, block[span])
        body = "\n".join(block[span + 1 :])
        assert "-->" not in body
        shown.append(Shown(start, end, *_cue_text(body)))
    return shown


def _cue_text(body: str) -> tuple[str, str | None, tuple[str, ...]]:
    voice: str | None = None
    classes: list[str] = []
    words: list[str] = []
    open_tags: list[str] = []
    for piece in re.split(r"(<[^>]*>)", body):
        if not piece.startswith("<"):
            assert "<" not in piece
            assert re.fullmatch(r"([^&]|&(amp|lt|gt);)*", piece, re.DOTALL), piece
            words.append(html.unescape(piece))
        elif piece.startswith("</"):
            assert piece[2:-1] == open_tags.pop(), body
        else:
            name, _, annotation = piece[1:-1].partition(" ")
            tag, *found = name.split(".")
            open_tags.append(tag)
            classes += found
            if tag == "v":
                assert annotation
                voice = html.unescape(annotation)
            else:
                assert tag == "c"
    assert not open_tags, body
    return "".join(words), voice, tuple(classes)


def _blocks(text: str) -> list[list[str]]:
    lines = text.split("\n")
    assert "\r" not in text
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line:
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _span(pattern: re.Pattern[str], line: str) -> tuple[int, int]:
    match = pattern.fullmatch(line)
    assert match is not None, line
    numbers = [int(number) for number in match.groups()]
    start, end = (
        ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms
        for hours, minutes, seconds, ms in (numbers[:4], numbers[4:])
    )
    assert end > start
    return start, end


def parse_textgrid(text: str) -> list[GridTier]:
    """Read Praat's text form as Praat does: the numbers, flags and strings, in their order.

    Everything else is for people; a quote within a string is doubled.
    """
    pattern = re.compile(r'"((?:[^"]|"")*)"|(<exists>)|(?<![\w\[])(-?\d+(?:\.\d+)?)(?![\w\]])')
    tokens = [
        match[1].replace('""', '"') if match[1] is not None else match[2] or float(match[3])
        for match in pattern.finditer(text)
    ]
    tokens.reverse()

    def take(kind: type) -> object:
        token = tokens.pop()
        assert isinstance(token, kind), token
        return token

    def number() -> float:
        return float(str(take(float)))

    def string() -> str:
        return str(take(str))

    assert (string(), string()) == ("ooTextFile", "TextGrid")
    begin, end = number(), number()
    assert begin == 0 < end
    assert string() == "<exists>"
    tiers = []
    for _ in range(int(number())):
        assert string() == "IntervalTier"
        tier = GridTier(string(), [])
        assert (number(), number()) == (begin, end)
        at = begin
        for _ in range(int(number())):
            start, stop, label = number(), number(), string()
            assert start == at < stop, "intervals follow one another without gaps"
            tier.intervals.append((start, stop, label))
            at = stop
        assert at == end
        tiers.append(tier)
    assert not tokens
    return tiers
