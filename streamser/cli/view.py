"""The picture of a live session: a pure state moved by events, and its drawing.

``update`` and ``hear`` return new states, ``render`` and ``render_utterance`` draw them for
a width; nothing here knows a clock, a thread or a terminal.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from streamser.cli.gauges import (
    CATEGORY_STYLES,
    FLOOR_DB,
    category_text,
    gauge,
    level_meter,
    number,
    probability_bar,
)
from streamser.cli.talk import clock
from streamser.cli.utterance import Utterance, likeliest, read_utterance
from streamser.events import (
    Committed,
    EmotionBody,
    EmotionDelta,
    EmotionProvisional,
    Event,
    MoodBody,
    MoodUpdated,
    Overload,
    SessionClosed,
    SessionCreated,
    SpeechStarted,
    SpeechStopped,
    TranscriptPartial,
)
from streamser.export.text import why_distrusted
from streamser.taxonomy import DIMENSIONS

if TYPE_CHECKING:
    from streamser.audio.clip import Samples

__all__ = [
    "NARROW",
    "TIGHT",
    "Level",
    "Played",
    "ViewState",
    "hear",
    "legend",
    "render",
    "render_utterance",
    "update",
]

NARROW = 110
"""Below this width an utterance takes two rows: words, and what they sounded like."""

TIGHT = 79
"""Below this width numbers take the place of gauges, and rows are broken: fit for 40 columns."""

_FALL_DB_PER_S = 26.0
_PEAK_HOLD_S = 1.2
_BAR = 8
_TIGHT_BAR = 6
_MARGIN = 11
_LAG = 8
_ROOM_FOR_PEAK = 60

Speech = Literal["silent", "speaking", "thinking"]

_MARKS: Final[dict[Speech, tuple[str, str]]] = {
    "silent": ("○ silent  ", "bright_black"),
    "speaking": ("● speaking", "bold green"),
    "thinking": ("◌ thinking", "yellow"),
}


class Level(msgspec.Struct, frozen=True):
    """Hold what a level meter shows; levels in dBFS, times in seconds of audio.

    ``rms_db`` rises at once and falls at 26 dB/s; ``peak_db`` is held for 1.2 s.
    """

    rms_db: float = FLOOR_DB
    peak_db: float = FLOOR_DB
    peak_at: float = 0.0
    seconds: float = 0.0


class Played(msgspec.Struct, frozen=True):
    """Hold where the playing of a recording is, which is shown in place of the sound's level."""

    at_ms: float
    length_ms: int
    speed: float


class ViewState(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what the view shows below the finished utterances.

    ``speaker`` is who says what is being said, where there are several. ``alone`` are readings
    of the voice alone, of utterances whose words are awaited.
    """

    source: str
    models: str = ""
    transcribed: bool = True
    speaking: bool = False
    waiting: int = 0
    committed: str = ""
    revisable: str = ""
    delta: EmotionBody | None = None
    alone: tuple[EmotionProvisional, ...] = ()
    mood: MoodUpdated | MoodBody | None = None
    dropped: str = ""
    speaker: str = ""
    played: Played | None = None
    finished: Utterance | None = None
    """The utterance that the last event finished, if it finished one."""

    @property
    def speech(self) -> Speech:
        """Return what is going on: somebody speaks, the models think, or neither."""
        return "speaking" if self.speaking else "thinking" if self.waiting else "silent"


def hear(level: Level, samples: Samples) -> Level:
    """Move the level meter on by mono samples at 16 kHz."""
    if not len(samples):
        return level
    lasted = len(samples) / 16_000
    rms = _decibels(math.sqrt(float(samples @ samples) / len(samples)))
    peak = _decibels(float(abs(samples).max()))
    now = level.seconds + lasted
    falling = level.rms_db - _FALL_DB_PER_S * lasted
    held = now - level.peak_at < _PEAK_HOLD_S and level.peak_db > peak
    return Level(
        rms_db=max(rms, falling, FLOOR_DB),
        peak_db=level.peak_db if held else peak,
        peak_at=level.peak_at if held else now,
        seconds=now,
    )


def update(state: ViewState, event: Event) -> ViewState:
    """Return the state after an event."""
    finished = read_utterance(event, transcribed=state.transcribed)
    changes: dict[str, object] = {"finished": finished}
    if finished is not None:
        changes["waiting"] = max(0, state.waiting - 1)
        changes["alone"] = tuple(one for one in state.alone if one.item_id != finished.item_id)
        if not state.speaking:
            changes |= {"committed": "", "revisable": "", "delta": None}
    match event:
        case SessionCreated():
            models = event.session.models
            words = models.asr or "no words"
            if models.asr_arithmetic:
                words += f" in {models.asr_arithmetic}"
            names = [models.vad, words, models.emotion]
            changes |= {"models": " · ".join(names), "transcribed": models.asr is not None}
            # A server that was restarted begins anew, and will say nothing more of before.
            changes |= {"speaking": False, "waiting": 0, "committed": "", "revisable": ""}
            changes |= {"delta": None, "alone": ()}
        case SpeechStarted():
            changes |= {"speaking": True, "committed": "", "revisable": "", "delta": None}
        case SpeechStopped():
            changes["speaking"] = False
        case Committed():
            changes["waiting"] = state.waiting + 1
        case TranscriptPartial():
            changes |= {"committed": event.committed, "revisable": event.revisable}
        case EmotionDelta():
            changes["delta"] = event.emotion
        case EmotionProvisional():
            changes["alone"] = (*state.alone, event)
            if not state.speaking:
                changes["delta"] = None
        case MoodUpdated():
            changes["mood"] = event
        case Overload(kind="partials"):
            changes["dropped"] = f"{event.total} readings left out to keep up"
        case Overload(kind="audio"):
            changes["dropped"] = f"{event.total} ms of sound lost"
        case SessionClosed():
            changes |= {"speaking": False, "waiting": 0, "alone": ()}
    return msgspec.structs.replace(state, **changes)


def render(state: ViewState, level: Level, width: int) -> RenderableType:
    """Draw the live part: as many rows as ever at this width, so that nothing around it jumps.

    Six of them, or more where the terminal is too narrow for these.
    """
    return Group(
        Rule(style="bright_black", characters="─"),
        _sound(state, level, width),
        *_partial(state, width),
        *_delta(state, width),
        *_footer(state, width),
    )


def legend() -> Text:
    """Say what the gauges of an utterance mean, once, in words."""
    return Text(
        "V valence: unpleasant to pleasant · A arousal: calm to excited"
        " · D dominance: submissive to dominant",
        style="bright_black",
    )


def render_utterance(spoken: Utterance, width: int) -> RenderableType:
    """Draw a finished utterance: one row where there is room, else words above figures."""
    words, lag = _words(spoken), _lag(spoken)
    grid = Table.grid(padding=(0, 2, 0, 0), expand=False)
    grid.width = width
    grid.add_column(width=_MARGIN - 2, no_wrap=True, justify="right")
    grid.add_column(ratio=1, overflow="fold")
    time = Text(clock(spoken.start_ms), style="bright_black")
    if width >= NARROW:
        figures = Text() if spoken.emotion is None else _gauges(spoken.emotion)
        grid.add_column(no_wrap=True, width=figures.cell_len)
        grid.add_column(no_wrap=True, width=_LAG, justify="right")
        grid.add_row(time, words, figures, lag)
        return grid
    grid.add_row(time, words)
    if spoken.emotion is None:
        return grid
    margin = Text(" " * _MARGIN)
    *above, last = _emotion(spoken.emotion, width, besides=_MARGIN + _LAG)
    last = margin + last
    last.pad_right(width - last.cell_len - lag.cell_len)
    return Group(
        grid, *(_one_row(margin + row, width) for row in above), _one_row(last + lag, width)
    )


def _sound(state: ViewState, level: Level, width: int) -> Text:
    if state.played is not None:
        return _place(state, state.played, width)
    decibels = f" {level.rms_db:4.0f} dBFS  peak {level.peak_db:4.0f}  "
    if width < _ROOM_FOR_PEAK:
        decibels = f" {level.rms_db:3.0f} dB  "
    mark = Text(*_MARKS[state.speech])
    time = Text(f"  {clock(level.seconds * 1000):>9}", style="bright_black")
    rest = mark.cell_len + time.cell_len + len(decibels)
    meter = level_meter(level.rms_db, level.peak_db, min(48, max(8, width - rest)))
    return _one_row(meter + Text(decibels, style="bright_black") + mark + time, width)


def _place(state: ViewState, played: Played, width: int) -> Text:
    """Draw where the playing is: a bar, the time, and how fast it goes."""
    mark = Text(*_MARKS[state.speech])
    speed = "" if played.speed == 1 else f"  {played.speed:g}×"
    time = f"  {clock(played.at_ms)} of {clock(played.length_ms)}{speed}  "
    share = played.at_ms / played.length_ms if played.length_ms else 1.0
    room = min(48, max(8, width - mark.cell_len - len(time)))
    bar = probability_bar(share, room, "cyan")
    return _one_row(bar + Text(time, style="bright_black") + mark, width)


def _partial(state: ViewState, width: int) -> list[Text]:
    """Draw the end of what has been understood so far, on two rows.

    Where words are awaited, the first of them is the latest reading of a voice alone.
    """
    who = f"{state.speaker}: " if state.speaker else ""
    above = [_alone(state.alone[-1], who, width)] if state.alone else []
    if not (state.committed or state.revisable):
        hint = "…" if state.speech != "silent" else "waiting for speech"
        return [*above, Text(hint, style="bright_black"), Text()][:2]
    text = Text.assemble(
        (who, "bold"),
        state.committed,
        (state.revisable, "dim italic"),
    )
    before = Text("… ", style="bright_black")
    rows = _wrapped(text, width - before.cell_len)
    if len(rows) > 2 - len(above):
        rows = [before + rows[-2], rows[-1]] if not above else [before + rows[-1]]
    return [*above, *rows, Text()][:2]


def _alone(provisional: EmotionProvisional, who: str, width: int) -> Text:
    """Draw what a voice alone says of an utterance whose words are awaited, on one row."""
    emotion = provisional.emotion
    time = f"{clock(emotion.window.start_ms)} " if width >= _ROOM_FOR_PEAK else ""
    row = Text.assemble((f"{time}voice alone ", "bright_black"), (who, "bold"))
    row += _gauges(emotion) if width >= NARROW else _judged(emotion, _TIGHT_BAR)
    follow = Text("… words follow", style="bright_black")
    return _one_row(row + follow if row.cell_len + follow.cell_len <= width else row, width)


def _delta(state: ViewState, width: int) -> list[Text]:
    """Draw what the voice sounds like now, on one row, or two where a row is too short."""
    before = Text("now ", style="bright_black")
    tall = 1 if width >= TIGHT else 2
    if state.delta is None:
        return [Text()] * tall
    first, *more = _emotion(state.delta, width, besides=before.cell_len)
    rows = [before + first, *(Text(" " * before.cell_len) + row for row in more)]
    return [_one_row(row, width) for row in [*rows, Text()][:tall]]


def _footer(state: ViewState, width: int) -> list[Text]:
    """Draw what is at work, on one row, or two or three where a row is too short."""
    parts = [Text(state.source), Text(state.models)]
    if state.dropped:
        parts.insert(0, Text(state.dropped, style="yellow"))
    if state.mood is not None:
        mood = Text("mood ") + category_text(state.mood.category)
        share = state.mood.scores.get(state.mood.category)
        parts.insert(0, mood + Text(f" {share:.0%}") if share is not None else mood)
    footer = Text("  ·  ", style="bright_black").join(part for part in parts if part.plain)
    footer.style = "bright_black"
    tall = 1 if width >= TIGHT else 2 if width >= _ROOM_FOR_PEAK else 3
    if tall == 1:
        return [_one_row(footer, width)]
    rows = _wrapped(footer, width)
    if len(rows) > tall:
        rows[tall - 1] = _one_row(rows[tall - 1] + Text("…" * width), width)
    return [*rows, *[Text()] * tall][:tall]


def _words(spoken: Utterance) -> Text:
    said = _said(spoken)
    return Text(f"{spoken.speaker}: ", style="bold") + said if spoken.speaker else said


def _said(spoken: Utterance) -> Text:
    if spoken.fault is not None:
        return Text(f"not analysed: {spoken.fault}", style="red")
    if spoken.transcript:
        return Text(spoken.transcript)
    if spoken.distrusted:
        return Text(f"(words withheld: {why_distrusted(spoken.distrusted)})", style="bright_black")
    seconds = (spoken.end_ms - spoken.start_ms) / 1000
    hint = "no words understood" if spoken.transcript == "" else "speech"
    return Text(f"({hint}, {seconds:.1f} s)", style="bright_black")


def _emotion(emotion: EmotionBody, width: int, *, besides: int) -> list[Text]:
    """Write a judgement on one row, or on two where they do not leave room for ``besides``."""
    if width >= TIGHT:
        return [_gauges(emotion)]
    numbers = [number(name[0].upper(), getattr(emotion.dimensions, name)) for name in DIMENSIONS]
    rows = [_judged(emotion, _TIGHT_BAR), Text(" ").join(numbers)]
    whole = Text(" ").join(rows)
    return [whole] if whole.cell_len + besides <= width else rows


def _gauges(emotion: EmotionBody) -> Text:
    """Write category, probability and dimensions in cells of fixed width."""
    drawn = (gauge(name[0].upper(), getattr(emotion.dimensions, name)) for name in DIMENSIONS)
    return Text(" ").join([_judged(emotion, _BAR), *drawn])


def _judged(emotion: EmotionBody, bar: int) -> Text:
    """Write category and probability in cells of fixed width."""
    best = likeliest(emotion)
    style = CATEGORY_STYLES.get(best, "magenta")
    category = category_text(emotion.category)
    category.pad_right(max(0, 8 - category.cell_len))
    doubt = f" {best}?" if best != emotion.category else ""
    return Text.assemble(
        category,
        probability_bar(emotion.confidence, bar, style),
        f" {emotion.confidence:>4.0%}",
        (f"{doubt:<9}", "bright_black"),
    )


def _lag(spoken: Utterance) -> Text:
    return Text("" if spoken.lag_ms is None else f"{spoken.lag_ms:.0f} ms", style="bright_black")


def _wrapped(text: Text, width: int) -> list[Text]:
    return list(text.wrap(Console(width=width), width, overflow="fold"))


def _one_row(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    text.no_wrap = True
    return text


def _decibels(amplitude: float) -> float:
    return max(FLOOR_DB, 20 * math.log10(amplitude)) if amplitude > 0 else FLOOR_DB
