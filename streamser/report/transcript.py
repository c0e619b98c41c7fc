"""The transcript: every utterance with its words, its reading, and a button to hear it; pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from streamser.errors import StreamserError
from streamser.report.figures import Figures, SaidUtterance
from streamser.report.markup import badge, clock, percent, sign, signed, style_name, text
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
