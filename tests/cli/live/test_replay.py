"""`streamser replay`: a recorded session in the terminal again."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from rich.console import Console

from streamser.cli.live.live_view import render
from streamser.cli.live.replay import play_here
from streamser.cli.live.view_state import Level, PlaybackView, ViewState
from streamser.events import EmotionCompleted, Event, MeetingUpdated, MoodUpdated
from streamser.export.replay import Playback, Playlist, read_playlist
from streamser.server.meetings.meeting import MeetingMood
from tests.cli.running import refuses, run, start
from tests.export.script import Script, saved, stamped


class Watcher:
    """A stage that remembers what it was shown after each event, and a clock moved by waiting."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self.shown: list[ViewState] = []
        self.events: list[Event] = []
        self.after: list[ViewState] = []

    def show(self, state: ViewState) -> None:
        """Remember a state."""
        self.shown.append(state)

    def advise(self, event: Event) -> None:
        """Remember an event, and what was shown with it."""
        self.events.append(event)
        self.after.append(self.shown[-1])

    def close(self) -> None:
        """Have nothing to let go."""

    def now(self) -> float:
        """Return the time."""
        return self.time_s

    def sleep(self, seconds: float) -> None:
        """Let time pass at once; like any clock it cannot tell the smallest times."""
        self.time_s += max(seconds, 1e-6)


def played(score: Playlist, speed: float = 4.0) -> Watcher:
    """Play a score; return what was shown."""
    stage = Watcher()
    cast = PlaybackView("talk.jsonl", score, speed, 30.0)
    play_here(Playback(score, speed), cast, stage, stage.now, stage.sleep)
    return stage


def talk(session_id: str = "s", speaker: str | None = None) -> list[Event]:
    """Return a session of three utterances."""
    script = Script(session_id, speaker=speaker)
    for n, category in enumerate(("happy", "sad", "sad")):
        script.say(1000 + 5000 * n, 4000 + 5000 * n, f"words {n}", category)
    return script.close()


def test_the_mood_of_a_session_is_the_one_told_live(tmp_path: Path) -> None:
    """After each event, as its own events tell it; and it takes its time."""
    events = talk()
    stage = played(read_playlist([saved(tmp_path / "talk.jsonl", events)]))
    assert stage.events == events
    told = None
    for event, state in zip(stage.events, stage.after, strict=True):
        told = event if isinstance(event, MoodUpdated) else told
        assert state.mood == told
    assert stage.time_s == pytest.approx(14.09 / 4, abs=0.01)
    words = [state.finished.transcript for state in stage.after if state.finished]
    assert words == ["words 0", "words 1", "words 2"]


def test_the_mood_of_a_meeting_is_the_one_told_live(tmp_path: Path) -> None:
    """As a server makes it of the same events at the same times of the meeting."""
    parts = {"a": (talk("a", "Ann"), 0), "b": (talk("b", "Ben"), 2500)}
    score = read_playlist([stamped(tmp_path / "m.jsonl", parts, "m")])
    stage = played(score, 1e6)
    mood, told = MeetingMood("m"), None
    for cue, state in zip(score.cues, stage.after, strict=True):
        for each in mood.take(cue.event, cue.at_ms):
            told = each.mood if isinstance(each, MeetingUpdated) else told
        assert state.mood == told
    assert sum(isinstance(event, EmotionCompleted) for event in stage.events) == 6
    finished = [state.finished for state in stage.after if state.finished]
    assert [(each.speaker, each.end_ms) for each in finished][:3] == [
        ("Ann", 4000), ("Ben", 6500), ("Ann", 9000),
    ]  # fmt: skip


def test_the_place_is_shown_where_there_is_no_sound(tmp_path: Path) -> None:
    """How far, of how much, how fast."""
    stage = played(read_playlist([saved(tmp_path / "talk.jsonl", talk())]))
    console = Console(width=100)

    drawn = console.render_lines(render(stage.after[-1], Level(), 100), pad=False)
    text = "\n".join("".join(segment.text for segment in row) for row in drawn)
    assert "0:14.0 of 0:14.0  4×" in text
    assert "dBFS" not in text


def test_a_pipe_gets_a_line_an_utterance(tmp_path: Path) -> None:
    """With names where there are several."""
    one = run("replay", saved(tmp_path / "talk.jsonl", talk()), "--speed", "1e9")
    assert one.exit_code == 0, one.stderr
    assert [line.split()[-1] for line in one.stdout.splitlines()] == ["0", "1", "2"]
    parts = {"a": (talk("a", "Ann"), 0), "b": (talk("b", "Ben"), 2500)}
    several = run("replay", stamped(tmp_path / "m.jsonl", parts, "m"), "--speed", "1e9")
    assert [line.split()[1] for line in several.stdout.splitlines()] == ["Ann", "Ben"] * 3


def test_what_cannot_be_played_is_refused_in_one_line(tmp_path: Path) -> None:
    """Wrong use by its own code."""
    path = saved(tmp_path / "two.jsonl", talk("a"), talk("b"))
    for speed in ("0", "-1", "nan", "inf"):
        refuses(run("replay", path, "--speed", speed), 2, "--speed", "greater than 0")
    refuses(run("replay", path, "--pause", "-1"), 2, "--pause")
    refuses(run("replay", path, "--port", "1"), 2, "--port", "--serve")
    refuses(run("replay", path), 1, "2 sessions", "--session ID (a, b)")
    refuses(run("replay", tmp_path / "none.jsonl"), 1, "none.jsonl")


def test_a_cut_file_is_played_up_to_there(tmp_path: Path) -> None:
    """And that is said."""
    path = saved(tmp_path / "talk.jsonl", talk())
    path.write_bytes(path.read_bytes()[:-30])
    done = run("replay", path, "--speed", "1e9")
    assert done.exit_code == 0
    assert "cut off" in done.stderr
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize("serve", [(), ("--serve", "--port", "0")])
def test_ctrl_c_ends_it_at_once_and_well(tmp_path: Path, serve: tuple[str, ...]) -> None:
    """Exit code 0: it was a recording, and nothing is lost; also after the end on the page."""
    path = saved(tmp_path / "talk.jsonl", talk())
    playing = start("replay", path, "--speed", "1e9" if serve else "4", *serve)
    assert playing.stdout is not None
    assert playing.stderr is not None
    if serve:
        while "is over" not in playing.stderr.readline():
            assert playing.poll() is None
    else:
        assert "words 0" in playing.stdout.readline()
    playing.send_signal(signal.SIGINT)
    _, err = playing.communicate(timeout=60)
    assert playing.returncode == 0, err
    assert "Traceback" not in err
    assert serve or "Stopped at" in err
