"""The report as one page of HTML that needs nothing else; pure, but for its own assets."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from urllib.parse import quote

from streamser import __version__
from streamser.report import cards, charts
from streamser.report.cards import SoundClip, transcript_card
from streamser.report.figures import Figures
from streamser.report.markup import SYMBOLS, day, sign, text

NOTICE = (
    "Readings are guesses about how speech sounds. They are not facts about what people feel or"
    " are, they are often wrong, and <em>unsure</em> is an honest answer. In the EU it is"
    " prohibited to infer emotions of people at work or in education (AI Act, Regulation (EU)"
    " 2024/1689, Art.&nbsp;5(1)(f)). This page holds what people said: share it only with their"
    " consent."
)

_LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32"'
    ' rx="8" fill="#2a3568"/><g fill="none" stroke-linecap="round" stroke-width="3"><path'
    ' stroke="#56b4e9" d="M8 13v6"/><path stroke="#35c2a0" d="M13.3 8.5v15"/><path'
    ' stroke="#f0b429" d="M18.6 11v10"/><path stroke="#f2703d" d="M24 14v4"/></g></svg>'
)
_MOON = (
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8"'
    ' aria-hidden="true"><path d="M20 14.5A8.2 8.2 0 0 1 9.5 4a8.2 8.2 0 1 0 10.5 10.5z"/></svg>'
)


def render_page(figures: Figures, clips: Sequence[SoundClip] = ()) -> str:
    """Write a report as HTML; the same figures and sound give the same bytes.

    Styles, script, pictures and sound are all inside, and a policy of the page forbids the
    network. Every word of the recording is escaped.
    """
    style, script = _asset("report.css"), _asset("report.js")
    # The policy names the one script by its hash: nothing that somebody said can be another.
    allowed = b64encode(sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{allowed}'; style-src 'unsafe-inline';"
        " img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )
    title = text(figures.title)
    logo = _LOGO.replace("<svg ", '<svg aria-hidden="true" ')
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="streamser {__version__}">
<title>{title} · streamser</title>
<link rel="icon" href="data:image/svg+xml,{quote(_LOGO)}">
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
{SYMBOLS}
<header class="bar">
  <div class="brand">{logo}<span>streamser</span></div>
  <div class="where"><h1 dir="auto">{title}</h1>\
<span class="muted">{day(figures.began)}</span></div>
  <button type="button" id="theme" class="button quiet round" aria-label="Switch between light and\
 dark colours" hidden>{_MOON}</button>
</header>
<main id="main" tabindex="-1" data-length="{figures.length_ms}">
{cards.gaps_notice(figures)}{cards.summary_card(figures)}
{_timeline_card(figures)}
<div class="columns">
{transcript_card(figures, clips)}
<div class="side">
{_plane_card(figures)}
{cards.talkers_card(figures)}
{cards.shifts_card(figures)}
{cards.categories_card(figures)}
{cards.uncertainty_card(figures)}
{cards.latency_card(figures)}
</div>
</div>
</main>
<footer>
<p>{NOTICE}</p>
{cards.about(figures)}
</footer>
{_player(clips)}<div class="tip" id="tip" aria-hidden="true" hidden></div>
<script>{script}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return files("streamser.report").joinpath("assets", name).read_text(encoding="utf-8")


def _timeline_card(figures: Figures) -> str:
    if not figures.said:
        return ""
    extent = charts.extent_of(figures)
    size = f"{extent:g}".lstrip("0")
    several = len(figures.talkers) > 1
    names = "".join(
        f'<div class="lane-name">{sign(number, each.name or "Speaker")}'
        f"<bdi>{text(each.name or 'Speaker')}</bdi></div>"
        for number, each in enumerate(figures.talkers)
    )
    plots = "".join(
        f'<div class="plot-name"><b>{name}</b><span><i class="hint">{high} </i>+{size}</span>'
        f'<span>0</span><span><i class="hint">{low} </i>−{size}</span></div>'
        for name, low, high in (
            ("Valence", "unpleasant", "pleasant"),
            ("Arousal", "calm", "excited"),
        )
    )
    zooms = "".join(
        f'<button type="button" class="chip" data-zoom="{zoom}" aria-pressed='
        f'"{"true" if zoom == 1 else "false"}">{"All" if zoom == 1 else f"{zoom} ×"}</button>'
        for zoom in charts.ZOOMS
    )
    return f"""<section class="card timeline" aria-labelledby="timeline-title">
<div class="card-head"><h2 id="timeline-title">Over time</h2><span class="small muted hint">Choose\
 an utterance to <span class="if-sound">hear it, or to </span>read it</span><div class="zoom"\
 role="group" aria-label="Width of the time axis" hidden>{zooms}</div></div>
<div class="tracks" data-zoom="1">
<div class="names" aria-hidden="true">{names}{plots}</div>
<div class="scroller" tabindex="0" role="group" aria-label="Timeline, scrollable"><div class="wide">
{charts.draw_lanes(figures)}
{charts.draw_plot(figures, "valence", extent)}
{charts.draw_plot(figures, "arousal", extent)}
{charts.draw_axis(figures.length_ms)}
<i class="head" id="head" hidden></i></div></div>
</div>
<ul class="keys small">{_key("mood, smoothed" if not several else "everybody", None, "")}\
{_keys(figures) if several else ""}</ul>
</section>"""


def _keys(figures: Figures) -> str:
    return "".join(
        _key(each.name or "Speaker", number, charts.dash_of(number))
        for number, each in enumerate(figures.talkers)
    )


def _key(name: str, number: int | None, dash: str) -> str:
    whose = "" if number is None else f' data-speaker="{number % 10}"'
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<li><svg class="key" width="26" height="8" aria-hidden="true"><line class="mood"{whose}'
        f'{dashes} x1="0" x2="26" y1="4" y2="4"/></svg><bdi>{text(name)}</bdi></li>'
    )


def _plane_card(figures: Figures) -> str:
    if not any(each.valence is not None and each.arousal is not None for each in figures.said):
        return ""
    means = " and the speakers’ means" if len(figures.talkers) > 1 else ""
    return f"""<section class="card" aria-labelledby="plane-title">
<div class="card-head"><h2 id="plane-title">Valence and arousal</h2>\
<span class="small muted">utterances{means}</span></div>
{charts.draw_plane(figures, charts.extent_of(figures))}
</section>"""


def _player(clips: Sequence[SoundClip]) -> str:
    if not clips:
        return ""
    rows = "".join(
        f'<label><bdi>{text(clip.label)}</bdi><audio controls preload="metadata"'
        f' data-clip="{number}" src="{text(clip.uri)}"></audio></label>'
        for number, clip in enumerate(clips)
    )
    return (
        '<section class="player" aria-label="Sound"><p class="now small" id="now"'
        f' aria-live="polite"></p>{rows}</section>\n'
    )
