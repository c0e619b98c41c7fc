"""Recorded sessions that are spoilt: read, reported, exported in every format, and replayed."""

from __future__ import annotations

from pathlib import Path
from random import Random

from streamser.cli.live.live_view import render, render_utterance
from streamser.cli.live.sinks import plain_line
from streamser.cli.live.view_state import Level, PlaybackView
from streamser.errors import StreamserError
from streamser.export.formats import ExportFormat
from streamser.export.formats import render as export
from streamser.export.read import read_recording
from streamser.export.replay import Playback, read_playlist
from streamser.report.figures import figures_of
from streamser.report.page import render_page
from tests.fuzz.examples import EVENTS
from tests.fuzz.mutation import spoil_bytes, spoil_json, spoil_lines
from tests.fuzz.target import Target, forbidding, require

__all__ = ["TARGET"]

_CONTROLS = frozenset(map(chr, (*range(32), *range(127, 160), 0x202D, 0x202E)))
_LINES = ["\n".join(lines) + "\n" for lines in EVENTS]
_SECONDS_A_STEP = 1.0


def _try(path: Path) -> str:
    """Read, report and export a recording; what is wrong with it is said in one line."""
    recording = read_recording(path)
    outcome = f"{min(len(recording.utterances), 3)} utterances"
    for note in recording.notes:
        require("\n" not in note, "a note is a line")
    for form in ExportFormat:
        if form is not ExportFormat.JSONL:
            export(form, recording, one_clock=True)
    require(render_page(figures_of(recording, one_clock=True)).endswith(">\n"), "a whole page")
    return outcome


def _play(path: Path) -> None:
    """Play a recording in a terminal: nothing in it moves the cursor."""
    score = read_playlist([path], longest_pause_ms=1000)
    playback, cast = Playback(score, 1e6), PlaybackView("x", score, 1e6, 30.0)
    at = 0.0
    while not playback.is_over:
        for cue in playback.advance(at):
            state = cast.update(cue.event, cue.at_ms)
            render(state, Level(), 80)
            if state.finished is not None:
                render_utterance(state.finished, 80)
                line = plain_line(state.finished)
                require(not set(line) & _CONTROLS, "a line holds no control characters")
        at += _SECONDS_A_STEP


def _check(data: bytes, folder: Path) -> str:
    path = folder / "session.jsonl"
    path.write_bytes(data)
    outcome = ""
    with forbidding():
        for entry in (_try, _play):
            try:
                outcome = entry(path) or outcome
            except StreamserError as error:
                require("\n" not in str(error), "an error is a line")
                outcome = outcome or error.code
    return outcome


def _mutate(data: bytes, rng: Random) -> bytes:
    if rng.random() < 0.1:
        return spoil_bytes(data, rng)
    text = data.decode("utf-8", "replace")
    if rng.random() < 0.3:
        return spoil_lines(text, rng, _LINES).encode("utf-8", "surrogatepass")
    lines = text.split("\n")
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.randrange(len(lines))
        lines[at] = spoil_json(lines[at], rng)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


TARGET = Target(
    name="recordings",
    seeds=lambda folder: [text.encode("utf-8", "surrogatepass") for text in _LINES],
    mutate=_mutate,
    check=_check,
    seconds=10.0,
)
