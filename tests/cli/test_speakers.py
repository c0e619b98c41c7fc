"""Telling voices apart from the command line: `--speakers` and `--enroll`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamser.events import EmotionCompleted, SessionCreated
from tests.cli.running import DEMO, events_of, refuses, run
from tests.cli.sounds import spoken, write

FILES = ("analyze", DEMO, "--asr", "none", "--format", "jsonl")
MICROPHONE = ("listen", "--file", DEMO, "--asr", "none", "--json")
SERVER = ("serve", "--asr", "none")


def labels(output: str) -> set[str | None]:
    """Return who is told to speak."""
    return {
        event.emotion.speaker for event in events_of(output) if isinstance(event, EmotionCompleted)
    }


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Return a recording of two in turn, whose own voices nobody has told of."""
    return write(tmp_path / "talk.wav", spoken(10.5, start=0.0))


@pytest.fixture
def carl(tmp_path: Path) -> Path:
    """Return a recording of the first of them alone."""
    return write(tmp_path / "carl.wav", spoken(3.6, start=0.5))


def test_voices_in_a_file_are_told_apart_unless_they_are_not_to_be(sound: Path) -> None:
    """`auto` is what stands where nothing is said."""
    files = ("analyze", sound, "--asr", "none", "--format", "jsonl")
    usual = run(*files)
    assert labels(usual.stdout) == {"speaker 1", "speaker 2"}
    assert labels(run(*files, "--speakers", "auto").stdout) == {"speaker 1", "speaker 2"}
    assert labels(run(*files, "--speakers", "off").stdout) == {None}


def test_how_many_speak_can_be_said(sound: Path) -> None:
    """The session says so, too."""
    told = run("analyze", sound, "--asr", "none", "--format", "jsonl", "--speakers", "1")
    assert labels(told.stdout) == {"speaker 1"}
    (created,) = (one for one in events_of(told.stdout) if isinstance(one, SessionCreated))
    assert created.session.speakers == 1


def test_somebody_is_known_by_a_recording(sound: Path, carl: Path) -> None:
    """From their first word, as a guess; whoever is not, has a number."""
    known = ("--asr", "none", "--enroll", f"carl={carl}")
    told = run("analyze", sound, *known, "--format", "jsonl")
    assert told.exit_code == 0, told.stderr
    assert labels(told.stdout) == {"carl", "speaker 1"}
    assert told.stdout.count('"speaker":"carl","speaker_provisional":true') >= 2
    assert labels(run("listen", "--file", carl, *known, "--json").stdout) == {"carl"}


@pytest.mark.parametrize("command", [FILES, MICROPHONE, SERVER], ids=["analyze", "listen", "serve"])
@pytest.mark.parametrize("asked", ["0", "65", "-1", "many", "", "1.5", "²"])
def test_what_is_no_number_of_people_is_refused(command: tuple[str, ...], asked: str) -> None:
    """Before anything is loaded; the line says what there is."""
    result = run(*command, f"--speakers={asked}")
    refuses(result, 2, f"--speakers {asked}", "auto, off, or a number from 1 to 64")


@pytest.mark.parametrize("command", [FILES, MICROPHONE], ids=["analyze", "listen"])
def test_a_recording_that_says_nothing_of_a_voice_is_refused(
    command: tuple[str, ...], tmp_path: Path, carl: Path
) -> None:
    """In a line that names the option and says what to do instead."""
    silent = write(tmp_path / "silent.wav", np.zeros(48_000, np.float32))
    short = write(tmp_path / "short.wav", spoken(0.6))
    text = tmp_path / "text.wav"
    text.write_text("Dear diary")
    for given, part in (
        (["ann"], "NAME=FILE"),
        (["ann="], "NAME=FILE"),
        ([f"={carl}"], "name"),
        ([f"ann={tmp_path / 'none.wav'}"], "does not exist"),
        ([f"ann={text}"], "not audio"),
        ([f"ann={silent}"], "no voice is heard"),
        ([f"ann={short}"], "0.6 s are too short"),
        ([f"ann={carl}", f"ann={carl}"], "ann is there already"),
    ):
        options = [word for pair in given for word in ("--enroll", pair)]
        refuses(run(*command, *options), 2, f"--enroll {given[-1]}", part)


def test_people_are_known_only_where_voices_are_told_apart(carl: Path) -> None:
    """What would be passed over in silence is refused."""
    known = ("--enroll", f"carl={carl}")
    for command, part in (
        ((*FILES, "--speakers", "off"), "--speakers off"),
        ((*FILES, "--speakers-from", "folder"), "--speakers-from"),
        ((*MICROPHONE, "--speaker", "Ann"), "--speaker"),
        (("listen", "--server", "ws://127.0.0.1:9"), "--server"),
    ):
        refuses(run(*command, *known), 2, "--enroll", part)
