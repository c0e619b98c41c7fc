"""The files that the page hands out are those of the command line; without a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamser.events import (
    Event,
    SpeakerChange,
    SpeakersChanged,
    TranscriptionCompleted,
    WordTiming,
)
from streamser.export.read import read_recording
from streamser.export.tables import to_csv
from streamser.report.figures import figures_of
from streamser.server.dialects.commands import Interest
from streamser.server.meetings.hub import Hub, Subscription
from tests.export.script import ODD, Script
from tests.export.test_parts import parts_of, talk
from tests.server.serving import Told

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")

SCRIPT = Path(__file__).with_name("recording.mjs")


def handed_out(events: list[Told], *options: str) -> dict[str, Any]:
    """Return the files of a page that was told these events."""
    done = subprocess.run(
        ["node", str(SCRIPT), *options],
        input=json.dumps(events),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files: dict[str, Any] = json.loads(done.stdout)
    return files


def meeting() -> list[Event]:
    """Make a talk of two: odd words, a failure, a voice without words, one that breaks off."""
    ann = Script("a", speaker="Ann", meeting="m")
    for n, text in enumerate(("hello, all", '=SUM(A1) "quoted"', "", *ODD)):
        ann.say(2000 * n, 2000 * n + 1234, text, category=("happy", "sad")[n % 2])
    ann.fail(80_000, 81_000, "the queue\nis full")
    item = ann.begin(82_000)
    ann.read(item, 82_000, 83_500, "and then")
    ben = Script("b", speaker="-Ben", meeting="m", source="talk.wav")
    ben.say(500, 1500, "well", alone="angry")
    lost = ben.begin(3000)
    ben.stop(lost, 4000)
    ben.sound(lost, 3000, 4000)
    ben.begin(6000)
    ben.clear()
    mute = Script("c", asr=None)
    first = mute.say(100, 900, None, speaker="speaker 1")
    mute.say(1100, 1900, None, speaker="speaker 2")
    third = mute.say(2100, 2900, None, speaker="speaker 2")
    mute.revise({first: "speaker 2", third: None}, {"speaker 2": "Eve"})
    mute.revise(renamed={"speaker 2": "Eve"})
    mute.close()
    return [*ann.events, *ben.events, *mute.events]


def heard(came: int, events: list[Event]) -> list[Told]:
    """Return what a listener is told who comes when so many events are over."""
    hub = Hub(10_000, 600.0, 30.0, 1000)
    for event in events[:came]:
        hub.publish(event, (event.clock_ms or 0) / 1000)
    after: list[Told] = []
    ear = Subscription(Interest(), lambda letter: after.append(json.loads(letter.bodies[0])))
    snapshot, missed = hub.subscribe(ear, 0, 90.0)
    for event in events[came:]:
        hub.publish(event, (event.clock_ms or 0) / 1000)
    return [
        json.loads(msgspec.json.encode(snapshot)),
        *(json.loads(letter.bodies[0]) for letter in missed),
        *after,
    ]


@pytest.mark.parametrize("came", [0, 30, 10_000])
def test_the_files_of_the_page_are_those_of_the_command_line(tmp_path: Path, came: int) -> None:
    """The JSONL is what was told; the CSV is that of ``export`` made of it."""
    events = heard(came, meeting())
    files = handed_out(events)
    assert [json.loads(line) for line in files["jsonl"].split("\n")[:-1]] == events
    path = tmp_path / "page.jsonl"
    path.write_text(files["jsonl"], encoding="utf-8")
    recording = read_recording(path)
    assert not recording.notes
    assert files["csv"] == "\ufeff" + to_csv(recording)
    assert files["csv"].count("\n") > 20
    figures = figures_of(recording, one_clock=True)
    assert {each.name for each in figures.talkers} >= {"Ann", "-Ben"}


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("categories", [("angry", "sad"), ("angry", None), (None, None)])
@pytest.mark.parametrize("labels", [("speaker 1", "speaker 2"), ("speaker 2", None)])
@pytest.mark.parametrize("known", [True, False])
def test_where_several_speak_in_one_each_has_a_row(
    tmp_path: Path,
    labels: tuple[str | None, ...],
    categories: tuple[str | None, ...],
    timed: bool,
    known: bool,
) -> None:
    """As in ``export``: also after a correction, and for who comes when all of it is over."""
    script, item = talk(parts_of(*labels, categories=categories), timed=timed)
    before = len(script.events)
    now = parts_of("speaker 3", labels[1], categories=(None, None))
    change = SpeakerChange(item_id=item, speaker="speaker 3", parts=now)
    script.tell(SpeakersChanged, changes=(change,))
    script.tell(SpeakersChanged, renamed={"speaker 3": "Ann"})
    events = script.close()
    assert_same_csv(tmp_path, as_told(events[:before]))
    assert_same_csv(tmp_path, heard(0 if known else len(events), events))


@pytest.mark.parametrize(
    "words",
    [
        ("two", "-bedroom", "flats", ",", "said", "she"),
        ("今日", "は", "いい", "天気", "です", "ね。"),
        ("ราคา", "แพง", "มาก", "ๆ"),
        ("好", "，", "OK", "吗", "？"),
        ("", "\u202edone", "not\x00hing", "\ufeffmark", "else"),
    ],
)
def test_words_go_to_whose_part_they_were_said_in(tmp_path: Path, words: tuple[str, ...]) -> None:
    """In any script; what no blank parts from what is before it stays with that."""
    blank = " " if words[0].isascii() else ""
    script, _ = talk(parts_of("speaker 1", "speaker 2"))
    spoken = tuple(
        WordTiming(word=word, start_ms=1500 + 800 * n, end_ms=2200 + 800 * n)
        for n, word in enumerate(words)
    )
    for place, event in enumerate(script.events):
        if isinstance(event, TranscriptionCompleted):
            said = msgspec.structs.replace(event, transcript=blank.join(words), words=spoken)
            script.events[place] = said
    assert_same_csv(tmp_path, as_told(script.close()))


def as_told(events: list[Event]) -> list[Told]:
    """Return events as a client reads them."""
    return [json.loads(msgspec.json.encode(event)) for event in events]


def assert_same_csv(folder: Path, events: list[Told]) -> None:
    """Compare the page's CSV with that of ``export``, and its events with what it was told."""
    files = handed_out(events)
    assert [json.loads(line) for line in files["jsonl"].split("\n")[:-1]] == events
    path = folder / "page.jsonl"
    path.write_text(files["jsonl"], encoding="utf-8")
    assert files["csv"] == "\ufeff" + to_csv(read_recording(path))
    assert files["csv"].count("\n") == 3


def test_a_long_meeting_loses_nothing_that_the_files_tell(tmp_path: Path) -> None:
    """What only mattered until the next reading is left out, every final is there."""
    script = Script("a", speaker="Ann")
    for n in range(40):
        item = script.begin(1000 * n)
        script.read(item, 1000 * n, 1000 * n + 500, "well")
        script.fail(1000 * n, 1000 * n + 900)
    events = [msgspec.to_builtins(event) for event in script.close()]
    whole, thinned = handed_out(events), handed_out(events, "100")
    assert whole["kept"] == len(events)
    assert thinned["kept"] < len(events) - 40
    path = tmp_path / "page.jsonl"
    path.write_text(thinned["jsonl"], encoding="utf-8")
    assert thinned["csv"] == "\ufeff" + to_csv(read_recording(path))
    assert thinned["csv"].count("the queue is full") == 40
