"""Whose an utterance is after all, in everything that is kept of a session."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec

from streamser.client import shift_times
from streamser.events import (
    EmotionCompleted,
    MoodShifted,
    SpeakerChange,
    SpeakerPart,
    SpeakersChanged,
    encode_event,
)
from streamser.export.forget import Person, Traces
from streamser.export.read import EventFile, read_recording
from streamser.export.subtitles import to_vtt
from streamser.export.tables import to_csv
from streamser.export.tiers import to_textgrid
from streamser.export.timeline import timeline_of
from streamser.export.utterances import UNCERTAIN, Utterances, read_utterance
from streamser.report.figures import figures_of
from tests.export.script import Script, gathered, saved, stamped


def talk() -> tuple[Script, str, str, str]:
    """Make a session of one microphone in which two voices were told apart, at first wrongly."""
    script = Script("s")
    first = script.say(1000, 3000, "one", speaker="speaker 1")
    second = script.say(4000, 6000, "two", "angry", speaker="speaker 1")
    third = script.say(7000, 9000, "three", speaker="speaker 2")
    return script, first, second, third


def named(script: Script) -> list[str | None]:
    """Return whose the utterances are."""
    return [each.speaker for each in gathered(script.events).utterances]


def test_an_utterance_is_whose_it_is_after_all() -> None:
    """Names first, then changes, which may use the new names; emotions stay as they were."""
    script, _, second, third = talk()
    before = gathered(script.events).utterances[1].emotion
    script.revise({second: "speaker 2", third: "Ann"}, {"speaker 1": "Ann"})
    assert named(script) == ["Ann", "speaker 2", "Ann"]
    after = gathered(script.events).utterances[1].emotion
    assert before is not None
    assert after == msgspec.structs.replace(before, speaker="speaker 2")


def test_two_names_that_change_places_are_not_run_together() -> None:
    """What had one label has another, all at once."""
    script, *_ = talk()
    script.revise(renamed={"speaker 1": "speaker 2", "speaker 2": "speaker 1"})
    assert named(script) == ["speaker 2", "speaker 2", "speaker 1"]


def test_an_utterance_of_nobody_that_could_be_told_says_so() -> None:
    """A wrong name would be worse than none."""
    script, first, _, _ = talk()
    script.revise({first: None})
    assert named(script)[0] is None
    assert timeline_of(gathered(script.events)).utterances[0].speaker == UNCERTAIN


def test_every_export_follows(tmp_path: Path) -> None:
    """Tables, subtitles, tiers and the report are made of the same records."""
    script, first, _, _ = talk()
    script.revise({first: "speaker 2"}, {"speaker 2": "Ben"})
    script.revise(renamed={"speaker 1": "Ann", "speaker 2": "Ben"})
    recording = read_recording(saved(tmp_path / "s.jsonl", script.close()))
    rows = list(csv.DictReader(io.StringIO(to_csv(recording))))
    assert [row["speaker"] for row in rows] == ["Ben", "Ann", "Ben"]
    timeline = timeline_of(recording)
    assert "<v Ben><c.happy>[happy] one" in to_vtt(timeline)
    assert "<v Ann><c.angry>[angry] two" in to_vtt(timeline)
    assert 'name = "Ben transcript"' in to_textgrid(timeline)
    talkers = figures_of(recording).talkers
    assert [(each.name, each.utterances) for each in talkers] == [("Ben", 2), ("Ann", 1)]
    assert [share.category for share in talkers[0].categories] == ["happy"]


def test_parts_of_an_utterance_stay_with_it() -> None:
    """Who speaks when, where several do; renamed as the rest, and moved with the clock."""
    script, first, _, _ = talk()
    parts = (
        SpeakerPart(start_ms=1000, end_ms=1800, speaker="speaker 1"),
        SpeakerPart(start_ms=1800, end_ms=3000, speaker="speaker 2"),
    )
    change = SpeakerChange(item_id=first, speaker="speaker 2", parts=parts)
    script.tell(SpeakersChanged, changes=(change,))
    script.revise(renamed={"speaker 2": "Ben"})
    record = gathered(script.events).utterances[0]
    assert record.speaker == "Ben"
    assert [part.speaker for part in record.parts] == ["speaker 1", "Ben"]


def test_parts_of_no_possible_length_are_passed_over(tmp_path: Path) -> None:
    """As all other times that cannot be."""
    script, first, _, _ = talk()
    part = SpeakerPart(start_ms=3000, end_ms=1000, speaker="speaker 2")
    script.tell(
        SpeakersChanged, changes=(SpeakerChange(item_id=first, speaker="x", parts=(part,)),)
    )
    recording = read_recording(saved(tmp_path / "s.jsonl", script.close()))
    assert recording.utterances[0].speaker == "speaker 1"
    assert "less than nothing" in recording.notes[0]


def test_parts_move_with_the_clock_of_a_restarted_server() -> None:
    """In finals as in corrections."""
    script, first, _, _ = talk()
    parts = (SpeakerPart(start_ms=1000, end_ms=1800, speaker="speaker 1"),)
    script.tell(SpeakersChanged, changes=(SpeakerChange(item_id=first, speaker="x", parts=parts),))
    final = next(event for event in script.events if isinstance(event, EmotionCompleted))
    for event in (script.events[-1], msgspec.structs.replace(final, parts=parts)):
        moved = shift_times(event, 500)  # type: ignore[arg-type]
        assert isinstance(moved, SpeakersChanged | EmotionCompleted)
        told = moved.parts if isinstance(moved, EmotionCompleted) else moved.changes[0].parts
        assert (told[0].start_ms, told[0].end_ms) == (1500, 2300)


def test_shifts_of_a_meeting_are_told_of_the_names_that_are_known_now(tmp_path: Path) -> None:
    """Of the second microphone with its number, as the meeting has told them."""
    one, two = Script("a", meeting="m"), Script("b", meeting="m")
    one.say(1000, 2000, speaker="speaker 1")
    two.say(3000, 4000, speaker="speaker 1")
    two.revise(renamed={"speaker 1": "Ann"})
    path = stamped(tmp_path / "m.jsonl", {"a": (one.close(), 0), "b": (two.close(), 0)}, "m")
    lines = path.read_bytes().splitlines(keepends=True)
    shifts = [
        MoodShifted(
            event_id="e", meeting="m", at_ms=5000, speaker=who, category="sad", previous="happy"
        )
        for who in ("speaker 1", "speaker 1 (stream 2)")
    ]
    place = next(n for n, line in enumerate(lines) if b"speakers.changed" in line)
    lines[place:place] = [encode_event(shift) + b"\n" for shift in shifts]
    path.write_bytes(b"".join(lines))
    told = [shift.speaker for shift in read_recording(path).shifts]
    assert told == ["speaker 1", "Ann (stream 2)"]


def test_a_list_of_utterances_follows_what_comes_after_them() -> None:
    """As the library collects them."""
    script, first, second, _ = talk()
    script.revise({second: None, first: "speaker 2"}, {"speaker 2": "Ben"})
    said = Utterances()
    for event in script.events:
        said.follow(event)
        spoken = read_utterance(event, transcribed=True)
        if spoken is not None:
            said.append(spoken)
    assert [each.speaker for each in said] == ["speaker 2", None, None]
    told = [each.emotion.speaker for each in said if each.emotion is not None]
    assert told == ["speaker 2", None, "Ben"]


def test_parts_are_a_column_only_where_asked_for() -> None:
    """Most have one speaker."""
    script, *_ = talk()
    final = next(event for event in script.events if isinstance(event, EmotionCompleted))
    part = SpeakerPart(start_ms=1000, end_ms=1800, speaker="speaker 1")
    whole = msgspec.structs.replace(final, parts=(part,))
    said = Utterances()
    spoken = read_utterance(whole, transcribed=False)
    assert spoken is not None
    said.append(spoken)
    assert "parts" not in said.to_frame().columns
    assert list(said.to_frame(parts=True)["parts"]) == [((1.0, 1.8, "speaker 1", None),)]


def test_who_is_forgotten_is_so_under_the_label_that_became_their_name(tmp_path: Path) -> None:
    """No utterance, and no line that names them, is left."""
    script, _, second, third = talk()
    script.revise({second: "speaker 2"}, {"speaker 1": "Ann"})
    path = saved(tmp_path / "s.jsonl", script.close())
    traces = Traces(Person("Ann"))
    for line in EventFile(path):
        traces.learn(line)
    left = [rest for line in EventFile(path) if (rest := traces.rest(line)) is not None]
    kept = b"".join(left)
    assert traces.utterances == 2  # the one that was hers for a while names her in its line
    assert b"Ann" not in kept
    assert b"speaker 1" not in kept
    assert third.encode() in kept
