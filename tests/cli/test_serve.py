"""``streamser serve`` and ``streamser demo --web``: how they begin and end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from streamser.cli.live.demo import split_speakers
from streamser.errors import AudioError
from tests.cli.running import DEMO, ended, refuses, run, start
from tests.plugged import write_package

QUIET = ("--asr", "none", "--port", "0")

HANGS = """
import os, sys, threading

def make(*arguments, **options):
    print("hanging", os.getpid(), file=sys.stderr, flush=True)
    threading.Event().wait()
"""

CHATTERS = """
import logging, os, sys, threading, warnings

from streamser.emotion.model import Prediction
from streamser.taxonomy import Dimensions


class Chatters:
    name = "chatters"
    modalities = ("audio",)

    def predict(self, segments):
        scores = {"happy": 1.0, "neutral": 0.0, "sad": 0.0, "angry": 0.0}
        told = Prediction("happy", 1.0, scores, Dimensions(), 0.0, ("audio",), {})
        return [told for _ in segments]


def lose():
    raise ValueError("my words")


def make(*arguments, **options):
    print("printed by", os.getpid(), file=sys.stderr, flush=True)
    os.write(2, b"written\\n")
    warnings.warn("warned of")
    logging.getLogger("theirs").error("logged by %s", "others")
    thread = threading.Thread(target=lose, name="lost")
    thread.start()
    thread.join()
    try:
        lose()
    except ValueError:
        logging.getLogger("streamser.ours").info("logged by us", exc_info=True)
    return Chatters()
"""

REFUSES = """
class Refuses:
    def take(self, event):
        raise OSError("it is not there")

    def close(self):
        pass

def make(*arguments, **options):
    return Refuses()
"""


@contextmanager
def serving(
    *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server in a child process; yields it and the address that it tells."""
    server = start(*arguments, env=env)
    try:
        assert server.stderr is not None
        for line in server.stderr:
            if found := re.search(r"Serving (http\S+)/ ", line):
                yield server, found[1]
                return
        raise AssertionError("the server has ended before it served")
    finally:
        server.kill()
        server.communicate()


def fetch(url: str) -> tuple[int, str]:
    """Get a page; returns its status and its text."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_sigterm_ends_a_server_well_and_tells_what_was_said() -> None:
    """The open utterance is analysed, its final delivered, the socket closed with 1001."""
    import soundfile

    sound, rate = soundfile.read(DEMO, dtype="int16", frames=3 * 16_000)
    with serving("serve", *QUIET, "--set", "server.drain_s=0") as (server, url):
        address = f"ws{url.removeprefix('http')}/v1/realtime?rate={rate}"
        with connect(address, max_size=None) as client:
            client.send(sound.tobytes())
            seen: list[str] = []
            while "input_audio_buffer.speech_started" not in seen:
                seen.append(json.loads(client.recv(timeout=60))["type"])
            server.send_signal(signal.SIGTERM)
            # Iterating ends without an exception at 1000 and 1001 alone.
            seen += [json.loads(message)["type"] for message in client]
            assert client.close_code == 1001
        assert seen[-1] == "streamser.session.closed"
        assert "streamser.emotion.completed" in seen
        assert server.wait(timeout=60) == 0


def test_after_sigterm_streams_may_finish_but_none_begins() -> None:
    """Until ``server.drain_s`` is over; the server ends as soon as the last has left."""
    with serving("serve", *QUIET, "--set", "server.drain_s=300") as (server, url):
        address = f"ws{url.removeprefix('http')}/v1/realtime"
        with connect(address) as client:
            client.recv(timeout=60)
            server.send_signal(signal.SIGTERM)
            while fetch(f"{url}/readyz") != (503, "shutting_down\n"):
                """The signal is still on its way."""
            with pytest.raises(InvalidStatus, match="503"), connect(address):
                """Nobody new is let in."""
            client.send(json.dumps({"type": "streamser.finish"}))
            seen = [json.loads(message)["type"] for message in client]
            assert client.close_code == 1000
        assert seen[-1] == "streamser.session.closed"
        _, told = server.communicate(timeout=60)
        assert server.returncode == 0
        assert "those here may go on for 300 s" in told
        assert "what was said is still told" in told


def test_a_server_that_never_served_has_nothing_to_tell(tmp_path: Path) -> None:
    """Its one line is why it ends."""
    wanted = ("--asr", "whisper", "--asr-model", str(tmp_path / "none"))
    result = run("serve", *wanted, "--port", "0")
    assert result.exit_code == 1
    assert "still told" not in result.stderr
    assert "there is no such directory" in result.stderr.splitlines()[-1]


def test_a_second_sigterm_ends_a_draining_server_at_once() -> None:
    """Whoever asks twice does not want to wait."""
    with (
        serving("serve", *QUIET, "--set", "server.drain_s=300") as (server, url),
        connect(f"ws{url.removeprefix('http')}/v1/realtime") as client,
    ):
        client.recv(timeout=60)
        server.send_signal(signal.SIGTERM)
        while fetch(f"{url}/readyz")[0] != 503:
            """The signal is still on its way."""
        ended(server, signal.SIGTERM)
        assert server.returncode == 130


def test_sighup_has_tokens_read_anew_and_ends_nothing(tmp_path: Path) -> None:
    """Not even where one comes that is not to be heard: who is there goes on."""
    file = tmp_path / "tokens"
    file.write_text(f"mic send {'s' * 16}\n")
    with serving("serve", *QUIET, "--token-file", str(file)) as (server, url):
        address = f"ws{url.removeprefix('http')}/v1/realtime?token="
        with connect(address + "s" * 16) as client:
            client.recv(timeout=60)
            file.write_text(f"mic send {'s' * 16}\ndesk send {'d' * 16}\n")
            server.send_signal(signal.SIGHUP)
            assert server.stderr is not None
            assert any("read anew" in line for line in server.stderr)
            with connect(address + "d" * 16) as newcomer:
                newcomer.recv(timeout=60)
            client.send(json.dumps({"type": "streamser.finish"}))
            assert [json.loads(message)["type"] for message in client]
            assert client.close_code == 1000
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0


@pytest.mark.parametrize("processes", ["0", "1"])
def test_sigterm_ends_a_server_whose_models_never_come(tmp_path: Path, processes: str) -> None:
    """A factory that hangs keeps neither the server nor a process of its own alive."""
    package = write_package(tmp_path, "hangs", {"emotion_models/hangs": "hangs:make"}, HANGS)
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    server = start(
        *("serve", *QUIET, "--model", "hangs", "--set", f"worker.processes={processes}"),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
        assert server.stderr is not None
        loading = next(int(line.split()[1]) for line in server.stderr if line.startswith("hanging"))
        assert (loading == server.pid) == (processes == "0")
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(loading, 0)
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("lost_by", ["export", "sink"])
def test_what_is_not_kept_shows_while_it_serves_and_in_its_exit_code(
    tmp_path: Path, lost_by: str
) -> None:
    """Of a folder that has gone, and of a plug-in that takes nothing."""
    package = write_package(tmp_path, "refuses", {"sinks/refuses": "refuses:make"}, REFUSES)
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    folder = tmp_path / "kept"
    keeps = ("--export", str(folder)) if lost_by == "export" else ("--sink", "refuses")
    with serving("serve", *QUIET, *keeps, env=environment) as (server, url):
        assert fetch(f"{url}/readyz") == (200, "ready\n")
        assert "streamser_export_incomplete 0.0" in fetch(f"{url}/metrics")[1]
        shutil.rmtree(folder, ignore_errors=True)
        with connect(f"ws{url.removeprefix('http')}/v1/realtime") as client:
            client.recv(timeout=60)
        while fetch(f"{url}/readyz") != (200, "ready\nexport_incomplete\n"):
            """It is on another thread that things are kept."""
        assert "streamser_export_incomplete 1.0" in fetch(f"{url}/metrics")[1]
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 1


def test_ctrl_c_ends_a_server_that_nobody_uses_at_once() -> None:
    """With exit code 0: it was asked to."""
    with serving("serve", *QUIET) as (server, _):
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0


def test_a_server_logs_its_sessions_as_json_if_asked() -> None:
    """A line each at the beginning and at the end, beside what is said to people."""
    with serving("serve", *QUIET, "--log-format", "json") as (server, url):
        with connect(f"ws{url.removeprefix('http')}/v1/realtime?meeting=ops") as client:
            session_id = json.loads(client.recv(timeout=60))["session_id"]
            client.send(json.dumps({"type": "streamser.finish"}))
            for _ in client:
                continue
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=60)
    told = [json.loads(line) for line in said.splitlines()]
    assert [line["message"] for line in told if line["event"] == "log"] == [
        "Ending: what was said is still told."
    ]
    # A machine with much else to do is told of as well.
    lines = [line for line in told if line["event"] not in ("log", "loop_late")]
    assert [line["event"] for line in lines] == ["opened", "closed"]
    for line in lines:
        assert (line["session"], line["meeting"], line["level"]) == (session_id, "ops", "info")
        assert line["peer"].startswith("127.0.0.1:")
    assert lines[1]["reason"] == "finished"


def test_whatever_workers_write_is_json_if_asked(tmp_path: Path) -> None:
    """Logged, warned, printed, written by C code, or said of one that is lost; and whose it is."""
    point = {"emotion_models/chatters": "chatters:make"}
    package = write_package(tmp_path, "chatters", point, CHATTERS)
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    server = start(
        *("serve", *QUIET, "--model", "chatters", "--workers", "2", "--log-format", "json"),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    lines: list[dict[str, Any]] = []

    def read_until(message: str, times: int) -> None:
        assert server.stderr is not None
        while sum(str(line.get("message")).startswith(message) for line in lines) < times:
            lines.append(json.loads(server.stderr.readline()))

    try:
        read_until("Serving http", 1)
        read_until("logged by us", 2)
        pid = next(line["message"] for line in lines if line.get("worker") == 1).split()[-1]
        os.kill(int(pid), signal.SIGKILL)
        read_until("the process of the models ended, signal 9", 1)
        read_until("logged by us", 3)
        server.send_signal(signal.SIGTERM)
        _, rest = server.communicate(timeout=60)
        lines += map(json.loads, rest.splitlines())
        assert server.returncode == 0
    finally:
        server.kill()
        server.communicate()
    assert "my words" not in str(lines)
    for worker in (0, 1):
        # Of two in one place: the second is the one that took the place of the lost.
        own = [line for line in lines if line.get("worker") == worker][:6]
        levels = ["warning", "warning", "warning", "error", "error", "info"]
        assert [line["level"] for line in own] == levels
        printed, written, warned, logged, lost, ours = (line["message"] for line in own)
        assert printed.startswith("printed by ")
        assert (written, logged, ours) == ("written", "logged by others", "logged by us")
        assert "UserWarning: warned of" in warned
        assert lost == "lost has ended by a fault"
        assert all("ValueError at chatters.py:" in line["reason"] for line in own[-2:])


def test_what_ends_a_server_is_json_if_asked() -> None:
    """The last line as all others."""
    result = run("serve", *QUIET, "--log-format", "json", "--tls-key", "/nowhere/key.pem")
    assert result.exit_code == 2
    (line,) = map(json.loads, result.stderr.splitlines())
    assert (line["level"], line["event"]) == ("error", "log")
    assert "tls_cert" in line["message"]


def test_a_server_says_what_it_keeps_before_anybody_consents(tmp_path: Path) -> None:
    """What was kept too long ago is gone by then."""
    old = tmp_path / "20200101T000000Z_ops_Ann_sess_1.jsonl"
    old.write_text("{}")
    kept = ("--export", str(tmp_path), "--export-as", "csv", "--keep-days", "30")
    own = ("--set", "server.responsible=Acme Ltd")
    with serving("serve", *QUIET, *kept, *own) as (_, url):
        page = fetch(f"{url}/")[1]
    assert "files on its own disk (jsonl, csv). It removes them 30 days after" in page
    assert "Acme Ltd" in page
    assert not old.exists()
    refuses(run("serve", *QUIET, "--keep-days", "3"), 2, "--keep-days goes with --export DIR")


def test_a_server_answers_plain_requests() -> None:
    """Health, readiness, metrics, the schemas, the page; nothing else."""
    with serving("serve", *QUIET) as (_, url):
        assert fetch(f"{url}/healthz") == (200, "ok\n")
        assert fetch(f"{url}/readyz") == (200, "ready\n")
        status, metrics = fetch(f"{url}/metrics")
        assert status == 200
        told = ("streams", "tasks", "threads", "kept_events", "queue_jobs", "queue_oldest_seconds")
        for name in (*told, "real_time_factor"):
            assert f"streamser_{name}" in metrics
        schemas = json.loads(fetch(f"{url}/v1/protocol.json")[1])
        assert {"events", "messages", "stamp", "$defs"} <= set(schemas)
        status, page = fetch(f"{url}/")
        assert status == 200
        assert "<title>" in page
        assert fetch(f"{url}/streamser.js")[0] == 200
        for outside in ("/nothing", "/../pyproject.toml", "/%2e%2e/pyproject.toml"):
            assert fetch(f"{url}{outside}")[0] == 404
        status, refused = fetch(f"{url}/v1/events?all")
        assert status == 426
        assert json.loads(refused)["error"]["code"] == "websocket_expected"


def test_a_server_that_others_can_reach_wants_tokens_and_tls() -> None:
    """It does not start without, unless told that something else protects it."""
    refuses(run("serve", "--host", "0.0.0.0", *QUIET), 2, "tokens", "TLS", "--insecure")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--token-file", "/nowhere/tokens"), "token_file"),
        (("--tls-cert", "/nowhere/cert.pem"), "tls_key"),
        (("--tls-cert", "/nowhere/cert.pem", "--tls-key", "/nowhere/key.pem"), "tls_cert"),
        (("--set", "server.max_sessions=0"), "server.max_sessions"),
        (("--host", "256.1.1.1", "--insecure"), "cannot listen"),
    ],
)
def test_settings_that_cannot_be_served_with_are_told(
    arguments: tuple[str, ...], part: str
) -> None:
    """In one line, before anything is loaded."""
    result = run("serve", *QUIET, *arguments)
    assert result.exit_code == 2, result.stderr
    assert part in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output


@pytest.mark.parametrize("keeps", [False, True])
def test_a_port_in_use_is_told(tmp_path: Path, *, keeps: bool) -> None:
    """Somebody else, or another server, has it; that is the end, whatever is to be kept."""
    kept = ("--export", str(tmp_path), "--keep-days", "3") if keeps else ()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        server = start("serve", "--asr", "none", "--port", port, *kept)
        _, said = server.communicate(timeout=60)
    assert server.returncode == 2
    complaint = said.splitlines()[-1]
    assert f"cannot listen on 127.0.0.1:{port}" in complaint
    assert "--port" in complaint
    assert "Warning" not in said


def test_the_demonstration_meets_on_the_page() -> None:
    """Three speakers of one meeting, each with a stream."""
    with serving("demo", "--web", *QUIET) as (server, url):
        address = f"ws{url.removeprefix('http')}/v1/events?meeting=demo&types=session.created"
        with connect(address) as listener:
            snapshot = json.loads(listener.recv(timeout=60))
            assert snapshot["type"] == "streamser.snapshot"
            here = {state["session"]["speaker"] for state in snapshot["sessions"]}
            while len(here) < 3:
                here.add(json.loads(listener.recv(timeout=60))["session"]["speaker"])
        assert here == {"Anna", "Ben", "Carl"}
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0


def test_options_of_the_page_need_the_page() -> None:
    """And the page excludes the others."""
    refuses(run("demo", "--port", "1"), 2, "--web")
    refuses(run("demo", "--web", "--json"), 2, "--json", "--web")
    refuses(run("demo", "--web", "--play"), 2, "--play", "--web")


def test_the_speakers_tracks_make_the_recording() -> None:
    """Each is silent where others speak; together they are what is played without the page."""
    import soundfile

    sound, _ = soundfile.read(DEMO, dtype="float32")
    tracks = split_speakers(DEMO)
    assert set(tracks) == {"Anna", "Ben", "Carl"}
    whole = sum(tracks.values())
    assert isinstance(whole, np.ndarray)
    loud = np.abs(sound) > 0.02
    assert np.array_equal(whole[loud], sound[loud])


def test_a_demonstration_without_its_play_is_told(tmp_path: Path) -> None:
    """An installation that lacks a file says which."""
    with pytest.raises(AudioError, match=r"demo\.json"):
        split_speakers(tmp_path / "demo.flac")
