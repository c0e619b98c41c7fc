"""What is left of recorded events once a person is taken out of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from streamser.events import (
    Event,
    ListenerEvent,
    MeetingUpdated,
    MoodBody,
    MoodShifted,
    SessionCreated,
    SessionUpdated,
    SpeakerState,
    encode_event,
)
from streamser.export.forget import Person, Traces
from streamser.export.read import EventFile
from streamser.taxonomy import Dimensions
from tests.export.script import Script, saved

ANN = Person("Ann", None)


def left(path: Path, person: Person = ANN) -> list[dict[str, Any]]:
    """Return the events that are left in a file."""
    file, traces = EventFile(path), Traces(person)
    for line in file:
        traces.learn(line)
    kept = (traces.rest(line) for line in file)
    return [json.loads(line) for line in kept if line is not None]


def items(events: Iterable[dict[str, Any]]) -> set[str]:
    """Return the utterances of events."""
    return {event["item_id"] for event in events if "item_id" in event}


def test_of_a_session_of_their_own_nothing_is_left(tmp_path: Path) -> None:
    """Nor of one in which they never said a word; the others' are as they were."""
    ann, ben, silent = (
        Script("a", speaker="Ann"),
        Script("b", speaker="Ben"),
        Script("c", speaker="Ann"),
    )
    ann.say(0, 1000)
    ben.say(0, 1000)
    told = ben.close()
    path = saved(tmp_path / "x.jsonl", ann.close(), told, silent.close())
    assert left(path) == [json.loads(encode_event(event)) for event in told]


def test_of_a_shared_session_the_others_part_is_left(tmp_path: Path) -> None:
    """Moods that they are a part of go, and the summary counts what is left."""
    script = Script("s", speaker="Ben", source="Ann and Ben.wav")
    first = script.say(0, 1000, "before")
    script.say(2000, 3000, "hers", speaker="Ann")
    last = script.say(4000, 5000, "after")
    events = script.close()
    events[-1] = msgspec.structs.replace(events[-1], speech_ms=3000)
    rest = left(saved(tmp_path / "x.jsonl", events))
    assert items(rest) == {first, last}
    moods = [each for each in rest if each["type"] == "streamser.mood.updated"]
    assert [each["audio_end_ms"] for each in moods] == [1000]
    assert (rest[-1]["utterances"], rest[-1]["speech_ms"]) == (2, 2000)
    assert "Ann" not in json.dumps(rest)


def test_who_speaks_may_change_in_a_session(tmp_path: Path) -> None:
    """What failed, or was cut off, is theirs whose turn it was when it began."""
    script = Script("s", speaker="Ben")
    created = script.events[0]
    assert isinstance(created, SessionCreated)
    mine = script.fail(0, 1000)
    info = msgspec.structs.replace(created.session, speaker="Ann")
    script.tell(SessionUpdated, session=info)
    script.fail(2000, 3000)
    rest = left(saved(tmp_path / "x.jsonl", script.close()))
    assert items(rest) == {mine}
    assert "Ann" not in json.dumps(rest)


def test_only_the_meeting_that_is_meant_is_touched(tmp_path: Path) -> None:
    """A stamp says which meeting an event belongs to, or the session itself."""
    events = Script("a", speaker="Ann", meeting="ops").close()
    path = saved(tmp_path / "x.jsonl", events)
    assert left(path, Person("Ann", "sales")) == [json.loads(encode_event(e)) for e in events]
    assert left(path, Person("Ann", "ops")) == []
    stamp = b',"cursor":7,"meeting":"ops","at_ms":0}\n'
    plain: list[Event] = Script("a", speaker="Ann").close()
    path.write_bytes(b"".join(encode_event(event)[:-1] + stamp for event in plain))
    assert left(path, Person("Ann", "ops")) == []


def test_names_are_the_same_however_they_are_composed(tmp_path: Path) -> None:
    """As the server takes them; capitals are somebody else."""
    decomposed = Script("a", speaker="Zoe\u0308").close()
    path = saved(tmp_path / "x.jsonl", decomposed, Script("b", speaker="zoë").close())
    assert {each["session_id"] for each in left(path, Person("Zoë"))} == {"b"}


def test_a_listeners_recording_loses_their_part_of_the_meeting(tmp_path: Path) -> None:
    """Their entry and shifts, and what is told of everybody together; stamps stay."""
    mood = MoodBody(category="happy", scores={"happy": 1.0}, dimensions=Dimensions())
    state = {"speaking": False, "speech_ms": 1, "share": 0.5, "utterances": 1, "mood": mood}
    people = tuple(SpeakerState(speaker=name, **state) for name in ("Ann", "Ben"))  # type: ignore[arg-type]
    update = MeetingUpdated(
        event_id="e", meeting="ops", at_ms=5, mood=mood, speakers=people, overlap_ms=3
    )
    shifts = [
        MoodShifted(
            event_id="f", meeting="ops", at_ms=6, speaker=who, category="happy", previous="sad"
        )
        for who in ("Ann", "Ben", None)
    ]
    path = tmp_path / "x.jsonl"
    events: list[ListenerEvent] = [update, *shifts]
    lines = [encode_event(event)[:-1] + b',"cursor":9}\n' for event in events]
    path.write_bytes(b"".join(lines))
    told, shift = left(path)
    assert [each["speaker"] for each in told["speakers"]] == ["Ben"]
    assert (told["mood"], told["overlap_ms"], told["cursor"]) == (None, 0, 9)
    assert shift["speaker"] == "Ben"
