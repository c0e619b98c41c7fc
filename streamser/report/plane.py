"""The valence-arousal plane as SVG; pure."""

from __future__ import annotations

from typing import Final

from streamser.report.figures import Figures
from streamser.report.markup import monogram, style_name, text

__all__ = ["draw_plane"]

_WIDTH, _HEIGHT = 380, 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 22, 8, 372, 276
_QUADRANTS: Final = (
    ("tense", -1, 1, "angry"),
    ("lively", 1, 1, "happy"),
    ("downcast", -1, -1, "sad"),
    ("at ease", 1, -1, "neutral"),
)
_GRID: Final = 120


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
