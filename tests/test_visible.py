"""Text of others on a terminal: seen, and never obeyed."""

from __future__ import annotations

import io

import pytest
from msgspec.structs import replace
from rich.console import Console

from streamser.cli.console import complain, tell, warn
from streamser.cli.files.analyze import Tables
from streamser.cli.live.live_view import LiveScreen
from streamser.cli.live.sinks import PlainLines
from streamser.cli.live.view_state import PlaybackView
from streamser.events import (
    ErrorBody,
    ErrorRaised,
    Event,
    SessionCreated,
    TranscriptPartial,
    decode_event,
    encode_event,
)
from streamser.export.replay import Playlist
from streamser.export.utterances import Utterance
from streamser.logs import LogFormat, logs
from streamser.text import printable, visible
from tests.cli.samples import ENVELOPE, created, emotion, failed, felt, said

EVIL = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b31m\u202etxt.exe\r\n[red]hey[/nothing]"
OBEYED = ("\x1b]52", "\x1b[2J", "\x9b", "\x07", "\u202e", "\r")


def hostile() -> list[Event]:
    """Make the events that a server sends which wishes the terminal ill."""
    judged = replace(emotion(), category=EVIL, speaker=EVIL, model=EVIL, scores={EVIL: 0.6})
    beginning = created()
    assert isinstance(beginning, SessionCreated)
    session = beginning.session
    models = replace(session.models, asr=EVIL, emotion=EVIL)
    return [
        replace(beginning, session=replace(session, models=models, speaker=EVIL)),
        TranscriptPartial(
            **ENVELOPE,
            item_id="item_s_1",
            text=EVIL + EVIL,
            committed=EVIL,
            revisable=EVIL,
            audio_start_ms=0,
            audio_end_ms=1000,
        ),
        said(EVIL, judged),
        felt(judged),
        failed(EVIL),
        ErrorRaised(**ENVELOPE, error=ErrorBody(type="server_error", code="c", message=EVIL)),
    ]


def check(shown: str) -> None:
    """Assert that what was written is to be read, and nothing else."""
    assert not [each for each in OBEYED if each in shown]
    assert r"\x1b" in shown
    assert "[red]" in shown


def test_lines_show_what_others_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """An utterance stays one line, whatever is in it; so does an error."""
    out = io.StringIO()
    lines = PlainLines(out)
    for event in hostile():
        lines.take(event)
    check(out.getvalue())
    assert out.getvalue().count("\n") == 2
    check(capsys.readouterr().err)


def test_the_live_view_shows_what_others_sent() -> None:
    """Drawn, on a terminal that would obey."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=200, highlight=False, color_system=None)
    screen = LiveScreen(EVIL, console)
    for event in hostile():
        screen.take(event)
    screen.close()
    # Rich itself returns to the first column of its own rows.
    shown = out.getvalue().replace("\r\n", "\n").replace("\r\x1b[2K", "")
    assert not [each for each in (*OBEYED[:5],) if each in shown]
    assert r"\x1b]52" in shown


def test_a_recording_is_played_as_it_is_shown_live() -> None:
    """Its names and words are those of a file, which may come from anybody."""
    score = Playlist(cues=(), sessions=(EVIL, "s"), meeting=EVIL, notes=())
    cast = PlaybackView(EVIL, score, 1.0, 30.0)
    for at, event in enumerate(hostile()):
        state = cast.update(event, at * 1000)
        assert "\x1b" not in str(state)
        assert "\u202e" not in str(state)


def test_tables_show_names_and_words() -> None:
    """Also as markup, which rich would obey."""
    from pathlib import Path

    out = io.StringIO()
    tables = Tables(out)
    spoken = Utterance(item_id="i", start_ms=0, end_ms=900, transcript=EVIL, emotion=emotion())
    tables.utterance(Path(EVIL), spoken)
    tables.end(Path(EVIL))
    shown = out.getvalue()
    assert not [each for each in OBEYED if each in shown]
    assert shown.count("[red]") == 2


def test_what_is_told_and_logged_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever wrote it."""
    import logging

    for say in (tell, warn, complain):
        say(EVIL)
    with logs(LogFormat.TEXT):
        logging.getLogger("streamser.somewhere").warning("%s", EVIL)
    told = capsys.readouterr().err
    check(told)
    assert told.count("\n") == 4


def test_json_stays_what_it_is() -> None:
    """It is for programs, and its own escapes say everything."""
    event = said("well")
    assert visible(event) is event
    (_, _, words, *_) = hostile()
    assert decode_event(encode_event(words)) == words
    assert b"\x1b" not in encode_event(words)


@pytest.mark.parametrize("text", ["שלום", "नमस्ते", "می\u200cخواهم", "👩\u200d🚀", "a\u00a0b", "Ünï"])
def test_what_people_write_stays(text: str) -> None:
    """In any script."""
    assert printable(text) == text
