"""The commands that look at the machine and the settings."""

from __future__ import annotations

import io
import json
import re
import signal
import sys

import pytest

from streamser.cli.console import complain, tell
from streamser.cli.doctor import Check, Status, can_listen, doctor
from streamser.events import (
    SessionCreated,
)
from streamser.settings_loader import preset_names
from tests.cli.running import events_of, run, start
from tests.virtual_mic import virtual_microphone


def test_config_show_tells_where_each_value_comes_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Default, preset, environment and flag, the later winning."""
    monkeypatch.setenv("STREAMSER_PARTIAL_EVERY_MS", "750")
    result = run("config", "show", "--config", "embedded", "--set", "asr.beam_size=3", "--json")
    rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(result.stdout)}
    assert rows["asr.beam_size"] == (3, "flag")
    assert rows["partial.every_ms"] == (750, "environment STREAMSER_PARTIAL_EVERY_MS")
    assert rows["asr.engine"] == ("whisper", "config embedded.toml")
    assert rows["vad.engine"] == ("silero", "default")


def test_config_show_draws_a_table() -> None:
    """People get the same rows: `none` and `true` as they would write them."""
    lines = run("config", "show", "--offline").stdout.splitlines()
    assert any(line.split() == ["offline", "true", "flag"] for line in lines)
    assert any(line.split() == ["audio.device", "none", "default"] for line in lines)


def test_config_show_is_plain_where_a_table_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 40 columns each setting is one line, which the terminal may break."""
    monkeypatch.setenv("COLUMNS", "40")
    lines = run("config", "show", "--offline").stdout.splitlines()
    keys = [row["key"] for row in json.loads(run("config", "show", "--json").stdout)]
    assert [line.partition(" = ")[0] for line in lines] == keys
    assert "offline = true  (flag)" in lines
    assert "audio.device = none  (default)" in lines


def test_a_named_option_and_its_dotted_key_are_the_same_setting() -> None:
    """`--asr none` is short for `--set asr.engine=none`."""
    short = run("config", "show", "--json", "--asr", "none", "--language", "de")
    long = run("config", "show", "--json", "--set", "asr.engine=none", "--set", "asr.language=de")
    assert short.exit_code == 0
    assert short.stdout == long.stdout


def test_config_presets_says_what_each_is_for() -> None:
    """Every preset has a sentence."""
    lines = run("config", "presets").stdout.splitlines()
    assert [line.split()[0] for line in lines] == preset_names()
    assert all(line.endswith(".") and len(line) > 30 for line in lines)


def test_the_doctor_finds_this_machine_fit() -> None:
    """Where the tests run, speech can be found, emotion read, and the speed measured."""
    result = run("doctor", "--json")
    report = json.loads(result.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert result.exit_code == 0
    assert report["can_listen"] is True
    for name in ["Python", "soxr", "soundfile", "av", "silero", "webrtc", "rules", "compact"]:
        assert checks[name]["status"] == "works", checks[name]
    assert "× real time" in checks["2 s of speech"]["found"]
    assert any(check["group"] == "asr" for check in report["checks"])


def test_the_doctor_speaks_plainly() -> None:
    """Marks at the head of lines, an arrow before advice, a verdict at the end."""
    result = run("doctor")
    lines = result.stdout.splitlines()
    assert lines[-1] == "streamser can run here."
    assert any(line.startswith("  ✓ silero") for line in lines)
    assert "Traceback" not in result.output


def check(group: str, status: Status, name: str = "any") -> Check:
    """Make the outcome of a check."""
    return Check(group=group, name=name, status=status, found="")


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        """Claim to be one."""
        return True


def test_what_is_said_on_a_terminal_is_broken_between_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A path that is longer than a row is left to be copied; in a file a line stays one."""
    monkeypatch.setenv("COLUMNS", "30")
    path = "/home/somebody/meetings/half-a-year-ago.jsonl"
    line = f"{path}: 12 utterances, half-heard, with its sound in it."
    told, kept = Terminal(), io.StringIO()
    for stream in (told, kept):
        monkeypatch.setattr(sys, "stderr", stream)
        tell(line)
    rows = re.sub(r"\x1b\[[0-9;]*m", "", told.getvalue()).splitlines()
    assert rows == [f"{path}:", "12 utterances, half-heard,", "with its sound in it."]
    assert kept.getvalue() == f"{line}\n"


@pytest.mark.parametrize(
    ("variables", "colours"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, True),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], colours: bool
) -> None:
    """NO_COLOR=1 and TERM=dumb give plain text, from the doctor as from what is said on stderr."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    checks = [check(group, "works") for group in ("audio", "vad", "emotion")]
    checks.append(Check(group="asr", name="any", status="absent", found="", advice="do this"))
    monkeypatch.setattr("streamser.cli.doctor.run_checks", lambda: checks)
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    doctor(as_json=False)
    tell("good to know")
    complain("not good")
    assert "→ do this" in out.getvalue()
    assert "good to know" in err.getvalue()
    assert ("\x1b" in out.getvalue(), "\x1b" in err.getvalue()) == (colours, colours)


@pytest.mark.parametrize("lacking", ["audio", "vad", "emotion"])
def test_without_sound_speech_or_emotion_nobody_can_listen(lacking: str) -> None:
    """One working thing of each kind is enough, none of a kind is not."""
    checks = [check(group, "works") for group in ("audio", "vad", "emotion")]
    checks += [check("vad", "broken"), check("asr", "absent"), check("microphone", "broken")]
    assert can_listen(checks)
    assert not can_listen([*checks, check("speed", "broken", "2 s of speech")])
    assert not can_listen([each for each in checks if each.group != lacking])


def test_devices_marks_the_default() -> None:
    """The table lists the inputs by the number that `listen --device` takes."""
    with virtual_microphone() as microphone:
        out, err = start("devices", env=microphone.env).communicate(timeout=60)
        as_json, _ = start("devices", "--json", env=microphone.env).communicate(timeout=60)
    inputs = json.loads(as_json)
    assert err == ""
    assert [device["is_default"] for device in inputs].count(True) == 1
    for device in inputs:
        (row,) = [line for line in out.splitlines() if line.split()[:1] == [str(device["index"])]]
        assert device["name"] in row
        assert row.rstrip().endswith("default") == device["is_default"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_the_demo_plays_the_bundled_recording_with_words() -> None:
    """It uses the embedded recogniser, says that the voices are synthetic, and stops on Ctrl-C."""
    playing = start("demo", "--json")
    assert playing.stdout is not None
    head = []
    for line in playing.stdout:
        head.append(line)
        if "transcription.completed" in line:
            break
    playing.send_signal(signal.SIGINT)
    tail, err = playing.communicate(timeout=60)
    created = events_of("".join(head) + tail)[0]
    assert playing.returncode == 0
    assert isinstance(created, SessionCreated)
    assert created.session.models.asr == "faster-whisper/tiny.en"
    assert "synthetic" in err.splitlines()[0]
