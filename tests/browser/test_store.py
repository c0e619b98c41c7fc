"""What the page knows of a meeting, without a browser: from events and moments alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from streamser.events import (
    EmotionCompleted,
    Event,
    ListenerEvent,
    PartEmotion,
    SpeakerChange,
    SpeakerPart,
    SpeakersChanged,
    SpeechStarted,
    SpeechStopped,
    TranscriptPartial,
)
from streamser.server.dialects.commands import Interest
from streamser.server.meetings.hub import Hub, Subscription
from streamser.server.meetings.meeting import MeetingMood
from streamser.text import why_distrusted
from tests.cli.samples import ENVELOPE, created, emotion, failed, felt, said, sounded
from tests.export.script import Script
from tests.server.serving import Told

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")

SCRIPT = Path(__file__).with_name("store.mjs")
BEGAN = 1_700_000_000_000


def seen(*steps: tuple[int, Event | ListenerEvent | None]) -> list[dict[str, Any]]:
    """Return what the page draws after each step: an event that comes after so many ms, or none."""
    told: list[tuple[int, Told | None]] = []
    for number, (at_ms, event) in enumerate(steps):
        stamp = {"cursor": number, "meeting": None, "at_ms": at_ms}
        told.append((at_ms, None if event is None else stamp | msgspec.to_builtins(event)))
    return drawn(told)


def drawn(steps: Iterable[tuple[int, Told | None]]) -> list[dict[str, Any]]:
    """Return what the page draws after each step, which is as it came over the wire."""
    told = [{"now": BEGAN + at_ms, "event": event} for at_ms, event in steps]
    done = subprocess.run(
        ["node", str(SCRIPT)],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    views: list[dict[str, Any]] = json.loads(done.stdout)
    return views


def started(item: str = "item_s_1", start_ms: int = 1000) -> Event:
    """Make the event of somebody beginning to speak."""
    return SpeechStarted(**ENVELOPE, item_id=item, audio_start_ms=start_ms, lag_ms=300.0)


def stopped(item: str = "item_s_1", end_ms: int = 3000) -> Event:
    """Make the event of somebody having spoken."""
    return SpeechStopped(
        **ENVELOPE, item_id=item, audio_end_ms=end_ms, reason="pause", lag_ms=500.0
    )


def partial(committed: str, revisable: str) -> Event:
    """Make the event of what has been understood so far."""
    return TranscriptPartial(
        **ENVELOPE,
        item_id="item_s_1",
        text=committed + revisable,
        committed=committed,
        revisable=revisable,
        audio_start_ms=1000,
        audio_end_ms=2000,
    )


def test_a_voice_is_read_before_its_words_and_then_makes_room_for_the_final() -> None:
    """What was understood so far stays in sight; nothing is drawn twice."""
    *_, waits, read, over = seen(
        (0, created()),
        (1300, started()),
        (2000, partial("good", " mourning")),
        (3500, stopped()),
        (3800, sounded(emotion("sad"))),
        (6000, said("good morning", emotion("happy"), lag_ms=3000.0)),
    )
    item = {"phase": "thinking", "text": "good mourning", "emotion": None}
    assert waits["live"] == [item | {"alone": None}]
    assert read["live"] == [item | {"alone": "sad"}]
    assert read["rows"] == []
    assert over["live"] == []
    assert over["rows"] == [{"transcript": "good morning", "category": "happy"}]


def test_a_failure_takes_the_reading_of_the_voice_away() -> None:
    """Nothing is awaited any more."""
    fault = msgspec.structs.replace(failed(), item_id="item_s_1")
    over = seen(
        (0, created()), (1300, started()), (3500, stopped()), (3800, sounded()), (5000, fault)
    )
    assert over[-1]["live"] == []
    assert over[-1]["rows"] == [{"transcript": None, "category": None}]


def test_behind_is_how_long_the_oldest_has_been_waited_for() -> None:
    """From the end of an utterance on, whatever the finals that came before it took."""
    first, second = "item_s_1", "item_s_2"
    again = msgspec.structs.replace(said("well", lag_ms=20_000.0), item_id=second)
    views = seen(
        (0, created()),
        (1300, started(first)),
        (1500, None),
        (3500, stopped(first)),
        (3600, said("good morning", lag_ms=600.0)),
        (5300, started(second)),
        (7500, stopped(second, 7000)),
        (7550, None),
        (12_000, None),
        (26_900, None),
        (27_000, again),
        (90_000, None),
    )
    behind = [view["behind"] for view in views]
    assert behind[:5] == [None, None, None, 500, 600]
    # Who goes on speaking waits for nothing.
    assert behind[5] == 600
    assert behind[7:10] == [600, 5000, 19_900]
    assert behind[10:] == [600, 600]


def test_a_reading_of_the_voice_alone_ends_the_waiting() -> None:
    """It is the first reading, and the final of the same utterance does not count again."""
    views = seen(
        (0, created()),
        (1300, started()),
        (3500, stopped()),
        (3800, sounded()),
        (20_000, None),
        (33_000, said("good morning", lag_ms=30_000.0)),
    )
    assert [view["behind"] for view in views[2:]] == [500, 300, 300, 300]


def test_without_words_the_final_alone_counts() -> None:
    """A session that is not transcribed has no reading before it."""
    steps = [(0, created(asr=None)), (1300, started()), (3500, stopped()), (3600, felt())]
    assert [view["behind"] for view in seen(*steps)] == [None, None, 500, 81]


def test_a_mood_of_a_voice_alone_is_taken_back_where_nothing_comes_of_it() -> None:
    """The meeting says so; the speaker has no mood again."""
    meeting = MeetingMood("m")
    before = [(0, created()), (1300, started()), (3500, stopped())]
    for event, at_ms in [(event, at_ms) for at_ms, event in before]:
        assert meeting.take(event, at_ms) == []
    (preview,) = meeting.take(sounded(emotion("sad")), 3800)
    (gone,) = meeting.take(msgspec.structs.replace(failed(), item_id="item_s_1"), 5000)
    *_, early, late = seen(*before, (3800, preview), (5000, gone))
    assert early["moods"] == [None, "sad"]
    assert late["moods"] == [None, None]


def held(hub: Hub, after: int | None) -> list[Told]:
    """Return what a listener is told who comes after so many seconds: the state, and what was."""
    snapshot, missed = hub.subscribe(Subscription(Interest(), lambda _: None), after, 60.0)
    return [
        json.loads(msgspec.json.encode(snapshot)),
        *(json.loads(each.bodies[0]) for each in missed),
    ]


def talk(hub: Hub, meeting: str | None) -> None:
    """Let somebody be happy for a while and then sad."""
    script = Script(speaker="Ann", meeting=meeting)
    moods = ["happy"] * 3 + ["sad"] * 6
    for n, mood in enumerate(moods):
        script.say(5000 * n + 1000, 5000 * n + 5000, category=mood)
    for event in script.events:
        hub.publish(event, ((event.clock_ms or 0) + (event.lag_ms or 0)) / 1000)


@pytest.mark.parametrize("meeting", ["m", None])
def test_who_comes_late_sees_what_those_see_who_were_there(meeting: str | None) -> None:
    """Every utterance at its time, the lines from their beginning, and each shift of mood."""
    hub = Hub(1000, 600.0, 30.0, 1000)
    (first,) = held(hub, 0)
    talk(hub, meeting)
    late, *events = held(hub, 0)
    there = drawn([(0, first), *((event["at_ms"], event) for event in events)])[-1]
    came = drawn([(60_000, late), *((60_000, event) for event in events)])[-1]
    assert len(there["rows"]) == 9
    assert [came[part] for part in ("rows", "moods")] == [there[part] for part in ("rows", "moods")]
    if meeting is None:
        # Nobody says when such a session began; how far apart things are is known.
        assert np.diff(came["starts"]).tolist() == np.diff(there["starts"]).tolist()
        return
    for part in ("lines", "shifts", "starts"):
        assert came[part] == there[part], part
    assert {name for name, _ in there["lines"]} == {"everybody", "Ann"}
    assert len(there["shifts"]) >= 2


def test_a_state_is_drawn_where_nothing_before_it_is_told() -> None:
    """As by a server that keeps no events: the mood as it is now."""
    hub = Hub(1000, 600.0, 30.0, 1000)
    talk(hub, "m")
    (view,) = drawn([(60_000, held(hub, None)[0])])
    assert view["moods"] == ["sad"]
    assert [len(line) for _, line in view["lines"]] == [1, 1]


def test_a_meeting_of_one_is_not_told_twice() -> None:
    """What shifts in the only speaker shifts in everybody; with a second speaker both are told."""
    hub = Hub(1000, 600.0, 30.0, 1000)
    talk(hub, "m")
    (view,) = drawn([(60_000, event) for event in held(hub, 0)])[-1:]
    assert {speaker for _, speaker, _ in view["shifts"]} == {None, "Ann"}
    assert view["told"] == [["Ann", "sad"]]
    for event in Script("b", speaker="Ben", meeting="m").events:
        hub.publish(event, 50.0)
    (view,) = drawn([(60_000, event) for event in held(hub, 0)])[-1:]
    assert sorted(view["told"], key=str) == [["Ann", "sad"], [None, "sad"]]


@pytest.mark.parametrize(
    "code", ["too_quiet", "no_speech", "low_logprob", "repetitive", "too_fast"]
)
def test_why_there_are_no_words_is_said_as_on_the_terminal(code: str) -> None:
    """To who is there and to who comes late."""
    final = msgspec.structs.replace(said(""), distrusted=code)
    why = f"words withheld: {why_distrusted(code)}"
    assert seen((0, created()), (6000, final))[-1]["wordless"] == [why]
    hub = Hub(1000, 600.0, 30.0, 1000)
    for event in (created(), final):
        hub.publish(event, 6.0)
    assert drawn([(9000, held(hub, None)[0])])[-1]["wordless"] == [why]


def test_words_that_were_not_understood_and_failures_are_said_so() -> None:
    """A code that the page does not know is written with blanks."""
    odd = msgspec.structs.replace(said(""), distrusted="own_code", item_id="item_s_3")
    told = seen((0, created()), (5000, said("")), (6000, failed()), (7000, odd))[-1]["wordless"]
    assert told == [
        "no words understood",
        "Not analysed: the queue is full",
        "words withheld: own code",
    ]


def test_where_no_words_are_recognised_none_are_missed() -> None:
    """To who is there and to who comes late."""
    told = (created(asr=None), felt())
    assert seen(*((6000, event) for event in told))[-1]["wordless"] == ["not transcribed"]
    hub = Hub(1000, 600.0, 30.0, 1000)
    for event in told:
        hub.publish(event, 6.0)
    assert drawn([(9000, held(hub, None)[0])])[-1]["wordless"] == ["not transcribed"]


def test_words_of_a_script_without_spaces_join_as_they_are() -> None:
    """Settled or not, nothing comes between them."""
    view = seen((0, created()), (1300, started()), (2000, partial("今日は", "いい天気")))[-1]
    assert view["live"][0]["text"] == "今日はいい天気"


def test_a_speaker_is_heard_by_named_models() -> None:
    """With what the recogniser computes in, where the session says."""
    (view,) = seen((0, created(arithmetic="float32")))
    assert view["models"] == ["silero · faster-whisper/tiny.en in float32 · rules"]
    (view,) = seen((0, created(asr=None)))
    assert view["models"] == ["silero · no words · rules"]


def test_the_page_says_where_events_are_gone_after_a_break() -> None:
    """Not to who comes late and asks for all there is."""
    hub = Hub(keep=3, meeting_keep_s=60, mood_seconds=30, first_cursor=1000)
    for number in range(1, 9):
        hub.publish(created() if number == 1 else started(f"i{number}"), float(number))
    steps = []
    for after in (0, 1002):
        ear = Subscription(Interest(), lambda letter: None)
        snapshot, _ = hub.subscribe(ear, after, 9.0)
        steps.append((9_000, msgspec.to_builtins(snapshot)))
    assert [view["gaps"] for view in drawn(steps)] == [0, 1]


def test_shares_are_of_everybody_though_only_some_are_listed() -> None:
    """Who has left and is not told of any more has a smaller share as others go on."""
    meeting = MeetingMood("standup")
    steps: list[tuple[int, Event | ListenerEvent | None]] = []
    for number in range(40):
        at_ms = 2_000 * number
        one = {**ENVELOPE, "session_id": f"s{number}"}
        begun = SpeechStarted(**one, item_id="i", audio_start_ms=0)
        over = SpeechStopped(**one, item_id="i", audio_end_ms=1_000, reason="pause")
        final = msgspec.structs.replace(failed(), session_id=f"s{number}", item_id="i")
        for event, ms in ((begun, at_ms), (over, at_ms + 1_000), (final, at_ms + 1_500)):
            steps += [(ms, told) for told in meeting.take(event, ms)]
    state = meeting.state(80_000)
    assert state.more_speakers == 8
    shares = seen(*steps)[-1]["shares"]
    assert len(shares) == 40
    assert sum(shares) == pytest.approx(1, abs=0.01)


def guessed(item: str, end_ms: int, label: str | None, category: str = "happy") -> Event:
    """Make the final of an utterance of two seconds whose speaker was guessed by the voice."""
    body = msgspec.structs.replace(
        emotion(category, start=end_ms - 2000, end=end_ms),
        speaker=label,
        speaker_provisional=True,
    )
    return msgspec.structs.replace(said(item, body, lag_ms=0.0), item_id=item)


def revised(renamed: dict[str, str], **moved: str | None) -> Event:
    """Make the event of who spoke after all."""
    changes = tuple(SpeakerChange(item_id=item, speaker=who) for item, who in moved.items())
    return SpeakersChanged(**ENVELOPE, changes=changes, renamed=renamed)


def people(view: dict[str, Any]) -> list[tuple[str, int, dict[str, float]]]:
    """Return who is drawn, how often they spoke and what it sounded like, but for the session."""
    return [
        (each["name"], each["count"], each["categories"])
        for each in view["people"]
        if each["count"]
    ]


def test_each_who_speaks_in_an_utterance_has_their_own_reading() -> None:
    """Below its words; a correction says whose a part is, and what was read of it stays."""
    parts = tuple(
        SpeakerPart(
            start_ms=start,
            end_ms=end,
            speaker=who,
            emotion=PartEmotion(
                **{name: getattr(body, name) for name in PartEmotion.__struct_fields__}
            ),
        )
        for start, end, who, body in (
            (1000, 2200, "speaker 1", emotion("angry")),
            (2200, 3000, "speaker 2", emotion("sad")),
        )
    )
    words = guessed("a", 3000, "speaker 1")
    body = getattr(words, "emotion")  # noqa: B009 - of whichever final it is
    final = EmotionCompleted(**ENVELOPE, item_id="a", emotion=body, parts=parts)
    now = tuple(msgspec.structs.replace(part, speaker="Ann", emotion=None) for part in parts[1:])
    change = SpeakerChange(item_id="a", speaker="speaker 1", parts=(parts[0], *now))
    before, after, renamed = seen(
        (0, created()),
        (3000, words),
        (3001, final),
        (9000, SpeakersChanged(**ENVELOPE, changes=(change,))),
        (9001, revised({"Ann": "Zoe"})),
    )[-3:]
    assert before["parts"] == [[["speaker 1", 1200, "angry"], ["speaker 2", 800, "sad"]]]
    assert after["parts"] == [[["speaker 1", 1200, "angry"], ["Ann", 800, "sad"]]]
    assert renamed["parts"] == [[["speaker 1", 1200, "angry"], ["Zoe", 800, "sad"]]]
    felt_by = {each["name"]: each["categories"] for each in renamed["people"]}
    assert (felt_by["speaker 1"], felt_by["Zoe"]) == ({"angry": 1200}, {"sad": 800})
    assert "speaker 2" not in felt_by


def test_an_utterance_goes_over_to_whose_it_is_after_all() -> None:
    """Its row, its share and its reading; who has said nothing after all is not drawn."""
    before, after = seen(
        (0, created()),
        (3000, guessed("a", 3000, "speaker 1")),
        (6000, guessed("b", 6000, "speaker 2", "sad")),
        (9000, guessed("c", 9000, "speaker 3", "angry")),
        (9100, revised({}, b="speaker 1", c=None)),
    )[-2:]
    assert before["whose"] == ["speaker 1", "speaker 2", "speaker 3"]
    assert after["whose"] == ["speaker 1", "speaker 1", "uncertain speaker"]
    assert people(after) == [
        ("speaker 1", 2, {"happy": 2000, "sad": 2000}),
        ("uncertain speaker", 1, {"angry": 2000}),
    ]
    assert len(after["people"]) == 3  # the session itself, whom nobody has named
    assert sum(after["shares"]) == pytest.approx(1.0)


def test_a_given_name_keeps_colour_and_lines_and_an_existing_one_joins_two() -> None:
    """First the name of one voice, then of another the same."""
    first, named, joined = seen(
        (0, created()),
        (3000, guessed("a", 3000, "speaker 1")),
        (6000, guessed("b", 6000, "speaker 2", "sad")),
        (6100, revised({"speaker 2": "Ann"})),
        (6200, revised({"speaker 1": "Ann"})),
    )[-3:]
    assert named["whose"] == ["speaker 1", "Ann"]
    assert [each["index"] for each in named["people"]] == [
        each["index"] for each in first["people"]
    ]
    assert joined["whose"] == ["Ann", "Ann"]
    assert people(joined) == [("Ann", 2, {"happy": 2000, "sad": 2000})]


def test_names_may_change_places() -> None:
    """All at once."""
    view = seen(
        (0, created()),
        (3000, guessed("a", 3000, "speaker 1")),
        (6000, guessed("b", 6000, "speaker 2", "sad")),
        (6100, revised({"speaker 1": "speaker 2", "speaker 2": "speaker 1"})),
    )[-1]
    assert view["whose"] == ["speaker 2", "speaker 1"]
    assert people(view) == [("speaker 2", 1, {"happy": 2000}), ("speaker 1", 1, {"sad": 2000})]


def test_a_meeting_of_two_microphones_is_corrected_one_by_one_and_for_late_comers() -> None:
    """As the server tells it: who comes late sees what those see who were there."""
    hub = Hub(1000, 600.0, 30.0, 0)
    told: list[Told] = []
    hub.subscribe(
        Subscription(Interest(meeting="m"), lambda event: told.append(json.loads(event.bodies[0]))),
        None,
        0.0,
    )
    one, two = Script("a", meeting="m"), Script("b", meeting="m")
    for script in (one, two):
        for n, label in enumerate(("speaker 1", "speaker 2", "speaker 1")):
            script.say(3000 * n, 3000 * n + 2000, speaker=label)
    two.revise({"item_b_3": "speaker 2"}, {"speaker 1": "Ann"})
    for event in [*one.events, *two.events]:
        hub.publish(event, 1.0 + (event.clock_ms or 0) / 1000)
    snapshot, missed = hub.subscribe(
        Subscription(Interest(meeting="m"), lambda event: None), 0, 20.0
    )
    live = drawn((each["at_ms"], each) for each in told)[-1]
    replayed = [msgspec.to_builtins(snapshot)] + [json.loads(one.bodies[0]) for one in missed]
    late = drawn((20_000, {"at_ms": 20_000} | each) for each in replayed)[-1]
    expected = [
        ("Ann (stream 2)", 1),
        ("speaker 1", 2),
        ("speaker 2", 1),
        ("speaker 2 (stream 2)", 2),
    ]
    for view in (live, late):
        counts = sorted((each["name"], each["count"]) for each in view["people"] if each["count"])
        assert counts == expected
        assert sorted(view["whose"]) == sorted(name for name, n in expected for _ in range(n))
