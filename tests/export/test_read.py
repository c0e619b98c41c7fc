"""What is read back is what was said; what cannot be read is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.errors import StreamserError
from streamser.events import (
    EmotionDelta,
    ErrorBody,
    ErrorRaised,
    Finished,
    Overload,
    SessionState,
    Snapshot,
    TranscriptionCompleted,
    TranscriptionFailed,
    encode_event,
)
from streamser.export.formats import ExportFormat, render
from streamser.export.gather import Gatherer
from streamser.export.read import EventFile, choose_session, read_recording
from streamser.export.records import Recording, UtteranceRecord
from tests.export.script import Script, gathered, odd_texts, saved, stamped


def _whole() -> bytes:
    script = Script(speaker="Anna")
    script.say(1000, 2000, "hello", words=[("hello", 1100, 1900)])
    item = script.begin(3000)
    script.read(item, 3000, 4000, "half")
    script.fail(5000, 6000)
    return b"".join(encode_event(event) + b"\n" for event in script.close())


_WHOLE = _whole()


def only(recording: Recording) -> UtteranceRecord:
    """Return the one utterance of a recording."""
    (utterance,) = recording.utterances
    return utterance


def test_an_utterance_has_all_that_was_said_of_it(demo: Recording, demo_events: Path) -> None:
    """Words, scores, readings and span of each final are those of the events."""
    events = [line.event for line in EventFile(demo_events)]
    (session,) = demo.sessions
    assert session.models is not None
    assert session.models.emotion == "compact"
    assert session.closed is not None
    assert session.closed.utterances == len(session.utterances) >= 2
    assert session.audio_ms == session.closed.audio_ms == 7_000
    assert session.missing == 0
    assert len(session.moods) == len(session.utterances)
    readings = [event for event in events if isinstance(event, EmotionDelta)]
    assert readings
    assert sum(len(each.readings) for each in session.utterances) == len(readings)
    finals = {e.item_id: e for e in events if isinstance(e, TranscriptionCompleted)}
    assert len(finals) == (len(session.utterances) if session.transcribed else 0)
    for utterance in session.utterances:
        assert utterance.emotion is not None
        assert utterance.final
        assert utterance.problem is None
        window = utterance.emotion.window
        assert (utterance.start_ms, utterance.end_ms) == (window.start_ms, window.end_ms)
        if session.transcribed:
            final = finals[utterance.item_id]
            assert utterance.transcript == final.transcript
            assert utterance.words == final.words
            assert utterance.emotion == final.emotion


def test_the_sound_that_was_read_is_found_again(demo: Recording) -> None:
    """A recorded file is named by its session, and is still there."""
    (session,) = demo.sessions
    assert session.audio is not None
    assert session.audio.name == "demo.wav"


def test_the_sound_kept_by_record_is_found_beside_the_events(tmp_path: Path) -> None:
    """`--record` keeps `audio.flac` beside `session.jsonl`; no other file counts."""
    events = saved(tmp_path / "session.jsonl", Script(source="Some microphone").close())
    assert read_recording(events).sessions[0].audio is None
    (tmp_path / "audio.flac").touch()
    assert read_recording(events).sessions[0].audio == tmp_path / "audio.flac"
    other = saved(tmp_path / "other.jsonl", Script(source="Some microphone").close())
    assert read_recording(other).sessions[0].audio is None


def test_a_file_that_is_no_sound_is_not_taken_for_it(tmp_path: Path) -> None:
    """Events may come from anybody, and name what they like."""
    secret = tmp_path / "secrets.txt"
    secret.touch()
    events = saved(tmp_path / "x.jsonl", Script(source=str(secret)).close())
    assert read_recording(events).sessions[0].audio is None


def test_stages_keep_how_late_they_were() -> None:
    """Beginning, end, words and emotion each have their lag."""
    script = Script()
    script.say(1000, 2000)
    lags = only(gathered(script.close())).lags
    assert (lags.started, lags.stopped, lags.words, lags.emotion) == (20.0, 30.0, 80.0, 90.0)


def test_what_the_voice_said_alone_is_kept_beside_the_final() -> None:
    """It is a reading of the utterance with a lag of its own, and never its result."""
    script = Script()
    script.say(1000, 2000, "hello", "happy", alone="sad")
    script.say(3000, 4000, "there", "happy")
    early, other = gathered(script.close()).utterances
    assert early.provisional is not None
    assert early.provisional.emotion.category == "sad"
    assert early.judged == early.emotion
    assert early.emotion is not None
    assert early.emotion.category == "happy"
    assert (early.lags.provisional, early.lags.first, early.lags.emotion) == (60.0, 60.0, 90.0)
    assert (other.provisional, other.lags.first) == (None, 90.0)


def test_an_utterance_whose_words_never_came_has_what_the_voice_said() -> None:
    """And says so; one that failed has nothing."""
    script = Script()
    item = script.begin(1000)
    script.read(item, 1000, 1500, "well", "happy")
    script.stop(item, 2000)
    script.sound(item, 1000, 2000, "sad")
    utterance = only(gathered(script.events))
    assert (utterance.emotion, utterance.final) == (None, False)
    assert utterance.judged is not None
    assert utterance.judged.category == "sad"
    assert (
        utterance.problem == "the events end before its result, of which the voice alone was read"
    )
    fault = ErrorBody(type="server_error", code="asr_failed", message="could not")
    span = {"audio_start_ms": 1000, "audio_end_ms": 2000}
    script.tell(TranscriptionFailed, item_id=item, error=fault, **span)
    failed = only(gathered(script.events))
    assert (failed.judged, failed.problem) == (None, "could not")


def test_a_failed_utterance_says_why() -> None:
    """It has neither words nor an emotion, and who spoke where the session says."""
    script = Script(speaker="Anna")
    script.fail(1000, 2000, "the queue\nis full")
    utterance = only(gathered(script.close()))
    assert utterance.emotion is None
    assert utterance.transcript is None
    assert utterance.speaker == "Anna"
    assert utterance.problem == "the queue is full"


def test_an_utterance_that_broke_off_keeps_what_was_known() -> None:
    """Where the events end before its result there is the last reading."""
    script = Script()
    item = script.begin(1000)
    script.read(item, 1000, 1500, "hello", "sad")
    script.read(item, 1000, 2000, "hello th", "angry")
    utterance = only(gathered(script.events))
    assert not utterance.final
    assert (utterance.start_ms, utterance.end_ms) == (1000, 2000)
    assert utterance.text == "hello th"
    assert utterance.judged is not None
    assert utterance.judged.category == "angry"
    assert utterance.emotion is None
    assert utterance.problem == "the events end before its result"


def test_what_was_cleared_is_no_utterance() -> None:
    """Sound thrown away leaves nothing; what was handed over before stays."""
    script = Script()
    item = script.say(1000, 2000)
    script.begin(3000)
    script.clear()
    assert only(gathered(script.close())).item_id == item


def test_events_that_come_twice_count_once() -> None:
    """A client that comes back may be told again what it knows."""
    script = Script()
    script.say(1000, 2000)
    events = script.close()
    twice = gathered(events[:5], events)
    assert twice == gathered(events)
    assert twice.sessions[0].missing == 0


def test_events_that_are_not_there_are_counted() -> None:
    """The numbers of a session have no gaps."""
    script = Script()
    script.say(1000, 2000)
    events = script.close()
    assert gathered(events[:3], events[5:]).sessions[0].missing == 2


def test_losses_and_faults_are_kept() -> None:
    """What was lost, and what went wrong, belongs to what a session leaves."""
    script = Script()
    script.tell(Overload, kind="audio", dropped=80, total=80, since_ms=500, reason="dropped")
    body = ErrorBody(type="server_error", code="source_failed", message="unplugged")
    script.tell(ErrorRaised, error=body)
    (session,) = gathered(script.close()).sessions
    assert [loss.dropped for loss in session.losses] == [80]
    assert session.errors == (body,)


def test_a_listener_who_came_late_knows_what_the_snapshot_says() -> None:
    """Finished utterances, who takes part, and what comes after."""
    script = Script("a", speaker="Anna", meeting="m")
    script.say(1000, 2000, "first", "sad")
    script.say(3000, 4000, "second")
    events = script.close()
    body = events[4].emotion  # type: ignore[attr-defined]
    final = Finished(
        session_id="a",
        item_id="item_a_1",
        speaker="Anna",
        meeting="m",
        at_ms=7080,
        lag_ms=80.0,
        audio_start_ms=1000,
        audio_end_ms=2000,
        transcript="first",
        emotion=body,
    )
    seen = 7
    snapshot = Snapshot(
        event_id="event_snapshot_1",
        cursor=1,
        replay_from=None,
        lost=False,
        sessions=(SessionState(session=events[0].session, seq=seen),),  # type: ignore[attr-defined]
        meetings=(),
        finals=(final,),
    )
    gatherer = Gatherer()
    gatherer.collect(snapshot)
    for event in events[seen:]:
        gatherer.collect(event)
    (session,) = gatherer.recording().sessions
    assert session.missing == 0
    assert session.meeting == "m"
    assert [each.transcript for each in session.utterances] == ["first", "second"]
    assert [each.speaker for each in session.utterances] == ["Anna", "Anna"]
    assert session.utterances[0].shift_ms == 5000


@given(odd_texts())
def test_any_text_comes_back_as_it_was(text: str) -> None:
    """JSON lines hold whatever is said."""
    script = Script(speaker=text)
    script.say(1000, 2000, text)
    gatherer = Gatherer()
    for event in script.close():
        gatherer.collect(msgspec.json.decode(encode_event(event), type=type(event)))
    utterance = only(gatherer.recording())
    assert (utterance.transcript, utterance.speaker) == (text, text)


def test_a_last_line_that_is_cut_is_told(tmp_path: Path) -> None:
    """What stands before is read; one line says that more was there."""
    script = Script()
    script.say(1000, 2000)
    whole = saved(tmp_path / "whole.jsonl", script.close())
    data = whole.read_bytes()
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(data[: len(data) - 40])
    recording = read_recording(cut)
    assert recording.notes == (f"{cut}: its last line is cut off; read up to there.",)
    assert recording.utterances == read_recording(whole).utterances
    assert recording.sessions[0].closed is None


def test_every_cut_of_a_file_can_be_read(tmp_path: Path) -> None:
    """Wherever a program is killed: once an event is whole, nothing breaks."""
    script = Script()
    script.say(1000, 2000)
    data = saved(tmp_path / "whole.jsonl", script.close()).read_bytes()
    first = data.index(b"\n")
    cut = tmp_path / "cut.jsonl"
    for length in range(first, len(data), 7):
        cut.write_bytes(data[:length])
        recording = read_recording(cut)
        assert len(recording.sessions) == 1
        last = data[:length].rsplit(b"\n", 1)[-1]
        whole = not last or last == data[: data.index(b"\n", length - 1)].rsplit(b"\n", 1)[-1]
        assert len(recording.notes) == (0 if whole else 1)


def test_lines_that_are_no_events_are_passed_over_and_told(tmp_path: Path) -> None:
    """Neither a stray line of a log, nor an event of a newer version, spoils a session."""
    script = Script()
    script.say(1000, 2000)
    lines = [encode_event(event).decode() for event in script.close()]
    lines[2:2] = ["Tell people that they are analysed.", "", '{"a": 1}', "[" * 100_000]
    lines[4:4] = ['{"type":"streamser.smell","event_id":"x","session_id":"s","seq":99}']
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    recording = read_recording(path)
    assert len(recording.utterances) == 1
    assert recording.notes == (
        f"{path}: 3 lines, the first is 3, passed over: no events.",
        f"{path}: line 5 passed over: events that nobody here knows.",
    )


def test_a_mark_before_the_first_line_is_no_part_of_it(tmp_path: Path) -> None:
    """Some shells and editors put one before UTF-8."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + _WHOLE)
    recording = read_recording(path)
    assert recording.notes == ()
    assert recording.sessions[0].info is not None


_FELT: dict[str, Any] = {
    "category": "happy", "confidence": 0.6, "scores": {"neutral": 0.4, "happy": 0.6},
    "dimensions": {"valence": 0.1, "arousal": 0.1, "dominance": None}, "uncertainty": 0.5,
    "modalities": ["audio"], "speaker": None, "window": {"start_ms": 0, "end_ms": 1000},
    "model": "m",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"window": {"start_ms": 0, "end_ms": 2**53 - 1}}, "a time beyond a year"),
        ({"window": {"start_ms": -(2**53), "end_ms": 0}}, "a time beyond a year"),
        ({"window": {"start_ms": 0, "end_ms": 3_700_000}}, "an utterance of more than an hour"),
        ({"window": {"start_ms": 9000, "end_ms": 0}}, "an utterance of more than an hour"),
        ({"confidence": 1e308}, "a share that is not between 0 and 1"),
        ({"scores": {"happy": -2.0}}, "a share that is not between 0 and 1"),
        ({"dimensions": {"valence": 1e308, "arousal": 0}}, "a dimension that is not between"),
    ],
)
def test_numbers_that_no_session_tells_are_no_events(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    """What breaks arithmetic or fills the memory later on is refused at the door, by its line."""
    script = Script()
    script.say(1000, 2000)
    odd = {"type": "streamser.emotion.completed", "event_id": "e", "session_id": "s", "seq": 9}
    odd |= {"item_id": "i", "lag_ms": 1.0, "emotion": {**_FELT, **changes}}
    path = saved(tmp_path / "x.jsonl", script.close())
    before = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*before[:2], json.dumps(odd).encode() + b"\n", *before[2:]]))
    (note,) = read_recording(path).notes
    assert note.startswith(f"{path}: line 3 passed over: {why}")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_line_without_end_is_passed_over(tmp_path: Path, encoding: str) -> None:
    """Whole, with one note; what follows is read."""
    script = Script()
    script.say(1000, 2000)
    lines = [encode_event(event).decode() for event in script.close()]
    lines[1:1] = ['{"type":"error","x":"' + "x" * 9_000_000 + '"}']
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    recording = read_recording(path)
    assert recording.notes == (f"{path}: line 2 passed over: longer than 4 MiB.",)
    assert len(recording.utterances) == 1


@given(st.data())
def test_whatever_stands_in_a_file_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bytes changed, lost or added anywhere end in a recording or in one line."""
    content = bytearray(_WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = start + data.draw(st.integers(0, 40))
        content[start:end] = data.draw(st.binary(max_size=20))
    path = tmp_path_factory.mktemp("any") / "x.jsonl"
    path.write_bytes(content)
    try:
        recording = read_recording(path)
    except StreamserError:
        return
    for form in (ExportFormat.VTT, ExportFormat.EMOTIONML, ExportFormat.TEXTGRID):
        render(form, recording, one_clock=True)
    render(ExportFormat.CSV, recording)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "there is nothing in it"),
        (b"\n\n", "there is nothing in it"),
        (b"file,start,end\na.wav,0,1\n", "no events of ours are in it"),
        (b"\xff\xfe\x00RIFF" * 9999, "no events of ours are in it"),
        (b'{"type":"session.created","event_id":"x","session":{}}\n', "no events of ours"),
    ],
)
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, content: bytes, part: str) -> None:
    """In one line, which says what to give."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(StreamserError, match=part):
        read_recording(path)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A missing file, or a folder."""
    with pytest.raises(StreamserError, match="No such file"):
        read_recording(tmp_path / "no.jsonl")
    with pytest.raises(StreamserError, match="directory"):
        read_recording(tmp_path)


def test_sessions_that_are_mixed_in_a_file_are_told_apart(tmp_path: Path) -> None:
    """A listener writes down what comes, of everybody."""
    anna, ben = Script("a", speaker="Anna", meeting="m"), Script("b", speaker="Ben", meeting="m")
    anna.say(1000, 2000, "one")
    ben.say(500, 1500, "two")
    anna.say(4000, 5000, "three")
    path = stamped(
        tmp_path / "m.jsonl", {"a": (anna.close(), 10_000), "b": (ben.close(), 12_000)}, "m"
    )
    recording = read_recording(path)
    texts = {s.session_id: [u.transcript for u in s.utterances] for s in recording.sessions}
    assert texts == {"a": ["one", "three"], "b": ["two"]}
    assert [each.shift_ms for each in recording.utterances] == [10_000, 10_000, 12_000]
    chosen = choose_session(recording, ["b"])
    assert [session.session_id for session in chosen.sessions] == ["b"]
    with pytest.raises(StreamserError, match="there are a, b"):
        choose_session(recording, ["c"])


def test_several_files_are_read_as_one(tmp_path: Path) -> None:
    """What a server keeps of a meeting is a file for each session."""
    files = []
    for name in ("a", "b"):
        script = Script(name)
        script.say(1000, 2000, name)
        files.append(saved(tmp_path / f"{name}.jsonl", script.close()))
    recording = read_recording(*files)
    assert [each.transcript for each in recording.utterances] == ["a", "b"]
