"""`streamser listen --server`: the sound is here, the models are there."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest
import soundfile
from typer.testing import CliRunner, Result

from streamser.cli.live.remote import Remote, Totals
from streamser.cli.main import app
from streamser.events import (
    Cleared,
    EmotionCompleted,
    SessionClosed,
    SessionCreated,
    SessionEvent,
    SpeechStopped,
    encode_event,
)
from streamser.server.app import EmotionServer
from tests.cli.running import DEMO, events_of, refuses, run, start, without_beginning
from tests.cli.sounds import spoken, write
from tests.client.pretend import PretendSession, numbered
from tests.client.scripted import ScriptedServer
from tests.pipeline.test_loading import Microphone, demo, drain
from tests.server.serving import serving

QUIET = ("--asr", "none")
TOKEN = "a-token-of-sixteen-and-more"


class Served:
    """Run a server on a thread of its own; its models are there after ``held``, if given."""

    def __init__(self, held: threading.Event | None = None) -> None:
        self._held = held
        self.server: EmotionServer | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> str:
        self._thread.start()
        assert self._ready.wait(60)
        assert self.server is not None
        return self.server.local_url.replace("http", "ws", 1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with serving(load=self._held is None) as self.server:
            self._ready.set()
            if self._held is not None:
                await asyncio.to_thread(self._held.wait, 60)
                await self.server.load()
            await self._over.wait()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Give the address of a server."""
    with Served() as address:
        yield address


def pipe(raw: bytes, *arguments: str | Path) -> Result:
    """Run `listen --file -` with sound in its standard input."""
    command = ["listen", "--file", "-", *map(str, arguments)]
    return CliRunner().invoke(app, command, input=raw)


def raw(seconds: float) -> bytes:
    """Return a stretch of the demonstration as 16-bit sound."""
    return (spoken(seconds) * 32768).astype("<i2").tobytes()


def judgements(events: list[SessionEvent]) -> list[object]:
    """Return the final judgements, but for who is said to speak."""
    return [
        (each.emotion.window, each.emotion.category, each.emotion.scores)
        for each in events
        if isinstance(each, EmotionCompleted)
    ]


def test_a_server_finds_what_would_be_found_here(url: str, tmp_path: Path) -> None:
    """The same judgements, to the last digit, as of the same sound analysed at home."""
    file = write(tmp_path / "talk.wav", spoken(6.9))
    there = run("listen", "--server", url, "--file", file, "--json", "--speaker", "Ann")
    here = run("analyze", file, *QUIET, "--format", "jsonl", "--speakers", "off")
    assert there.exit_code == 0, there.stderr
    told, expected = events_of(there.stdout), events_of(here.stdout)
    assert isinstance(told[0], SessionCreated)
    assert told[0].session.speaker == "Ann"
    assert isinstance(told[-1], SessionClosed)
    assert len(judgements(expected)) == 2
    assert judgements(told) == judgements(expected)
    assert "is sent to ws://127.0.0.1" in there.stderr
    assert f"stands at http{url.removeprefix('ws')}" in there.stderr
    assert "2 utterances" in there.stderr


def test_a_recording_holds_what_came_back_and_what_was_sent(url: str, tmp_path: Path) -> None:
    """As of a session at home; a pipe needs no patience."""
    folder = tmp_path / "kept"
    result = pipe(raw(4.0), "--server", url, "--json", "--record", folder)
    assert result.exit_code == 0, result.stderr
    kept = (folder / "session.jsonl").read_text(encoding="utf-8")
    assert without_beginning(kept) == result.stdout
    sound, rate = soundfile.read(folder / "audio.flac", dtype="int16")
    assert rate == 16_000
    assert sound.astype("<i2").tobytes() == raw(4.0)


def test_a_pipe_gets_plain_lines(url: str) -> None:
    """One an utterance, as at home."""
    result = pipe(raw(4.0), "--server", url, "--meeting", "Monday")
    (line,) = result.stdout.splitlines()
    assert line.startswith("0:00.")
    assert result.exit_code == 0


def test_a_source_that_breaks_off_fails_after_all_was_told(url: str, tmp_path: Path) -> None:
    """What was heard before is analysed; scripts learn of the fault."""
    file = write(tmp_path / "talk.wav", spoken(4.0))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * 3 // 4])
    result = run("listen", "--server", url, "--file", file, "--json")
    assert result.exit_code == 1
    assert len(judgements(events_of(result.stdout))) == 1
    assert "cut short" in result.stderr.splitlines()[-1]


def test_events_that_are_missing_are_warned_of_in_one_line(tmp_path: Path) -> None:
    """Whoever reads the screen need not count."""
    file = write(tmp_path / "talk.wav", spoken(1.0))

    async def scene() -> tuple[str, str, int | None]:
        async with ScriptedServer() as server:
            gap = Cleared(event_id="e", session_id="s1", seq=4)
            server.extra = [encode_event(gap)]
            listening = start("listen", "--server", server.url, "--file", file, "--json")
            out, err = await asyncio.to_thread(listening.communicate, timeout=60)
            return out, err, listening.returncode

    out, err, code = asyncio.run(scene())
    assert code == 0, err
    assert isinstance(events_of(out)[-1], SessionClosed)
    assert err.count("2 events are missing") == 1


def test_the_language_is_said_to_the_server(tmp_path: Path) -> None:
    """It is that of who speaks, not of the models; one that asks for none says none."""
    file = write(tmp_path / "talk.wav", spoken(1.0))

    async def scene() -> list[str | None]:
        async with ScriptedServer() as server:
            for given in (("--language", "de"), ("--set", "asr.language=none"), ()):
                result = await asyncio.to_thread(
                    run, "listen", "--server", server.url, "--file", file, "--json", *given
                )
                assert result.exit_code == 0, result.stderr
            return [query.get("language") for query in server.queries]

    assert asyncio.run(scene()) == ["de", None, None]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_it_well(url: str) -> None:
    """The open utterance is still told, then the summary, and the exit code is 0."""
    listening = start("listen", "--server", url, "--file", DEMO, "--json")
    assert listening.stdout is not None
    head = []
    for line in listening.stdout:
        head.append(line)
        if "speech_started" in line:
            break
    listening.send_signal(signal.SIGINT)
    tail, err = listening.communicate(timeout=60)
    events = events_of("".join(head) + tail)
    assert listening.returncode == 0, err
    assert isinstance(events[-1], SessionClosed)
    assert [event.reason for event in events if isinstance(event, SpeechStopped)] == ["flush"]
    assert len(judgements(events)) == 1
    assert "1 utterance" in err
    assert "Traceback" not in err


BARE = """
import sys
from typer.testing import CliRunner
from streamser.cli.main import app
done = CliRunner().invoke(app, ["listen", "--file", "-", "--server", sys.argv[1]], bytes(32000))
assert done.exit_code == 0, done.output
heavy = ("onnxruntime", "tokenizers", "torch", "ctranslate2", "faster_whisper")
print([name for name in heavy if name in sys.modules])
"""


def test_what_is_said_to_a_server_that_loads_its_models_is_kept() -> None:
    """The microphone is open before the server lets anybody in, and all of it is analysed."""
    source = Microphone(demo(6))
    with Served(held=source.given) as url, Remote(url, source) as remote:
        events = drain(remote.stream(source), source)
    assert isinstance(events[0], SessionCreated)
    assert any(isinstance(event, EmotionCompleted) for event in events)
    closed = events[-1]
    assert isinstance(closed, SessionClosed)
    assert (closed.audio_ms, closed.audio_dropped_ms) == (6000, 0)


def test_no_model_is_loaded_here(url: str) -> None:
    """A machine that only listens needs neither models nor the memory for them."""
    done = subprocess.run(
        [sys.executable, "-c", BARE, url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--meeting", "Monday"], "--meeting goes with --server"),
        (["--token", TOKEN], "--token goes with --server"),
        (["--ca", "cert.pem"], "--ca goes with --server"),
        (["--proxy", "http://p:3128"], "--proxy goes with --server"),
        (["--server", "ws://h", "--ca", ""], "--ca: it is empty"),
        (["--server", "ws://h", "--asr", "none"], "--asr: the server"),
        (["--server", "ws://h", "--model", "rules"], "--model: the server"),
        (["--server", "ws://h", "--offline"], "--offline: the server"),
        (["--server", "ws://h", "--config", "embedded"], "--config: the server"),
        (["--server", "ws://h", "--set", "vad.engine=webrtc"], "--set vad.engine: the server"),
        (["--server", ""], "--server: it is empty"),
        (["--server", "ws://h", "--meeting", " "], "--meeting: it is empty"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], part: str) -> None:
    """What is settled on the server cannot be settled here, and the other way round."""
    refuses(run("listen", "--file", DEMO, *arguments), 2, part)


def last_line(result: Result) -> str:
    """Return the complaint of a run that failed, which is one line after what is always told."""
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    notice, sent, *complaint = result.stderr.splitlines()
    assert "Art. 5(1)(f)" in notice
    assert "is sent to" in sent or complaint == []
    return (complaint or [sent])[0]


def test_an_address_that_is_none_is_told() -> None:
    """With an example of one."""
    result = run("listen", "--file", DEMO, "--server", "127.0.0.1:8377")
    assert "write it like ws://" in last_line(result)


def test_nobody_at_the_address_is_told() -> None:
    """In one line, and at once."""
    result = run("listen", "--file", DEMO, "--server", "ws://127.0.0.1:9")
    assert "connection refused" in last_line(result)


def test_a_token_is_shown_to_the_server_and_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By option or environment; a wrong one is refused in one line."""
    monkeypatch.setenv("STREAMSER_TOKENS", f"me send {TOKEN}")
    with Served() as url:
        refused = run("listen", "--file", DEMO, "--server", url, "--token", "wrong-" + TOKEN)
        assert "token" in last_line(refused)
        assert TOKEN not in refused.output
        assert pipe(raw(1.0), "--server", url, "--token", TOKEN).exit_code == 0
        monkeypatch.setenv("STREAMSER_TOKEN", TOKEN)
        assert pipe(raw(1.0), "--server", url).exit_code == 0


def test_sums_go_over_all_sessions_of_a_stream() -> None:
    """After a restart the summary still speaks of everything that was said."""
    totals = Totals()
    first, second = PretendSession("a"), PretendSession("b")
    first.receive(numbered(0, 200))
    first.think(9)
    second.receive(numbered(200, 250))
    second.finish()
    told = [totals.count(event, 30) for event in [*first.events, *second.events]]  # type: ignore[arg-type]
    last = told[-1]
    assert isinstance(last, SessionClosed)
    assert (last.utterances, last.speech_ms, last.audio_dropped_ms) == (3, 250, 30)


def test_the_environment_may_hold_a_token_that_nobody_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Listening at home ignores it."""
    monkeypatch.setenv("STREAMSER_TOKEN", TOKEN)
    file = write(tmp_path / "talk.wav", spoken(0.5))
    assert run("listen", "--file", file, *QUIET).exit_code == 0
    assert "STREAMSER_TOKEN" in os.environ


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["ws://[::1"], "no address of a server"),
        (["ws://me:secret@h:x"], "no address of a server"),
        (["wss://h", "--ca", "/nowhere/ca.pem"], "/nowhere/ca.pem: No such file"),
        (["ws://127.0.0.1:1", "--proxy", "http://me:secret@p:1"], "this machine"),
        (["ws://h", "--proxy", "http://me:secret@127.0.0.1:1"], "through the proxy http://127"),
    ],
)
def test_what_stands_between_us_and_the_server_is_told(arguments: list[str], part: str) -> None:
    """Address, certificate and proxy: one line that says what to do, and no password."""
    done = run("listen", "--file", DEMO, "--server", *arguments)
    assert done.exit_code == 1
    assert part in done.stderr.splitlines()[-1]
    assert "secret" not in done.stderr
