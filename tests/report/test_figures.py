"""What a report says in numbers, on sessions written by hand."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streamser.errors import StreamserError
from streamser.events import MoodShifted, MoodUpdated, Overload
from streamser.export.read import read_recording
from streamser.export.records import Recording
from streamser.report.charts import merge, thin
from streamser.report.figures import Figures, SaidUtterance, figures_of
from streamser.report.measures import overlap_of, share_out, spread_of
from streamser.taxonomy import Dimensions
from tests.export.script import Script, gathered, stamped


def test_speaking_time_is_shared_among_categories_and_speakers() -> None:
    """By how long each spoke, not by how often."""
    script = Script()
    script.say(0, 3000, "one two", "happy", speaker="speaker 1")
    script.say(4000, 5000, "three", "sad", speaker="speaker 2")
    figures = figures_of(gathered(script.close(10_000)))
    assert (figures.length_ms, figures.speech_ms, figures.words) == (10_000, 4000, 3)
    assert [(each.name, each.share, each.words) for each in figures.talkers] == [
        ("speaker 1", 0.75, 2),
        ("speaker 2", 0.25, 1),
    ]
    assert all(each.provisional for each in figures.talkers)
    assert [(each.category, each.ms, each.share) for each in figures.categories] == [
        ("happy", 3000, 0.75),
        ("sad", 1000, 0.25),
    ]


def test_a_meeting_is_one_report_on_its_clock(tmp_path: Path) -> None:
    """Speakers of several sessions overlap where they did, and each keeps a mood."""
    told = {}
    for name, began, category in (("Anna", 0, "happy"), ("Ben", 1500, "sad")):
        script = Script(name.lower(), speaker=name, meeting="m")
        script.say(1000, 2000, f"I am {name}", category)
        told[name] = (script.close(), began)
    figures = figures_of(read_recording(stamped(tmp_path / "m.jsonl", told, "m")))
    assert (figures.title, figures.meeting) == ("m", "m")
    assert [(each.start_ms, each.end_ms, each.shift_ms) for each in figures.said] == [
        (1000, 2000, 0),
        (2500, 3500, 1500),
    ]
    assert [[point.at_ms for point in each.line] for each in figures.talkers] == [[2000], [3500]]
    assert [each.at_ms for each in figures.everybody] == [2000, 3500]
    assert figures.overlap_ms == 0


def test_a_shift_of_one_who_is_alone_in_a_meeting_is_told_once(tmp_path: Path) -> None:
    """Their sessions are several, the listener wrote it down for them and for everybody."""
    told = {}
    for name, began in (("a", 0), ("b", 50_000)):
        script = Script(name, speaker="Ann", meeting="m")
        script.say(1000, 2000)
        told[name] = (script.close(), began)
    path = stamped(tmp_path / "m.jsonl", told, "m")
    for n, speaker in enumerate(("Ann", None)):
        shift = MoodShifted(
            event_id=f"event_m_{n}",
            meeting="m",
            at_ms=40_000,
            speaker=speaker,
            category="sad",
            previous="happy",
        )
        body = msgspec.to_builtins(shift) | {"cursor": 100 + n}
        with path.open("ab") as file:
            file.write(msgspec.json.encode(body) + b"\n")
    recording = read_recording(path)
    assert len(recording.shifts) == 2
    assert [each.at_ms for each in figures_of(recording).shifts] == [40_000]


def test_overlap_is_when_two_speak_at_once() -> None:
    """Three at once are no more overlap than two; nobody overlaps with themselves."""
    assert overlap_of([("a", 0, 1000), ("b", 500, 1500), ("c", 600, 900)]) == 500
    assert overlap_of([("a", 0, 1000), ("a", 500, 1500)]) == 0
    assert overlap_of([("a", 0, 1000), ("b", 1000, 2000)]) == 0


def test_sessions_of_no_meeting_are_refused() -> None:
    """Nobody knows how they lie in time, unless somebody says so."""
    scripts = [Script("a"), Script("b")]
    for script in scripts:
        script.say(1000, 2000)
    recording = gathered(*(script.close() for script in scripts))
    with pytest.raises(StreamserError, match="--session ID"):
        figures_of(recording)
    assert len(figures_of(recording, one_clock=True).talkers) == 2


def test_a_recording_without_sessions_is_refused() -> None:
    """There is nothing to report on."""
    with pytest.raises(StreamserError, match="no session"):
        figures_of(Recording())


def test_shifts_are_those_that_the_session_told() -> None:
    """With the mood before."""
    script = Script()
    script.say(1000, 2000)
    script.tell(
        MoodUpdated,
        category="sad",
        scores={"sad": 1.0},
        dimensions=Dimensions(valence=-0.5),
        shift=True,
        previous="happy",
        audio_end_ms=3000,
    )
    (shift,) = figures_of(gathered(script.close(4000))).shifts
    assert (shift.at_ms, shift.category, shift.previous) == (3000, "sad", "happy")


def test_moods_of_voices_in_one_session_are_smoothed_apart() -> None:
    """A long quarrel of one is no shift of the other."""
    script = Script()
    for number in range(6):
        start = number * 20_000
        script.say(start, start + 8000, "x", "happy", speaker="speaker 1")
        category = "happy" if number < 2 else "angry"
        script.say(start + 9000, start + 18_000, "y", category, speaker="speaker 2")
    figures = figures_of(gathered(script.close()))
    names = {each.speaker: each.category for each in figures.shifts if not each.everybody}
    assert names == {"speaker 2": "angry"}


def test_what_is_missing_is_said() -> None:
    """Events that end early or are not there, lost sound, and what failed."""
    script = Script()
    script.say(1000, 2000)
    script.tell(Overload, kind="audio", dropped=500, total=1500, since_ms=2000, reason="dropped")
    script.fail(3000, 4000)
    events = [event for event in script.events if event.seq != 3]
    gaps = figures_of(gathered(events)).gaps
    assert gaps == (
        "the events end before the session did.",
        "1 event is missing from the recording.",
        "1.5 s of sound was lost and replaced by silence.",
        "1 utterance is without a result.",
    )
    assert figures_of(gathered(Script().close())).gaps == ()


def test_an_utterance_that_broke_off_shows_its_last_reading() -> None:
    """And says that there is no result."""
    script = Script()
    item = script.begin(1000)
    script.read(item, 1000, 1500, "hello", "sad")
    (said,) = figures_of(gathered(script.events)).said
    assert (said.category, said.text, len(said.trace)) == ("sad", "hello", 1)
    assert said.problem == "the events end before its result"


def test_latency_is_told_by_stage_where_there_is_any() -> None:
    """In the order in which the stages come."""
    script = Script()
    script.say(1000, 2000)
    stages = [(each.name, each.median) for each in figures_of(gathered(script.close())).latencies]
    assert stages == [
        ("speech noticed", 20.0),
        ("end of speech noticed", 30.0),
        ("words", 80.0),
        ("emotion", 90.0),
    ]


def test_the_first_reading_is_a_stage_where_some_came_before_the_words() -> None:
    """Of the utterances without one it is the final's."""
    script = Script()
    script.say(0, 1000)
    script.say(2000, 3000, alone="sad")
    stages = {each.name: each for each in figures_of(gathered(script.close())).latencies}
    assert list(stages)[2:] == ["first reading", "words", "emotion"]
    assert (stages["first reading"].median, stages["first reading"].count) == (75.0, 2)
    assert stages["emotion"].median == 90.0


def test_a_recogniser_is_named_with_what_it_computes_in() -> None:
    """Where the session says."""
    script = Script(arithmetic="float32")
    script.say(0, 1000)
    engines = dict(figures_of(gathered(script.close())).engines)
    assert engines["words"] == "faster-whisper/tiny.en in float32"


def test_a_spread_counts_every_value_once() -> None:
    """Those beyond the end are in the last bin."""
    spread = spread_of("x", [0.0, 0.1, 0.5, 1.0], high=1)
    assert spread is not None
    assert sum(spread.bins) == spread.count == 4
    assert (spread.bins[0], spread.bins[-1]) == (1, 1)
    assert spread.median == pytest.approx(0.3)
    assert spread.most == 1.0
    late = spread_of("y", [*[10.0] * 99, 9000.0])
    assert late is not None
    assert late.high == 20.0
    assert late.bins[-1] == 1
    assert spread_of("z", []) is None
    assert spread_of("z", [float("nan")]) is None


def test_shares_keep_their_order() -> None:
    """Known categories, then foreign ones, unsure last; time of no length counts as one each."""
    shares = share_out([("unsure", 1), ("disgust", 1), ("angry", 1), (None, 5), ("happy", 1)])
    assert [each.category for each in shares] == ["happy", "angry", "disgust", "unsure"]
    assert [each.share for each in share_out([("sad", 0), ("sad", 0)])] == [1.0]


def test_a_thinned_line_keeps_its_extremes() -> None:
    """Of a hundred thousand points a screen can show few, but the peak is there."""
    points = [(at, float(at % 7) / 7) for at in range(100_000)]
    points[54_321] = (54_321, 9.0)
    kept = thin(points, 100_000)
    assert len(kept) < 20_000
    assert (54_321, 9.0) in kept
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]


def test_blocks_too_narrow_to_be_two_become_one() -> None:
    """Ones that can be told apart do not."""

    def said(start: int, end: int, category: str = "sad") -> SaidUtterance:
        return SaidUtterance(
            talker=0, session_id="s", start_ms=start, end_ms=end, category=category
        )

    hours = 4_000_000
    narrow = [said(0, 500), said(600, 1000), said(1100, 1500, "happy")]
    assert [(each.start_ms, each.end_ms) for each in merge(narrow, 0, hours)] == [
        (0, 1000),
        (1100, 1500),
    ]
    wide = [said(0, 50_000), said(60_000, 90_000)]
    assert len(list(merge(wide, 0, hours))) == 2


def test_the_same_events_give_the_same_figures() -> None:
    """Reports can be compared."""

    def made() -> Figures:
        script = Script()
        script.say(1000, 2000)
        return figures_of(gathered(script.close()))

    assert made() == made()
