"""The cards of the page: sums, speakers, shifts, spreads, and the transcript; pure.

The transcript has every utterance with its words, its reading, and a button to hear it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from streamser.errors import StreamserError
from streamser.report.charts import draw_bins
from streamser.report.figures import Figures, SaidUtterance, Talker
from streamser.report.markup import badge, clock, length, percent, sign, signed, style_name, text
from streamser.report.measures import Share, Spread
from streamser.text import why_distrusted

_PLAY = (
    '<svg viewBox="0 0 16 16" width="12" height="12" aria-hidden="true">'
    '<path class="play" d="M4 2.5v11l9-5.5z"/><path class="stop" d="M3.5 3.5h9v9h-9z"/></svg>'
)
_KINDS: Final = {
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".mp4": "audio/mp4",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".webm": "audio/webm",
}
_MOST_BYTES: Final = 100_000_000


def gaps_notice(figures: Figures) -> str:
    """Say what is missing of the recording; nothing where nothing is."""
    if not figures.gaps:
        return ""
    lines = "".join(f"<li>{text(line)}</li>" for line in figures.gaps)
    return (
        '<section class="trouble" aria-labelledby="gaps-title"><h2 id="gaps-title">Not complete'
        f"</h2><ul>{lines}</ul></section>\n"
    )


def summary_card(figures: Figures) -> str:
    """Write the shares of the categories and the sums."""
    talkers = len(figures.talkers)
    facts = [
        ("length", length(figures.length_ms)),
        ("speech", length(figures.speech_ms)),
        ("utterances", str(len(figures.said))),
    ]
    if any(each.name for each in figures.talkers):
        facts.append(("speakers", str(talkers)))
    if figures.transcribed:
        facts.append(("words", f"{figures.words:,}".replace(",", " ")))
    if talkers > 1:
        facts.append(("at once", length(figures.overlap_ms)))
    facts.append(("shifts of mood", str(len(figures.shifts))))
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    names = "".join(
        f"<li>{badge(each.category, percent(each.share))}</li>" for each in figures.categories
    )
    bar = (
        _stack(figures.categories) + f'<ul class="share-names">{names}</ul>'
        if names
        else ('<p class="muted">No readings.</p>')
    )
    return f"""<section class="card summary" aria-labelledby="summary-title">
<div class="shares"><h2 id="summary-title">What it sounded like, by speaking time</h2>{bar}</div>
<dl class="facts">{cells}</dl>
</section>"""


def _stack(shares: Sequence[Share]) -> str:
    parts = "".join(
        f'<i data-category="{style_name(each.category)}" style="flex-grow:{each.share:.4f}"></i>'
        for each in shares
    )
    words = ", ".join(f"{each.category} {percent(each.share)}" for each in shares)
    return f'<div class="stack" role="img" aria-label="{text(words)}">{parts}</div>'


def talkers_card(figures: Figures) -> str:
    """Write each speaker's share of the speaking time, and what it sounded like."""
    # One who has no name may be several whom nobody has told apart; of one alone all is said.
    if len(figures.talkers) < 2 or not any(each.name for each in figures.talkers):
        return ""
    rows = "".join(_talker(number, each) for number, each in enumerate(figures.talkers))
    guessed = (
        '<p class="small muted">Speakers are told apart by the sound of their voices: a guess.</p>'
        if any(each.provisional for each in figures.talkers)
        else ""
    )
    return f"""<section class="card" aria-labelledby="people-title">
<div class="card-head"><h2 id="people-title">Speakers</h2>\
<span class="small muted">shares of the speaking time</span></div>
<ul class="people">{rows}</ul>{guessed}
</section>"""


def _talker(number: int, talker: Talker) -> str:
    name = talker.name or "Speaker"
    many = "utterance" if talker.utterances == 1 else "utterances"
    words = f"{talker.words} words · " if talker.words else ""
    means = (
        f" · valence&nbsp;{signed(talker.valence)}, arousal&nbsp;{signed(talker.arousal)}"
        if talker.valence is not None or talker.arousal is not None
        else ""
    )
    width = max(2.0, 100 * talker.share)
    bar = (
        f'<div class="track"><div style="width:{width:.1f}%">{_stack(talker.categories)}</div>'
        "</div>"
    )
    return (
        f'<li class="person">{sign(number, name)}<div><div class="person-line"><bdi class="name">'
        f'{text(name)}</bdi><span class="small muted">{length(talker.speech_ms)}</span></div>'
        f'<div class="person-line">{bar}<span class="share">{percent(talker.share)}</span></div>'
        f'<p class="values">{talker.utterances} {many} · {words}'.removesuffix(" · ")
        + f"{means}</p></div></li>"
    )


def shifts_card(figures: Figures) -> str:
    """List the changes of mood."""
    several = len(figures.talkers) > 1
    rows = []
    for each in figures.shifts:
        who = "Everybody" if each.everybody else (each.speaker or "")
        name = f'<bdi class="who">{text(who)}</bdi>' if several else ""
        before = f"{text(each.previous)} →" if each.previous else "→"
        rows.append(
            f'<li><a href="#" data-at="{each.at_ms}">{clock(each.at_ms)}</a>{name}'
            f'<span class="to"><span class="muted">{before}</span>{badge(each.category)}</span>'
            "</li>"
        )
    body = (
        f'<ol class="shift-list">{"".join(rows)}</ol>'
        if rows
        else ('<p class="muted small">None.</p>')
    )
    return f"""<section class="card" aria-labelledby="shifts-title">
<div class="card-head"><h2 id="shifts-title">Shifts of mood</h2>\
<span class="small muted">smoothed over half a minute</span></div>
{body}
</section>"""


def categories_card(figures: Figures) -> str:
    """Write how often and how long each category was read, a column for each speaker."""
    if not figures.categories:
        return ""
    shown = figures.talkers[:6] if len(figures.talkers) > 1 else ()
    heads = "".join(
        f"<th scope=col><bdi>{text(each.name or 'Speaker')}</bdi></th>" for each in shown
    )
    rows = "".join(
        f'<tr><th scope="row">{badge(each.category)}</th><td>{each.count}</td>'
        f"<td>{length(each.ms)}</td><td>{percent(each.share)}</td>"
        + "".join(f"<td>{_share_of(talker, each.category)}</td>" for talker in shown)
        + "</tr>"
        for each in figures.categories
    )
    return f"""<section class="card" aria-labelledby="categories-title">
<div class="card-head"><h2 id="categories-title">Distribution</h2>\
<span class="small muted">of the readings</span></div>
<div class="table" tabindex="0" role="group" aria-label="Distribution, scrollable"><table>
<thead><tr><td></td><th scope="col">times</th><th scope="col">long</th><th scope="col">share</th>\
{heads}</tr></thead><tbody>{rows}</tbody></table></div>
</section>"""


def _share_of(talker: Talker, category: str) -> str:
    share = next((each.share for each in talker.categories if each.category == category), 0.0)
    return percent(share) if share else "–"


def uncertainty_card(figures: Figures) -> str:
    """Draw how unsure the readings were."""
    spread = figures.uncertainty
    if spread is None:
        return ""
    return f"""<section class="card" aria-labelledby="uncertainty-title">
<div class="card-head"><h2 id="uncertainty-title">Uncertainty</h2>\
<span class="small muted">0 one category, 1 all alike</span></div>
{draw_bins(spread, "")}
<p class="values">median {spread.median:.2f} · 95 % below {spread.p95:.2f} ·\
 {spread.count} readings</p>
</section>"""


def latency_card(figures: Figures) -> str:
    """Draw how late results were told, by stage."""
    if not figures.latencies:
        body = '<p class="muted small">Not in this recording: it was not heard live.</p>'
    else:
        drawn = figures.latencies[-1]
        rows = "".join(_late(each) for each in figures.latencies)
        body = (
            f'<p class="values chart-title">{text(drawn.name)}, after the last sound</p>'
            f"{draw_bins(drawn, 'ms')}"
            '<div class="table" tabindex="0" role="group" aria-label="Latency, scrollable">'
            '<table><thead><tr><td></td><th scope="col">median</th><th scope="col">95 %</th>'
            f'<th scope="col">most</th></tr></thead><tbody>{rows}</tbody></table></div>'
        )
    return f"""<section class="card" aria-labelledby="latency-title">
<div class="card-head"><h2 id="latency-title">Latency</h2></div>
{body}
</section>"""


def _late(spread: Spread) -> str:
    cells = (spread.median, spread.p95, spread.most)
    return (
        f'<tr><th scope="row">{text(spread.name)}</th>'
        + "".join(f"<td>{round(value)} ms</td>" for value in cells)
        + "</tr>"
    )


def about(figures: Figures) -> str:
    """Say what was at work, and which sessions these are."""
    engines = " · ".join(f"{text(kind)}: {text(names)}" for kind, names in figures.engines)
    ids = ", ".join(text(each) for each in figures.session_ids[:20])
    more = len(figures.session_ids) - 20
    ids += f" and {more} more" if more > 0 else ""
    noun = "Session" if len(figures.session_ids) == 1 else "Sessions"
    return f'<p class="small muted">{engines}{". " if engines else ""}{noun}: {ids}.</p>'


def transcript_card(figures: Figures, clips: Sequence[SoundClip]) -> str:
    """Write the card; utterances are numbered as in the charts."""
    count = len(figures.said)
    what = "1 utterance" if count == 1 else f"{count} utterances"
    places = {clip.session_id: number for number, clip in enumerate(clips)}
    rows = "\n".join(
        _row(number, each, figures, places) for number, each in enumerate(figures.said)
    )
    body = (
        f'<ol class="rows" aria-label="Utterances">\n{rows}\n</ol>'
        if figures.said
        else '<p class="empty">Nothing was said.</p>'
    )
    return f"""<section class="card transcript" aria-labelledby="transcript-title">
<div class="card-head"><h2 id="transcript-title">Transcript</h2>\
<span class="small muted">{what}</span></div>
<div class="scroll" tabindex="0" role="group" aria-label="Transcript, scrollable">
{body}
</div>
</section>"""


def _row(number: int, said: SaidUtterance, figures: Figures, places: dict[str | None, int]) -> str:
    name = figures.talkers[said.talker].name
    start = clock(said.start_ms)
    who = name or "Speaker"
    judged = "" if said.category is None else badge(said.category, percent(said.confidence))
    sure = 1.0 - min(1.0, max(0.0, 1.0 if said.uncertainty is None else said.uncertainty))
    hear = ""
    sound = ""
    if (clip := places.get(said.session_id, places.get(None))) is not None:
        behind = said.shift_ms if said.session_id in places else 0
        sound = (
            f' data-clip="{clip}" data-from="{max(0, said.start_ms - behind)}"'
            f' data-to="{max(0, said.end_ms - behind)}"'
        )
        hear = (
            f'<button type="button" class="hear" aria-label="Hear {text(who)} at {start}">'
            f"{_PLAY}</button>"
        )
    return (
        f'<li class="row" id="u{number}" data-category="{style_name(said.category)}"'
        f' data-start="{said.start_ms}" data-end="{said.end_ms}"{sound}'
        f' style="--sure:{sure:.2f}">{sign(said.talker, who)}<div>'
        f'<div class="row-head"><bdi class="name">{text(who)}</bdi>'
        f'<span class="at">{start}</span>{judged}{hear}</div>{_words(said)}'
        f'<p class="values">{_values(said)}</p></div></li>'
    )


def _words(said: SaidUtterance) -> str:
    if said.text:
        broken = ' <span class="muted">…</span>' if said.problem else ""
        return f'<p class="text" dir="auto">{text(said.text)}{broken}</p>'
    why = "no words understood" if said.transcribed else "not transcribed"
    if said.distrusted is not None:
        why = f"words withheld: {text(why_distrusted(said.distrusted))}"
    return f'<p class="text none">{why}</p>'


def _values(said: SaidUtterance) -> str:
    parts = []
    if said.valence is not None or said.arousal is not None:
        parts += [f"valence&nbsp;{signed(said.valence)}", f"arousal&nbsp;{signed(said.arousal)}"]
    if said.uncertainty is not None:
        parts.append(f"uncertainty&nbsp;{said.uncertainty:.2f}")
    if said.problem is not None:
        parts.append(f"no result: {text(said.problem)}")
    return " · ".join(parts)


class SoundClip(msgspec.Struct, frozen=True):
    """Hold sound for the page: as a ``data:`` address, and whose clock it has.

    ``session_id`` ``None``: that of the whole report.
    """

    label: str
    uri: str
    session_id: str | None = None


def read_clip(path: Path, label: str, session_id: str | None = None) -> SoundClip:
    """Read a file as it is; raise ``StreamserError`` for what browsers do not play, or is big."""
    kind = _KINDS.get(path.suffix.lower())
    advice = f"turn it into MP3 (ffmpeg -i {path.name} -b:a 48k {path.stem}.mp3) and name that."
    if kind is None:
        raise StreamserError(
            f"{path}: browsers do not play such files; {advice}", code="unsupported_audio"
        )
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise StreamserError(
                f"{path}: {size // 1_000_000} MB are too much for a page; {advice}",
                code="audio_too_big",
            )
        data = path.read_bytes()
    except OSError as error:
        why = error.strerror or error
        raise StreamserError(f"{path}: {why}.", code="file_not_found") from None
    return SoundClip(label, f"data:{kind};base64,{b64encode(data).decode()}", session_id)
