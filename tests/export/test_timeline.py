"""Several sessions lie on one clock, where somebody knows how."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamser.errors import StreamserError
from streamser.export.read import read_recording
from streamser.export.timeline import timeline_of
from tests.export.script import Script, gathered, saved, stamped


def test_a_meeting_goes_by_its_own_clock(tmp_path: Path) -> None:
    """An utterance lies where its sound arrived, with its words and readings."""
    anna, ben = Script("a", speaker="Anna", meeting="m"), Script("b", speaker="Ben", meeting="m")
    anna.say(5000, 6000, "hi", words=[("hi", 5100, 5900)])
    item = ben.begin(500)
    ben.read(item, 500, 1500, "what")
    path = stamped(tmp_path / "m.jsonl", {"a": (anna.close(), 0), "b": (ben.events, 5500)}, "m")
    timeline = timeline_of(read_recording(path))
    first, second = timeline.utterances
    assert (first.speaker, first.start_ms, first.end_ms) == ("Anna", 5000, 6000)
    assert (second.speaker, second.start_ms, second.end_ms) == ("Ben", 6000, 7000)
    assert second.readings[0].emotion.window.end_ms == second.partials[0].end_ms == 7000
    assert first.words[0].start_ms == 5100
    assert timeline.speakers == ("Anna", "Ben")
    assert timeline.sound is None


def test_a_session_alone_keeps_the_clock_of_its_sound(tmp_path: Path) -> None:
    """Subtitles of a recording fit the recording, also where it was part of a meeting."""
    anna = Script("a", speaker="Anna", meeting="m", source="anna.wav")
    anna.say(5000, 6000)
    path = stamped(tmp_path / "m.jsonl", {"a": (anna.close(), 60_000)}, "m")
    timeline = timeline_of(read_recording(path))
    assert timeline.utterances[0].start_ms == 5000
    assert timeline.sound == "anna.wav"


@pytest.mark.parametrize("meeting", [None, "m"])
def test_sessions_of_which_nobody_knows_are_refused(tmp_path: Path, meeting: str | None) -> None:
    """One line names them, and what to do."""
    one, two = Script("a", meeting=meeting), Script("b", meeting=meeting)
    one.say(1000, 2000)
    two.say(1000, 2000)
    recording = read_recording(saved(tmp_path / "x.jsonl", one.close(), two.close()))
    with pytest.raises(StreamserError, match=r"--session ID \(a, b\)") as refusal:
        timeline_of(recording)
    assert "--one-clock" in str(refusal.value)
    assert len(timeline_of(recording, one_clock=True).utterances) == 2


def test_two_meetings_do_not_become_one(tmp_path: Path) -> None:
    """Stamped as they may be, their clocks are not the same."""
    paths = []
    for name in ("m", "n"):
        script = Script(name, meeting=name)
        script.say(1000, 2000)
        paths.append(stamped(tmp_path / f"{name}.jsonl", {name: (script.close(), 0)}, name))
    with pytest.raises(StreamserError, match="not of one meeting"):
        timeline_of(read_recording(*paths))


def test_one_label_of_two_microphones_is_not_one_person() -> None:
    """Guessed speakers are told apart by their sessions, as in a meeting's events."""
    one, two = Script("a"), Script("b")
    one.say(1000, 2000, speaker="speaker 1")
    two.say(1500, 2500, speaker="speaker 1")
    two.say(3000, 4000)
    timeline = timeline_of(gathered(one.close(), two.close()), one_clock=True)
    assert timeline.speakers == ("speaker 1", "speaker 1 (stream 2)", "b")


def test_nothing_begins_before_the_clock(tmp_path: Path) -> None:
    """Sound that came faster than it was spoken would."""
    one, two = Script("a", meeting="m"), Script("b", meeting="m")
    one.say(1000, 9000, words=[("x", 1000, 2000)])
    two.say(1000, 2000)
    path = stamped(tmp_path / "m.jsonl", {"a": (one.close(), -8000), "b": (two.close(), 0)}, "m")
    first, _ = timeline_of(read_recording(path)).utterances
    assert (first.start_ms, first.end_ms) == (0, 1000)
    assert first.words[0].start_ms == 0
