"""When the events of a recording were told, and what cannot be played."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamser.errors import StreamserError
from streamser.events import Event, Marker, SessionCreated, SpeechStarted, encode_event
from streamser.export.replay import read_playlist
from tests.export.script import Script, saved, stamped


def talk(session_id: str = "s", **how: str) -> list[Event]:
    """Return a session of two utterances with a long pause between them."""
    script = Script(session_id, **how)
    script.say(1000, 2000, "hello")
    script.say(60_000, 61_000, "bye", "sad")
    return script.close(70_000)


def test_a_session_goes_by_its_audio_and_its_lag(tmp_path: Path) -> None:
    """In the order of the file; what speaks of no sound comes with what stands before it."""
    events = talk()
    score = read_playlist([saved(tmp_path / "talk.jsonl", events)])
    assert [cue.event for cue in score.cues] == events
    due = [cue.due_ms for cue in score.cues]
    assert due == sorted(due)
    assert due == [cue.at_ms for cue in score.cues]
    # Created, started (lag 20), stopped (30), committed, words (80), emotion (90), mood.
    assert due[:7] == [0, 1020, 2030, 2030, 2080, 2090, 2090]
    assert score.length_ms == 70_000
    assert (score.meeting, score.notes) == (None, ())


def test_a_meeting_goes_by_the_clock_of_the_server(tmp_path: Path) -> None:
    """Sessions of one or several files, each event at the time of its stamp."""
    parts = {"a": (talk("a", speaker="Ann"), 0), "b": (talk("b", speaker="Ben"), 1500)}
    whole = read_playlist([stamped(tmp_path / "all.jsonl", parts, "m")])
    assert whole.meeting == "m"
    assert whole.sessions == ("a", "b")
    begun = [cue for cue in whole.cues if isinstance(cue.event, SpeechStarted)]
    assert [(cue.event.session_id, cue.at_ms) for cue in begun] == [
        ("a", 1020), ("b", 2520), ("a", 60_020), ("b", 61_520),
    ]  # fmt: skip
    files = []
    for name, (events, began) in parts.items():
        files.append(stamped(tmp_path / f"{name}.jsonl", {name: (events, began)}, "m"))
    apart = read_playlist(files)
    assert {(cue.event.event_id, cue.at_ms) for cue in apart.cues} == {
        (cue.event.event_id, cue.at_ms) for cue in whole.cues
    }


def test_who_came_late_alone_is_played_from_their_beginning(tmp_path: Path) -> None:
    """Nobody waits for the part of the meeting that is not played."""
    parts = {"a": (talk("a"), 0), "b": (talk("b"), 300_000)}
    score = read_playlist([stamped(tmp_path / "all.jsonl", parts, "m")], ["b"])
    assert score.sessions == ("b",)
    assert score.cues[0].due_ms == score.cues[0].at_ms == 0
    assert score.cues[1].at_ms == 1020


def test_long_pauses_are_cut_where_nobody_speaks(tmp_path: Path) -> None:
    """What moods go by stays as it was; an utterance takes as long as it took."""
    script = Script()
    script.say(1000, 21_000, "a long tale")
    script.say(60_000, 61_000)
    path = saved(tmp_path / "talk.jsonl", script.close())
    score = read_playlist([path], longest_pause_ms=2000)
    whole = read_playlist([path])
    assert [cue.at_ms for cue in score.cues] == [cue.at_ms for cue in whole.cues]
    due = {type(cue.event).__name__: cue.due_ms for cue in reversed(score.cues)}
    assert due["SpeechStopped"] - due["SpeechStarted"] == 21_030 - 1020
    begun = [cue.due_ms for cue in score.cues if isinstance(cue.event, SpeechStarted)]
    assert begun[1] == 21_090 + 2000


def test_what_comes_twice_is_played_once(tmp_path: Path) -> None:
    """A listener that came back has heard some events again."""
    events = talk()
    score = read_playlist([saved(tmp_path / "talk.jsonl", events[:5], events[2:])])
    assert [cue.event for cue in score.cues] == events


def test_nothing_follows_the_end_of_a_session(tmp_path: Path) -> None:
    """What claims to is left out: a server would not know whose it is."""
    script = Script()
    script.close()
    script.tell(Marker, id="m", audio_ms=5)
    score = read_playlist([saved(tmp_path / "talk.jsonl", script.events)])
    assert [cue.event.seq for cue in score.cues] == [1, 2]


def test_a_missing_beginning_is_made_up_and_said(tmp_path: Path) -> None:
    """From what the events say of themselves: words, model, speaker, meeting."""
    parts = {"a": (talk("a", speaker="Ann")[3:], 0)}
    score = read_playlist([stamped(tmp_path / "tail.jsonl", parts, "m")])
    created = score.cues[0].event
    assert isinstance(created, SessionCreated)
    assert created.seq == 3
    assert (created.session.speaker, created.session.meeting) == ("Ann", "m")
    assert created.session.models.asr is not None
    assert created.session.models.emotion == "compact"
    (note,) = score.notes
    assert "the beginning of a is missing" in note


def test_gaps_and_cut_ends_are_said(tmp_path: Path) -> None:
    """All that is there is played."""
    events = talk()
    path = saved(tmp_path / "cut.jsonl", [*events[:4], *events[6:9]])
    path.write_bytes(path.read_bytes() + encode_event(events[9])[:40])
    score = read_playlist([path])
    assert len(score.cues) == 7
    cut, gap = score.notes
    assert "cut off" in cut
    assert "2 events of s are not in the file" in gap


def test_sessions_that_nobody_can_place_are_refused(tmp_path: Path) -> None:
    """With the names to choose from; one of them alone is played."""
    path = saved(tmp_path / "two.jsonl", talk("a"), talk("b"))
    with pytest.raises(StreamserError, match=r"not of one meeting.*--session ID \(a, b\)"):
        read_playlist([path])
    same = saved(tmp_path / "same.jsonl", talk("a", meeting="m"), talk("b", meeting="m"))
    with pytest.raises(StreamserError, match="no server has stamped them"):
        read_playlist([same])
    assert read_playlist([path], ["b"]).sessions == ("b",)
    with pytest.raises(StreamserError, match="there is no session c; there are a, b"):
        read_playlist([path], ["c"])


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """In one line, as by ``streamser export``."""
    other = tmp_path / "other.jsonl"
    other.write_text('{"hello": 1}\n')
    with pytest.raises(StreamserError, match="no events of ours"):
        read_playlist([other])
    with pytest.raises(StreamserError, match="No such file"):
        read_playlist([tmp_path / "none.jsonl"])
