"""Charts as SVG that any width fits: what lies in time is placed in per cent; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from streamser.report.figures import Figures, SaidUtterance
from streamser.report.markup import clock, monogram, style_name, text
from streamser.report.measures import MoodPoint, Spread

ZOOMS: Final = (1, 4, 16)
"""How many times as wide as the page the time axis can be."""

LANE: Final = 34
PLOT: Final = 120
_PAD: Final = 9
_LINE_WIDTH: Final = 20_000
_EXTENTS: Final = (0.5, 0.75, 1.0)
_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200)
_TICKS: Final = 9
_DASHES: Final = ("", "7 4", "2 3", "10 3 2 3", "4 2")
_ICON_SHARE: Final = 0.012
_MANY: Final = 400  # utterances, before their marks are drawn smaller
_COLUMNS: Final = 4_000
"""Columns that a time axis is taken to have at most: a screen, zoomed in on a little."""
_QUADRANTS: Final = (
    ("tense", -1, 1, "angry"),
    ("lively", 1, 1, "happy"),
    ("downcast", -1, -1, "sad"),
    ("at ease", 1, -1, "neutral"),
)
_GRID: Final = 120


def extent_of(figures: Figures) -> float:
    """Return the half width of valence and arousal to show: never zoomed in on noise."""
    pairs = [(each.valence, each.arousal) for each in figures.said]
    pairs += [(each.valence, each.arousal) for each in figures.everybody]
    reached = [abs(value) for pair in pairs for value in pair if value is not None]
    return next((size for size in _EXTENTS if max(reached, default=0.0) < size), 1.0)


def draw_axis(length_ms: int) -> str:
    """Draw the marks of a time axis; finer ones are for when it is zoomed in on."""
    marks = []
    seen: set[int] = set()
    for level, zoom in enumerate(ZOOMS):
        aim = max(1.0, length_ms / 1000 / (_TICKS * zoom))
        step = next((each for each in _STEPS_S if each >= aim), 86_400) * 1000
        for number, at in enumerate(range(0, max(1, length_ms - step // 3), step)):
            if at not in seen:
                seen.add(at)
                every = "" if number % 2 == 0 else " odd"
                anchor = "start" if at == 0 else "middle"
                place = _percent(at, length_ms)
                marks.append(
                    f'<text class="z{level}{every}" x="{place}" y="15" text-anchor="{anchor}">'
                    f"{clock(at)}</text>"
                )
    return f'<svg class="axis" height="20" aria-hidden="true">{"".join(marks)}</svg>'


def draw_lanes(figures: Figures) -> str:
    """Draw who spoke when, a lane for each speaker, in the colour of the category."""
    height = LANE * len(figures.talkers)
    parts = []
    for lane in range(len(figures.talkers)):
        y = lane * LANE
        parts.append(f'<line class="rule" x1="0" x2="100%" y1="{y + LANE}" y2="{y + LANE}"/>')
        blocks = merge(figures.said, lane, figures.length_ms)
        parts += [_block(block, y, figures.length_ms) for block in blocks]
    return (
        f'<svg class="lanes{_crowd(figures)}" height="{height}" role="img"'
        f' aria-label="{text(_lanes_in_words(figures))}">{"".join(parts)}</svg>'
    )


def _crowd(figures: Figures) -> str:
    return " many" if len(figures.said) > _MANY else ""


def _block(block: LaneBlock, y: int, length_ms: int) -> str:
    start, width = block.start_ms, max(block.end_ms - block.start_ms, 1)
    name = style_name(block.category)
    opacity = 0.45 + 0.55 * block.confidence
    box = (
        f'<rect class="block" data-u="{block.number}" data-category="{name}"'
        f' x="{_percent(start, length_ms)}" y="{y + 6}" width="{_percent(width, length_ms)}"'
        f' height="{LANE - 11}" rx="3" style="--o:{opacity:.2f}"/>'
    )
    share = width / max(1, length_ms)
    if share < _ICON_SHARE / ZOOMS[-1] or block.category is None:
        return box
    level = next(i for i, zoom in enumerate(ZOOMS) if share * zoom >= _ICON_SHARE)
    small = " small" if share < 3.5 * _ICON_SHARE else ""
    middle = _percent(start + width // 2, length_ms)
    mark = (
        f'<svg class="mark z{level}{small}" x="{middle}" y="{y + LANE // 2}">'
        f'<use href="#i-{name}" x="-5.5" y="-6" width="11" height="11"/></svg>'
    )
    return box + mark


def _lanes_in_words(figures: Figures) -> str:
    names = ", ".join(
        f"{each.name or 'speaker'} {round(100 * each.share)} %" for each in figures.talkers
    )
    return f"Who spoke when, and what it sounded like: {names} of the speaking time"


def draw_plot(figures: Figures, dimension: str, extent: float) -> str:
    """Draw ``"valence"`` or ``"arousal"`` over time: lines of moods, dots of utterances."""
    rules = "".join(
        f'<line class="{"zero" if level == 0 else "rule"}" x1="0" x2="100%"'
        f' y1="{_y(level, extent)}" y2="{_y(level, extent)}"/>'
        for level in (extent, 0.0, -extent)
    )
    traces = "".join(_trace(each, dimension, extent, figures.length_ms) for each in figures.said)
    lines = ""
    if len(figures.talkers) > 1:
        lines = "".join(
            _line(talker.line, dimension, extent, figures.length_ms, number)
            for number, talker in enumerate(figures.talkers)
        )
    lines += _line(figures.everybody, dimension, extent, figures.length_ms, None)
    dots = "".join(_dots(figures, dimension, extent))
    return (
        f'<svg class="plot{_crowd(figures)}" height="{PLOT}" role="img" aria-label="'
        f'{text(_plot_in_words(figures, dimension))}">{rules}'
        f'<svg viewBox="0 0 {_LINE_WIDTH} {PLOT}" preserveAspectRatio="none" width="100%"'
        f' height="{PLOT}">{traces}{lines}</svg>{dots}</svg>'
    )


def _plot_in_words(figures: Figures, dimension: str) -> str:
    values = [value for each in figures.said if (value := getattr(each, dimension)) is not None]
    if not values:
        return f"{dimension}: not measured"
    return (
        f"{dimension} over time, from {min(values):.2f} to {max(values):.2f};"
        " every value is in the transcript"
    )


def _trace(said: SaidUtterance, dimension: str, extent: float, length_ms: int) -> str:
    readings = [
        (each.at_ms, value)
        for each in said.trace
        if (value := getattr(each, dimension)) is not None
    ]
    final = getattr(said, dimension)
    if final is not None and readings and said.end_ms > readings[-1][0]:
        readings.append((said.end_ms, final))
    points = thin(readings, length_ms)
    if len(points) < 2:
        return ""
    colour = said.talker % 10
    return f'<polyline class="trace" data-speaker="{colour}" points="' + (
        _points(points, extent, length_ms) + '"/>'
    )


def _line(
    line: Sequence[MoodPoint], dimension: str, extent: float, length_ms: int, number: int | None
) -> str:
    values = [
        (each.at_ms, value) for each in line if (value := getattr(each, dimension)) is not None
    ]
    points = thin(values, length_ms)
    if len(points) < 2:
        return ""
    if number is None:
        return f'<polyline class="mood" points="{_points(points, extent, length_ms)}"/>'
    dash = f' stroke-dasharray="{dash_of(number)}"' if dash_of(number) else ""
    return (
        f'<polyline class="mood" data-speaker="{number % 10}"{dash}'
        f' points="{_points(points, extent, length_ms)}"/>'
    )


def dash_of(number: int) -> str:
    """Return the dashes of a speaker's line: what tells lines apart beside colour."""
    return _DASHES[number % len(_DASHES)]


def _dots(figures: Figures, dimension: str, extent: float) -> Iterable[str]:
    seen: set[tuple[int, float, int]] = set()
    for number, each in enumerate(figures.said):
        value = getattr(each, dimension)
        if value is None:
            continue
        middle = (each.start_ms + each.end_ms) // 2
        y = _y(value, extent)
        key = (middle * 4000 // max(1, figures.length_ms), y, each.talker)
        if key not in seen:
            seen.add(key)
            sure = 1 - min(1.0, max(0.0, each.uncertainty or 0.0))
            yield (
                f'<circle class="dot" data-u="{number}" data-speaker="{each.talker % 10}"'
                f' cx="{_percent(middle, figures.length_ms)}" cy="{y}" r="3.6"'
                f' style="--o:{0.4 + 0.6 * sure:.2f}"/>'
            )


def draw_bins(spread: Spread, unit: str) -> str:
    """Draw a histogram; ``unit`` says what stands at its right end."""
    most = max(spread.bins)
    width = 100 / len(spread.bins)
    bars = "".join(
        f'<rect class="bin" x="{_number(number * width + 0.3)}%" width="{_number(width - 0.6)}%"'
        f' y="{_number(40 - 38 * count / most)}" height="{_number(38 * count / most)}" rx="1.5"/>'
        for number, count in enumerate(spread.bins)
        if count
    )
    middle = min(100.0, 100 * spread.median / spread.high)
    return (
        f'<svg class="bins" height="58" role="img" aria-label="{text(spread.name)}:'
        f' {spread.count} values from 0 to {spread.high:g} {text(unit)}">{bars}'
        '<line class="zero" x1="0" x2="100%" y1="40.5" y2="40.5"/>'
        f'<line class="median" x1="{_number(middle)}%" x2="{_number(middle)}%" y1="0" y2="40"/>'
        f'<text x="0" y="55">0</text><text x="100%" y="55" text-anchor="end">'
        f"{spread.high:g} {text(unit)}</text></svg>"
    )


def _points(points: Sequence[tuple[int, float]], extent: float, length_ms: int) -> str:
    return " ".join(
        f"{round(_LINE_WIDTH * at / max(1, length_ms))},{_y(value, extent)}" for at, value in points
    )


def _y(value: float, extent: float) -> float:
    part = min(1.0, max(-1.0, value / extent))
    return round(PLOT / 2 - part * (PLOT / 2 - _PAD), 1)


def _percent(ms: int, length_ms: int) -> str:
    return _number(100 * ms / max(1, length_ms), 4) + "%"


def _number(value: float, places: int = 2) -> str:
    return f"{value:.{places}f}".rstrip("0").rstrip(".") or "0"


class LaneBlock(msgspec.Struct, frozen=True):
    """Hold a stretch of one speaker and one category; ``number`` is its first utterance."""

    number: int
    start_ms: int
    end_ms: int
    category: str | None
    confidence: float


def thin(points: Sequence[tuple[int, float]], length_ms: int) -> list[tuple[int, float]]:
    """Keep of each column the first, lowest, highest and last point: a line looks as it did."""
    kept: list[tuple[int, float]] = []
    column: list[tuple[int, float]] = []
    now = -1
    for point in points:
        place = point[0] * _COLUMNS // max(1, length_ms)
        if place != now:
            kept += _ends(column)
            column, now = [], place
        column.append(point)
    return kept + _ends(column)


def _ends(column: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    if len(column) <= 4:
        return list(column)
    values = [value for _, value in column]
    places = {0, values.index(min(values)), values.index(max(values)), len(column) - 1}
    return [column[place] for place in sorted(places)]


def merge(said: Sequence[SaidUtterance], talker: int, length_ms: int) -> Iterator[LaneBlock]:
    """Yield the blocks of a speaker's lane; alike ones that no column parts become one."""
    gap = length_ms / _COLUMNS
    held: LaneBlock | None = None
    for number, each in enumerate(said):
        if each.talker != talker:
            continue
        block = LaneBlock(number, each.start_ms, each.end_ms, each.category, each.confidence)
        if held is None:
            held = block
        elif held.category == block.category and _narrow(held, block, gap):
            held = msgspec.structs.replace(held, end_ms=max(held.end_ms, block.end_ms))
        else:
            yield held
            held = block
    if held is not None:
        yield held


def _narrow(held: LaneBlock, block: LaneBlock, gap: float) -> bool:
    """Return whether both are too narrow, and too near, to be seen as two."""
    small = min(held.end_ms - held.start_ms, block.end_ms - block.start_ms)
    return small < 2 * gap and block.start_ms - held.end_ms < gap


_WIDTH, _HEIGHT = 380, 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 22, 8, 372, 276


def draw_plane(figures: Figures, extent: float) -> str:
    """Draw every utterance by its category, and where each speaker was on average."""
    parts = [_field(extent)]
    seen = set()
    for number, each in enumerate(figures.said):
        if each.valence is None or each.arousal is None:
            continue
        x, y = _place(each.valence, each.arousal, extent)
        key = (round(x * _GRID / _WIDTH), round(y * _GRID / _WIDTH), each.category)
        if key in seen:
            continue
        seen.add(key)
        sure = 1 - min(1.0, max(0.0, each.uncertainty or 0.0))
        name = style_name(each.category)
        parts.append(
            f'<use class="point" data-u="{number}" data-category="{name}" href="#i-{name}"'
            f' x="{x - 5.5:.1f}" y="{y - 5.5:.1f}" width="11" height="11"'
            f' style="--o:{0.35 + 0.65 * sure:.2f}"/>'
        )
    parts += _means(figures, extent)
    return (
        f'<svg class="plane" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' aria-label="{text(_in_words(figures))}">{"".join(parts)}</svg>'
    )


def _field(extent: float) -> str:
    width, height = _RIGHT - _LEFT, _BOTTOM - _TOP
    middle_x, middle_y = _LEFT + width / 2, _TOP + height / 2
    glows, fills, names = [], [], []
    for name, right, up, category in _QUADRANTS:
        x, y = _LEFT + width * (right > 0), _TOP + height * (up < 0)
        glows.append(
            f'<radialGradient id="g-{category}" gradientUnits="userSpaceOnUse" cx="{x}" cy="{y}"'
            f' r="220"><stop stop-color="var(--c-{category})" stop-opacity=".2"/>'
            f'<stop offset="1" stop-color="var(--c-{category})" stop-opacity="0"/>'
            "</radialGradient>"
        )
        fills.append(
            f'<rect x="{_LEFT}" y="{_TOP}" width="{width}" height="{height}" rx="10"'
            f' fill="url(#g-{category})"/>'
        )
        anchor = "end" if right > 0 else "start"
        place = x - 10 * right
        names.append(
            f'<text class="corner" x="{place}" y="{_TOP + 18 if up > 0 else _BOTTOM - 10}"'
            f' text-anchor="{anchor}">{name}</text>'
        )
    size = f"{extent:g}".lstrip("0")
    return (
        f"<defs>{''.join(glows)}</defs>{''.join(fills)}"
        f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{width}" height="{height}" rx="10"/>'
        f'<path class="zero" d="M{_LEFT} {middle_y}H{_RIGHT}M{middle_x} {_TOP}V{_BOTTOM}"/>'
        f"{''.join(names)}"
        f'<text x="{_LEFT}" y="{_BOTTOM + 17}">−{size} unpleasant</text>'
        f'<text x="{_RIGHT}" y="{_BOTTOM + 17}" text-anchor="end">pleasant +{size}</text>'
        f'<text transform="translate({_LEFT - 8} {_BOTTOM})rotate(-90)">−{size} calm</text>'
        f'<text transform="translate({_LEFT - 8} {_TOP})rotate(-90)" text-anchor="end">'
        f"excited +{size}</text>"
    )


def _means(figures: Figures, extent: float) -> list[str]:
    if len(figures.talkers) < 2:
        return []
    parts = []
    for number, each in enumerate(figures.talkers[:10]):
        if each.valence is not None and each.arousal is not None:
            x, y = _place(each.valence, each.arousal, extent)
            name = each.name or "Speaker"
            parts.append(
                f'<g class="mean" data-speaker="{number % 10}"><title>{text(name)}, mean</title>'
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="11"/><text x="{x:.1f}"'
                f' y="{y + 3.2:.1f}" text-anchor="middle">{text(monogram(name))}'
                "</text></g>"
            )
    return parts


def _place(valence: float, arousal: float, extent: float) -> tuple[float, float]:
    x, y = (min(1.0, max(-1.0, value / extent)) for value in (valence, arousal))
    return (
        _LEFT + (_RIGHT - _LEFT) * (x + 1) / 2,
        _TOP + (_BOTTOM - _TOP) * (1 - y) / 2,
    )


def _in_words(figures: Figures) -> str:
    known = sum(each.valence is not None and each.arousal is not None for each in figures.said)
    if not known:
        return "Valence and arousal: not measured"
    return f"Valence and arousal of {known} utterances; every value is in the transcript"
