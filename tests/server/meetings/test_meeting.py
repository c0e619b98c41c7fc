"""A meeting: moods of everybody and of all together, shares, and who spoke over whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser import Analyzer, load_settings
from streamser.events import (
    Cleared,
    Committed,
    EmotionBody,
    EmotionCompleted,
    EmotionProvisional,
    ErrorBody,
    Event,
    Finished,
    MeetingState,
    MeetingUpdated,
    ModelNames,
    MoodShifted,
    MoodUpdated,
    PartEmotion,
    SessionClosed,
    SessionCreated,
    SessionInfo,
    SessionUpdated,
    SpeakerChange,
    SpeakerPart,
    SpeakersChanged,
    SpeechStarted,
    SpeechStopped,
    Stamp,
    TranscriptionCompleted,
    TranscriptionFailed,
    Usage,
    Window,
    encode_event,
)
from streamser.server.meetings.finished import FinishedLog
from streamser.server.meetings.meeting import MeetingEvent, MeetingMood
from streamser.taxonomy import CATEGORIES, UNSURE, Dimensions
from tests.server.recalled import recall, replay

DEMO = Path(__file__).parents[3] / "streamser" / "assets" / "demo.flac"

Timed: TypeAlias = tuple[Event, int]


class Voice:
    """Make the events of one session, whose audio began at ``began_ms`` of the meeting."""

    def __init__(self, session_id: str, name: str | None = None, began_ms: int = 0) -> None:
        self.session_id = session_id
        self.name = name
        self.began_ms = began_ms
        self._seq = 0

    def made(self, kind: type[Event], /, **fields: Any) -> Event:
        """Make any event of the session."""
        self._seq += 1
        event_id = f"event_{self.session_id}_{self._seq}"
        return kind(event_id=event_id, session_id=self.session_id, seq=self._seq, **fields)

    def joins(self, kind: type[Event] = SessionCreated) -> Timed:
        """Introduce the session, or its new settings."""
        info = SessionInfo(
            id=self.session_id,
            models=ModelNames(vad="v", asr=None, emotion="e"),
            silence_ms=500,
            max_utterance_ms=20_000,
            speaker=self.name,
        )
        return self.made(kind, session=info), self.began_ms

    def starts(self, item: str, at_ms: int, lag_ms: int = 300) -> Timed:
        """Begin to speak at a time of the meeting."""
        return self.made(
            SpeechStarted, item_id=item, audio_start_ms=at_ms - self.began_ms, lag_ms=lag_ms
        ), at_ms + lag_ms

    def stops(self, item: str, at_ms: int, lag_ms: int = 700) -> Timed:
        """Stop at a time of the meeting."""
        return self.made(
            SpeechStopped,
            item_id=item,
            audio_end_ms=at_ms - self.began_ms,
            reason="pause",
            lag_ms=lag_ms,
        ), at_ms + lag_ms

    def is_read(self, item: str, span: tuple[int, int], lag_ms: int = 900, **how: Any) -> Timed:
        """Be judged from one time of the meeting to another."""
        emotion = judged(span[0] - self.began_ms, span[1] - self.began_ms, **how)
        event = self.made(EmotionCompleted, item_id=item, emotion=emotion, lag_ms=lag_ms)
        return event, span[1] + lag_ms

    def sounds(self, item: str, span: tuple[int, int], lag_ms: int = 800, **how: Any) -> Timed:
        """Be judged by the voice alone, while the words are awaited."""
        event, at_ms = self.is_read(item, span, lag_ms, **how)
        fields = msgspec.structs.asdict(event)
        del fields["parts"]
        return EmotionProvisional(**fields), at_ms

    def fails(self, item: str, span: tuple[int, int], lag_ms: int = 900) -> Timed:
        """Be beyond analysis."""
        return self.made(
            TranscriptionFailed,
            item_id=item,
            error=ErrorBody(type="server_error", code="asr_failed", message="could not"),
            audio_start_ms=span[0] - self.began_ms,
            audio_end_ms=span[1] - self.began_ms,
            lag_ms=lag_ms,
        ), span[1] + lag_ms

    def closes(self, at_ms: int) -> Timed:
        """End the session."""
        return self.made(
            SessionClosed,
            audio_ms=at_ms - self.began_ms,
            speech_ms=0,
            utterances=0,
            failed=0,
            partials_dropped=0,
            audio_dropped_ms=0,
        ), at_ms

    def says(self, item: str, start_ms: int, end_ms: int, **how: Any) -> list[Timed]:
        """Speak from one time of the meeting to another, and be judged."""
        span = (start_ms, end_ms)
        return [
            self.starts(item, start_ms),
            self.stops(item, end_ms),
            self.is_read(item, span, **how),
        ]


def judged(start_ms: int, end_ms: int, category: str = "neutral", **how: Any) -> EmotionBody:
    """Return a judgement that gives its category most of the probability."""
    lead = how.pop("lead", 0.7)
    rest = (1.0 - lead) / (len(CATEGORIES) - 1)
    fields: dict[str, Any] = {
        "confidence": lead,
        "scores": {name: lead if name == category else rest for name in CATEGORIES},
        "dimensions": Dimensions(),
        "uncertainty": 0.5,
        "modalities": ("audio",),
        "speaker": None,
        "model": "rules",
    }
    window = Window(start_ms=start_ms, end_ms=end_ms)
    return EmotionBody(category=category, window=window, **(fields | how))


def in_time(*parts: list[Timed]) -> list[Timed]:
    """Put events in the order in which they were published; those of one time stay as given."""
    return sorted((timed for part in parts for timed in part), key=lambda timed: timed[1])


def heard(*parts: list[Timed]) -> tuple[MeetingMood, list[MeetingEvent]]:
    """Let a new meeting hear of everything."""
    meeting = MeetingMood("standup")
    return meeting, replay(meeting, in_time(*parts))


def after(*parts: list[Timed], at_ms: int = 1_000_000) -> MeetingState:
    """Return the state of a meeting that has heard of everything."""
    return heard(*parts)[0].state(at_ms)


@st.composite
def scripts(draw: st.DrawFn, voices: int = 4) -> list[list[Timed]]:
    """Draw what each of some speakers goes through, in the order in which they are told of it."""
    sessions = []
    for number in range(draw(st.integers(1, voices))):
        voice = Voice(f"s{number}", f"name {number}", draw(st.integers(0, 5_000)))
        events, now = [voice.joins()], voice.began_ms
        for turn in range(draw(st.integers(0, 6))):
            start = now + draw(st.integers(0, 4_000))
            now = start + draw(st.integers(100, 9_000))
            item = f"{voice.session_id}_{turn}"
            how: dict[str, Any] = {
                "category": draw(st.sampled_from(CATEGORIES)),
                "lead": draw(st.floats(0.3, 1.0)),
                "dimensions": Dimensions(arousal=draw(st.none() | st.floats(-1, 1))),
            }
            events += [voice.starts(item, start), voice.stops(item, now)]
            if draw(st.booleans()):
                alone = {**how, "category": draw(st.sampled_from(CATEGORIES))}
                events.append(
                    voice.sounds(item, (start, now), draw(st.integers(700, 900)), **alone)
                )
            if draw(st.integers(0, 5)):
                events.append(
                    voice.is_read(item, (start, now), draw(st.integers(700, 4_000)), **how)
                )
            else:
                events.append(voice.fails(item, (start, now)))
        if draw(st.booleans()):
            events.append(voice.closes(now + 2_000))
        times = [at_ms for _, at_ms in events]
        # One session's events leave it in one order.
        sessions.append([(e, max(times[: n + 1])) for n, (e, _) in enumerate(events)])
    return sessions


# Properties


@given(scripts())
def test_the_same_events_give_the_same_meeting(script: list[list[Timed]]) -> None:
    """There is no clock and no chance in it."""
    one, told = heard(*script)
    two, told_again = heard(*script)
    assert told == told_again
    assert one.state(99_000) == two.state(99_000)


@given(scripts(), st.randoms())
def test_whose_event_comes_first_among_those_of_one_time_does_not_matter(
    script: list[list[Timed]], chance: Any
) -> None:
    """Speakers' moods and times, and the overlap, do not depend on how sessions interleave."""
    other = list(script)
    chance.shuffle(other)
    one, two = after(*script), after(*other)
    by_name = {speaker.speaker: speaker for speaker in two.speakers}
    assert {speaker.speaker: speaker for speaker in one.speakers} == by_name
    assert one.overlap_ms == two.overlap_ms


@given(scripts())
def test_a_speaker_feels_in_a_meeting_as_alone(script: list[list[Timed]]) -> None:
    """What others say does not touch a speaker's own mood."""
    together = {speaker.speaker: speaker for speaker in after(*script).speakers}
    for session in script:
        for alone in after(session).speakers:
            assert together[alone.speaker].mood == alone.mood
            assert together[alone.speaker].speech_ms == alone.speech_ms


@given(scripts())
def test_shares_are_parts_of_a_whole(script: list[list[Timed]]) -> None:
    """They sum to 1, or nobody has spoken."""
    shares = [speaker.share for speaker in after(*script).speakers]
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert sum(shares) == pytest.approx(1.0, abs=0.001) or not any(shares)


@given(scripts())
def test_overlap_takes_more_than_one(script: list[list[Timed]]) -> None:
    """It never exceeds what all but the most talkative said, and is never negative."""
    state = after(*script)
    times = sorted(speaker.speech_ms for speaker in state.speakers)
    assert 0 <= state.overlap_ms <= sum(times[:-1])


@given(scripts())
def test_every_final_is_told_once_and_no_name_changes_to_itself(
    script: list[list[Timed]],
) -> None:
    """One update for each reading, ids unique, shifts only between two different names."""
    _, told = heard(*script)
    kinds = EmotionProvisional | EmotionCompleted | TranscriptionFailed
    readings = [event for session in script for event, _ in session if isinstance(event, kinds)]
    assert sum(isinstance(event, MeetingUpdated) for event in told) == len(readings)
    assert len({event.event_id for event in told}) == len(told)
    named: dict[str | None, str] = {}
    for event in told:
        if isinstance(event, MoodShifted):
            assert event.category not in (event.previous, UNSURE)
            assert event.previous == named.get(event.speaker, event.previous)
            named[event.speaker] = event.category


@given(scripts())
def test_a_recording_of_a_meeting_tells_what_the_meeting_told(script: list[list[Timed]]) -> None:
    """Lines that a listener kept, stamps and all, give exactly the same events."""
    events = in_time(*script)
    _, told = heard(*script)
    lines = []
    for cursor, (event, at_ms) in enumerate(events):
        stamp = msgspec.to_builtins(Stamp(cursor=cursor, meeting="standup", at_ms=at_ms))
        lines.append(msgspec.json.encode(msgspec.to_builtins(event) | stamp))
        # The hub's own events lie between them, and are not heard twice.
        lines += [encode_event(one) for one in told[:1]]
    again = MeetingMood("standup")
    assert list(recall(lines)) == events
    assert replay(again, recall(lines)) == told


def test_lines_without_times_are_placed_by_their_sound() -> None:
    """An event comes as late as it says; one that speaks of no sound, with the one before."""
    voice = Voice("s1", "Anna")
    events = [voice.joins(), *voice.says("a", 1_000, 3_000), voice.closes(9_000)]
    times = [at_ms for _, at_ms in recall(encode_event(event) for event, _ in events)]
    assert times == [0, 1_300, 3_700, 3_900, 3_900]


# Readings that are not final


def moods_of(state: MeetingState) -> dict[str, dict[str, float]]:
    """Return the scores of everybody's moods, by name."""
    named = [(state.meeting, state.mood), *((one.speaker, one.mood) for one in state.speakers)]
    return {name: mood.scores for name, mood in named if mood is not None}


@given(scripts(), st.integers(0, 40))
def test_a_provisional_reading_counts_in_moods_as_if_it_were_the_final(
    script: list[list[Timed]], told: int
) -> None:
    """Whenever one looks: as long as the final is on its way, and no longer."""
    so_far = in_time(*script)[:told]
    finals = EmotionCompleted | TranscriptionFailed
    over = {event.item_id for event, _ in so_far if isinstance(event, finals)}
    settled: list[Timed] = []
    for event, at_ms in so_far:
        if not isinstance(event, EmotionProvisional):
            settled.append((event, at_ms))
        elif event.item_id not in over:
            settled.append((EmotionCompleted(**msgspec.structs.asdict(event)), at_ms))
    now, as_final = moods_of(after(so_far)), moods_of(after(settled))
    assert now.keys() == as_final.keys()
    for name, scores in now.items():
        assert scores == pytest.approx(as_final[name], abs=0.001)


@given(scripts())
def test_nothing_of_a_provisional_reading_is_left_after_the_final(
    script: list[list[Timed]],
) -> None:
    """Neither moods nor their shifts know that there were any."""
    without = [
        [timed for timed in session if not isinstance(timed[0], EmotionProvisional)]
        for session in script
    ]
    (one, told), (other, told_without) = heard(*script), heard(*without)
    assert one.state(99_000) == other.state(99_000)

    def shifts(events: list[MeetingEvent]) -> list[tuple[str | None, int, str]]:
        return [(e.speaker, e.at_ms, e.category) for e in events if isinstance(e, MoodShifted)]

    assert shifts(told) == shifts(told_without)


def test_a_failure_takes_the_provisional_reading_back() -> None:
    """The mood is the one that was, and the utterance is counted once."""
    voice, span = Voice("s1", "Anna"), (5_000, 9_000)
    before = [voice.joins(), *voice.says("a", 0, 4_000, category="happy")]
    turn = [voice.starts("b", 5_000), voice.stops("b", 9_000)]
    alone = voice.sounds("b", span, category="angry")
    anna = after(before).speakers[0]
    angry = after(before, [*turn, alone]).speakers[0]
    failed = after(before, [*turn, alone, voice.fails("b", span)]).speakers[0]
    assert (angry.mood, angry.utterances) != (anna.mood, 2)
    assert angry.utterances == 1
    assert (failed.mood, failed.utterances) == (anna.mood, 2)


def test_a_reading_whose_final_never_comes_leaves_with_its_session() -> None:
    """A file may end anywhere; a session that is over waits for nothing."""
    voice = Voice("s1", "Anna")
    turn = [voice.starts("a", 0), voice.stops("a", 4_000), voice.sounds("a", (0, 4_000))]
    assert after([voice.joins(), *turn]).mood is not None
    assert after([voice.joins(), *turn, voice.closes(9_000)]).mood is None


# Who is there


def test_a_speaker_is_a_name_or_a_session_without_one() -> None:
    """They are listed in the order in which they joined, before anyone has spoken."""
    state = after([Voice("s1", "Anna").joins(), Voice("s2").joins(), Voice("s3", "Carl").joins()])
    assert [speaker.speaker for speaker in state.speakers] == ["Anna", "s2", "Carl"]
    assert [speaker.share for speaker in state.speakers] == [0.0, 0.0, 0.0]
    assert state.mood is None
    assert state.overlap_ms == 0


def test_two_sessions_of_one_name_are_one_speaker() -> None:
    """Whoever comes back, or has two microphones, goes on where they were."""
    first, second = Voice("s1", "Anna"), Voice("s2", "Anna", 10_000)
    state = after(
        [first.joins(), *first.says("a", 1_000, 3_000), first.closes(5_000)],
        [second.joins(), *second.says("b", 11_000, 14_000)],
    )
    assert [(s.speaker, s.speech_ms, s.utterances) for s in state.speakers] == [("Anna", 5_000, 2)]
    assert state.speakers[0].share == 1.0


def test_one_name_does_not_speak_over_itself() -> None:
    """Two microphones hear one speaker."""
    one, two = Voice("s1", "Anna"), Voice("s2", "Anna")
    state = after([one.joins(), two.joins()], one.says("a", 0, 4_000), two.says("b", 500, 4_500))
    assert state.overlap_ms == 0


def test_who_leaves_stays_listed_if_they_spoke() -> None:
    """A share and a mood outlast the session; who said nothing leaves no trace."""
    anna, ben = Voice("s1", "Anna"), Voice("s2", "Ben")
    state = after(
        [anna.joins(), *anna.says("a", 0, 3_000, category="sad"), anna.closes(5_000)],
        [ben.joins(), ben.closes(6_000)],
    )
    assert [speaker.speaker for speaker in state.speakers] == ["Anna"]
    assert state.speakers[0].mood is not None
    assert state.speakers[0].mood.category == "sad"
    assert not state.speakers[0].speaking


def test_a_new_name_is_a_new_speaker_from_then_on() -> None:
    """What was said under the old name stays with it; what is being said goes with the new one."""
    voice = Voice("s1")
    events = [voice.joins(), *voice.says("a", 0, 2_000), voice.starts("b", 5_000)]
    voice.name = "Anna"
    events += [
        (voice.joins(SessionUpdated)[0], 6_000),
        voice.stops("b", 7_000),
        voice.is_read("b", (5_000, 7_000)),
    ]
    meeting, _ = heard(events)
    assert [(s.speaker, s.utterances) for s in meeting.state(9_000).speakers] == [
        ("s1", 1),
        ("Anna", 1),
    ]


def test_a_name_given_before_the_first_word_leaves_nothing_behind() -> None:
    """Nobody was there under the session's id."""
    voice = Voice("s1")
    events = [voice.joins()]
    voice.name = "Anna"
    state = after([*events, voice.joins(SessionUpdated)])
    assert [speaker.speaker for speaker in state.speakers] == ["Anna"]


# Who speaks


def test_who_speaks_now() -> None:
    """From the first event of an utterance to its end."""
    voice, meeting = Voice("s1", "Anna"), MeetingMood("standup")
    speaking = []
    for event, at_ms in [voice.joins(), voice.starts("a", 500), voice.stops("a", 2_000)]:
        meeting.take(event, at_ms)
        speaking.append(meeting.state(at_ms).speakers[0].speaking)
    assert speaking == [False, True, False]


def test_speaking_time_is_counted_on_the_audio_clock() -> None:
    """When its events come does not change how long an utterance is."""
    voice = Voice("s1", "Anna")
    late = [voice.joins(), voice.starts("a", 1_000, lag_ms=40), voice.stops("a", 3_500, 9_000)]
    assert after(late).speakers[0].speech_ms == 2_500


def test_overlap_is_placed_where_the_sound_was_not_where_the_events_came() -> None:
    """Sessions that began at different times, and lag differently, meet on one clock."""
    anna, ben = Voice("s1", "Anna"), Voice("s2", "Ben", began_ms=60_000)
    state = after(
        [anna.joins(), anna.starts("a", 70_000), anna.stops("a", 75_000, lag_ms=2_000)],
        [ben.joins(), ben.starts("b", 74_000, lag_ms=900), ben.stops("b", 78_000)],
    )
    assert state.overlap_ms == 1_000
    assert [speaker.share for speaker in state.speakers] == [0.5556, 0.4444]


def test_sound_sent_faster_than_real_time_overlaps_no_longer_than_it_took() -> None:
    """A minute of sound sent in a second took a second of the meeting."""
    anna, file = Voice("s1", "Anna"), Voice("s2", "a file")
    quick: list[Timed] = [
        (file.made(SpeechStarted, item_id="b", audio_start_ms=0, lag_ms=0.0), 10_000),
        (
            file.made(SpeechStopped, item_id="b", audio_end_ms=60_000, reason="pause", lag_ms=0.0),
            11_000,
        ),
    ]
    state = after(
        [anna.joins(), anna.starts("a", 0), anna.stops("a", 20_000)], [file.joins(), *quick]
    )
    assert state.overlap_ms == 1_000


def test_a_gap_in_the_line_is_not_speech() -> None:
    """An utterance that took longer to come than it is long ends where its last sound came."""
    anna, ben = Voice("s1", "Anna"), Voice("s2", "Ben")
    broken = anna.made(SpeechStopped, item_id="a", audio_end_ms=5_000, reason="pause", lag_ms=0.0)
    state = after(
        [anna.joins(), anna.starts("a", 1_000), (broken, 31_000)],
        [ben.joins(), ben.starts("b", 10_000), ben.stops("b", 20_000)],
    )
    assert state.overlap_ms == 0
    assert state.speakers[0].speech_ms == 4_000


def test_what_was_cleared_never_was() -> None:
    """Thrown away sound is nobody's speaking time."""
    voice = Voice("s1", "Anna")
    state = after(
        [voice.joins(), voice.starts("a", 1_000)],
        [(voice.made(Cleared), 5_000)],
        [voice.closes(9_000)],
    )
    assert state.speakers == ()


def test_a_session_that_ends_in_a_word_ends_the_word() -> None:
    """The utterance lasted as long as the sound."""
    voice = Voice("s1", "Anna")
    state = after([voice.joins(), voice.starts("a", 1_000), voice.closes(4_000)])
    assert [(s.speech_ms, s.speaking) for s in state.speakers] == [(3_000, False)]


def test_utterances_that_the_client_cuts_count_as_long_as_they_are() -> None:
    """Without voice activity detection nobody says when speech began; the final does."""
    voice = Voice("s1", "Anna")
    events = [voice.joins(), (voice.made(Committed, item_id="a", previous_item_id=None), 3_000)]
    state = after([*events, voice.is_read("a", (500, 3_000)), voice.fails("b", (4_000, 5_000))])
    assert [(s.speech_ms, s.utterances) for s in state.speakers] == [(3_500, 2)]


# Moods


def test_a_meeting_feels_what_its_speakers_feel_together() -> None:
    """The one who says more, and is surer, weighs more."""
    anna, ben = Voice("s1", "Anna"), Voice("s2", "Ben")
    state = after(
        [anna.joins(), *anna.says("a", 0, 9_000, category="happy")],
        [ben.joins(), *ben.says("b", 10_000, 11_000, category="angry")],
    )
    moods = [speaker.mood.category for speaker in state.speakers if speaker.mood]
    assert moods == ["happy", "angry"]
    assert state.mood is not None
    assert state.mood.category == "happy"
    assert sum(state.mood.scores.values()) == pytest.approx(1.0, abs=0.001)


def test_a_lasting_change_is_told_once_for_the_speaker_and_once_for_all() -> None:
    """Each shift follows the update that it comes from."""
    voice = Voice("s1", "Anna")
    turns = [
        voice.says(f"i{n}", n * 6_000, n * 6_000 + 5_000, category="sad" if n < 4 else "angry")
        for n in range(14)
    ]
    _, told = heard([voice.joins()], *turns)
    shifts = [event for event in told if isinstance(event, MoodShifted)]
    assert [(s.speaker, s.previous, s.category) for s in shifts] == [
        ("Anna", "sad", "angry"),
        (None, "sad", "angry"),
    ]
    before = told[told.index(shifts[0]) - 1]
    assert isinstance(before, MeetingUpdated)
    assert before.mood is not None
    assert before.mood.category == "angry"
    assert before.at_ms == shifts[0].at_ms == shifts[1].at_ms


def test_a_quarrel_does_not_make_the_mood_flicker() -> None:
    """Two who take quick turns in opposite moods leave no row of shifts."""
    anna, ben = Voice("s1", "Anna"), Voice("s2", "Ben")
    opening = anna.says("a", 0, 30_000, category="happy")
    turns = [
        one.says(f"i{n}", 31_000 + n * 600, 31_500 + n * 600, category=category, lead=0.9)
        for n in range(80)
        for one, category in [(anna, "happy") if n % 2 else (ben, "angry")]
    ]
    _, told = heard([anna.joins(), ben.joins()], opening, *turns)
    assert sum(isinstance(event, MoodShifted) for event in told) <= 1


def test_a_failed_utterance_counts_and_leaves_the_mood() -> None:
    """It was said, but nobody knows how."""
    voice = Voice("s1", "Anna")
    said = [voice.joins(), *voice.says("a", 0, 2_000, category="sad")]
    _, told = heard(
        [*said, voice.starts("b", 5_000), voice.stops("b", 8_000), voice.fails("b", (5_000, 8_000))]
    )
    first, second = told
    assert isinstance(first, MeetingUpdated)
    assert isinstance(second, MeetingUpdated)
    assert first.speakers[0].mood == second.speakers[0].mood
    assert second.speakers[0].utterances == 2
    assert second.mood == first.mood


# Voices told apart at one microphone


def guessed(voice: Voice, item: str, label: str, span: tuple[int, int], **how: Any) -> list[Timed]:
    """Speak from one time of the meeting to another, and be taken for somebody by the voice."""
    return voice.says(item, *span, speaker=label, speaker_provisional=True, **how)


def listed(state: MeetingState) -> list[tuple[str, bool, int, int]]:
    """Return name, whether it is a guess, speaking time and utterances of each speaker."""
    return [(s.speaker, s.provisional, s.speech_ms, s.utterances) for s in state.speakers]


def test_an_utterance_of_a_guessed_speaker_is_that_speakers() -> None:
    """Its time, its count and its mood; the session keeps what nobody could be told for."""
    room = Voice("s1")
    state = after(
        [room.joins()],
        guessed(room, "a", "speaker 1", (0, 9_000), category="happy"),
        guessed(room, "b", "speaker 2", (10_000, 13_000), category="sad"),
        room.says("c", 14_000, 14_500),
        guessed(room, "d", "speaker 1", (15_000, 18_000), category="happy"),
        [room.fails("e", (19_000, 19_500))],
    )
    assert listed(state) == [
        ("s1", False, 1_000, 2),
        ("speaker 1", True, 12_000, 2),
        ("speaker 2", True, 3_000, 1),
    ]
    assert [s.mood and s.mood.category for s in state.speakers] == ["neutral", "happy", "sad"]
    assert sum(speaker.share for speaker in state.speakers) == pytest.approx(1.0, abs=0.001)


def test_the_meeting_feels_the_same_whether_voices_are_told_apart_or_not() -> None:
    """Only whose mood is whose depends on the guess."""
    room, other = Voice("s1"), Voice("s1")
    spans = [("a", (0, 9_000), "happy"), ("b", (10_000, 13_000), "sad")]
    told = [
        timed
        for n, (item, span, mood) in enumerate(spans)
        for timed in guessed(room, item, f"speaker {n + 1}", span, category=mood)
    ]
    plain = [other.says(item, *span, category=mood) for item, span, mood in spans]
    assert after([room.joins()], told).mood == after([other.joins()], *plain).mood


def test_until_the_final_an_utterance_is_its_sessions() -> None:
    """Who speaks now, nobody can say; what was said goes to whoever it is found to be."""
    room, meeting, states = Voice("s1"), MeetingMood("standup"), []
    for event, at_ms in [room.joins(), *guessed(room, "a", "speaker 1", (1_000, 3_000))]:
        meeting.take(event, at_ms)
        states.append([(s.speaker, s.speaking, s.speech_ms) for s in meeting.state(at_ms).speakers])
    assert states == [
        [("s1", False, 0)],
        [("s1", True, 0)],
        [("s1", False, 2_000)],
        [("s1", False, 0), ("speaker 1", False, 2_000)],
    ]


def test_a_guess_in_an_utterance_that_the_client_cut_counts_as_any_other() -> None:
    """Nobody said when it began and stopped; the final does."""
    room = Voice("s1")
    final = room.is_read("a", (500, 3_000), speaker="speaker 1", speaker_provisional=True)
    assert listed(after([room.joins(), final])) == [
        ("s1", False, 0, 0),
        ("speaker 1", True, 2_500, 1),
    ]


def test_guesses_of_two_sessions_are_not_mixed_up() -> None:
    """The first to guess gives its labels as they are, the others with a number of their own."""
    room, hall, anna = Voice("s1"), Voice("s2"), Voice("s3", "Anna")
    state = after(
        [anna.joins(), room.joins(), hall.joins(), *anna.says("x", 0, 1_000)],
        guessed(hall, "a", "speaker 1", (2_000, 4_000)),
        guessed(room, "b", "speaker 1", (5_000, 8_000)),
        guessed(hall, "c", "speaker 2", (9_000, 13_000)),
        guessed(room, "d", "speaker 1", (14_000, 19_000)),
    )
    assert listed(state)[3:] == [
        ("speaker 1", True, 2_000, 1),
        ("speaker 1 (stream 2)", True, 8_000, 2),
        ("speaker 2", True, 4_000, 1),
    ]


def test_a_session_that_comes_back_guesses_anew() -> None:
    """Its first voice need not be the first of the time before."""
    room, again = Voice("s1"), Voice("s2")
    state = after(
        [room.joins(), *guessed(room, "a", "speaker 1", (0, 2_000)), room.closes(5_000)],
        [(again.joins()[0], 6_000), *guessed(again, "b", "speaker 1", (7_000, 8_000))],
    )
    assert listed(state) == [
        ("speaker 1", True, 2_000, 1),
        ("s2", False, 0, 0),
        ("speaker 1 (stream 2)", True, 1_000, 1),
    ]


def test_a_guess_is_nobody_who_is_called_so() -> None:
    """A client may name its speaker as it likes."""
    named, room = Voice("s1", "speaker 1"), Voice("s2")
    state = after(
        [named.joins(), *named.says("a", 0, 1_000), room.joins()],
        guessed(room, "b", "speaker 1", (2_000, 4_000)),
    )
    assert listed(state) == [
        ("speaker 1", False, 1_000, 1),
        ("s2", False, 0, 0),
        ("speaker 1", True, 2_000, 1),
    ]


def test_voices_of_one_microphone_overlap_with_those_of_others() -> None:
    """Whosever they are; not with each other, as a microphone hears one utterance at a time."""
    room, anna = Voice("s1"), Voice("s2", "Anna")
    state = after(
        [room.joins(), anna.joins(), *anna.says("x", 3_000, 7_000)],
        guessed(room, "a", "speaker 1", (0, 5_000)),
        guessed(room, "b", "speaker 2", (6_000, 9_000)),
    )
    assert state.overlap_ms == 3_000


def test_a_mood_that_shifts_is_that_of_the_guessed_speaker() -> None:
    """By the name that the meeting lists."""
    room, hall = Voice("s1"), Voice("s2")
    turns = [
        guessed(
            room,
            f"i{n}",
            "speaker 1",
            (n * 6_000, n * 6_000 + 5_000),
            category="sad" if n < 4 else "angry",
        )
        for n in range(14)
    ]
    first = guessed(hall, "a", "speaker 1", (-3_000, -2_000), category="sad")
    _, told = heard([room.joins(), hall.joins(), *first], *turns)
    shifts = [event.speaker for event in told if isinstance(event, MoodShifted)]
    assert shifts == ["speaker 1 (stream 2)", None]


def test_a_guessed_speaker_stays_listed_like_any_other_who_spoke() -> None:
    """The session itself, in which nothing is left, leaves no trace."""
    room = Voice("s1")
    state = after([room.joins(), *guessed(room, "a", "speaker 1", (0, 2_000)), room.closes(5_000)])
    assert listed(state) == [("speaker 1", True, 2_000, 1)]


def test_a_session_cannot_fill_a_meeting_with_guesses() -> None:
    """Beyond those that any setting allows, an utterance is its session's."""
    room = Voice("s1")
    said = [
        guessed(room, f"i{n}", f"speaker {n}", (n * 2_000, n * 2_000 + 1_000)) for n in range(80)
    ]
    state = after([room.joins()], *said)
    assert len(state.speakers) + state.more_speakers == 65
    assert listed(state)[0] == ("s1", False, 16_000, 16)
    meeting = MeetingMood("standup")
    for number in range(3):
        other = Voice(f"s{number}")
        for n in range(60):
            for event, at_ms in guessed(other, f"i{n}", f"speaker {n}", (n * 2_000, n * 2_000 + 9)):
                meeting.take(event, at_ms)
        meeting.take(*other.closes(200_000))
    left = meeting.state(0)
    assert len(left.speakers) + left.more_speakers == 64


# Who spoke after all


def revised(voice: Voice, at_ms: int, renamed: dict[str, str], **moved: str | None) -> Timed:
    """Say whose utterances are after all, and what speakers are called."""
    changes = tuple(SpeakerChange(item_id=item, speaker=who) for item, who in moved.items())
    return voice.made(SpeakersChanged, changes=changes, renamed=renamed), at_ms


def known(state: MeetingState) -> dict[str, tuple[int, int, object]]:
    """Return speaking time, utterances and mood of each speaker by name."""
    return {s.speaker: (s.speech_ms, s.utterances, s.mood) for s in state.speakers}


@given(
    st.lists(
        st.tuples(st.sampled_from("123"), st.sampled_from("123"), st.sampled_from(CATEGORIES)),
        min_size=1,
        max_size=8,
    )
)
def test_after_a_correction_it_is_as_if_it_had_been_known_at_once(
    turns: list[tuple[str, str, str]],
) -> None:
    """Times, counts and moods of everybody, and of all together."""
    told, right = Voice("s1"), Voice("s1")
    first, better = [], []
    for n, (label, truth, mood) in enumerate(turns):
        span = (n * 3_000, n * 3_000 + 1_000 + 200 * n)
        first.append(guessed(told, f"i{n}", label, span, category=mood))
        better.append(guessed(right, f"i{n}", truth, span, category=mood))
    moved = {f"i{n}": truth for n, (_, truth, _) in enumerate(turns)}
    corrected = after([told.joins()], *first, [revised(told, 30_000, {}, **moved)])
    at_once = after([right.joins()], *better)
    assert known(corrected) == known(at_once)
    assert corrected.mood == at_once.mood


def test_two_labels_of_one_person_become_one_speaker_however_long_ago() -> None:
    """Also of what is so long ago that it could not be moved alone."""
    told, right = Voice("s1"), Voice("s1")
    first, better = [], []
    for n in range(600):
        span = (n * 3_000, n * 3_000 + 1_000)
        mood = CATEGORIES[n % 4 if n > 400 else 1]
        first.append(guessed(told, f"i{n}", f"speaker {n % 2 + 1}", span, category=mood))
        better.append(guessed(right, f"i{n}", "Ann", span, category=mood))
    renamed = revised(told, 2_000_000, {"speaker 1": "Ann", "speaker 2": "Ann"})
    corrected = after([told.joins()], *first, [renamed])
    assert known(corrected) == known(after([right.joins()], *better))


def test_a_given_name_keeps_the_place_in_the_list() -> None:
    """And who speaks next under it is that person."""
    room = Voice("s1")
    state = after(
        [room.joins()],
        guessed(room, "a", "speaker 1", (0, 1_000)),
        guessed(room, "b", "speaker 2", (2_000, 4_000)),
        [revised(room, 5_000, {"speaker 1": "Ann"})],
        guessed(room, "c", "Ann", (6_000, 7_000)),
    )
    assert listed(state)[1:] == [("Ann", True, 2_000, 2), ("speaker 2", True, 2_000, 1)]


def test_names_may_change_places() -> None:
    """What had one has the other, all at once."""
    room = Voice("s1")
    state = after(
        [room.joins()],
        guessed(room, "a", "1", (0, 1_000)),
        guessed(room, "b", "2", (2_000, 4_000)),
        [revised(room, 5_000, {"1": "2", "2": "1"}, b="2")],
    )
    assert listed(state)[1:] == [("2", True, 3_000, 2)]


def test_of_whom_nobody_can_tell_there_is_time_but_no_mood() -> None:
    """The meeting still feels what was said."""
    room = Voice("s1")
    state = after(
        [room.joins()],
        guessed(room, "a", "speaker 1", (0, 2_000), category="happy"),
        room.says("b", 3_000, 5_000, speaker_provisional=True, category="angry"),
        [revised(room, 6_000, {}, a=None)],
    )
    assert listed(state)[1:] == [("uncertain speaker", True, 4_000, 2)]
    assert state.speakers[1].mood is None
    assert state.mood is not None


def test_speaking_time_of_an_utterance_of_several_is_shared_out() -> None:
    """Its reading is of whom it is most."""
    room = Voice("s1")
    parts = (
        SpeakerPart(start_ms=0, end_ms=1_000, speaker="speaker 1"),
        SpeakerPart(start_ms=1_000, end_ms=4_000, speaker="speaker 2"),
    )
    change = SpeakerChange(item_id="a", speaker="speaker 2", parts=parts)
    state = after(
        [room.joins()],
        guessed(room, "a", "speaker 1", (0, 4_000)),
        [(room.made(SpeakersChanged, changes=(change,)), 5_000)],
    )
    assert known(state)["speaker 1"][:2] == (1_000, 0)
    assert known(state)["speaker 2"][:2] == (3_000, 1)
    assert [s.mood is None for s in state.speakers] == [True, True, False]


def read(category: str) -> PartEmotion:
    """Return what was read of a part."""
    whole = judged(0, 1_000, category=category)
    names = PartEmotion.__struct_fields__
    return PartEmotion(**{name: getattr(whole, name) for name in names})


def test_each_who_speaks_in_an_utterance_has_their_own_reading_in_their_mood() -> None:
    """The meeting's has that of the whole; what turns out to be another's goes over to them."""
    room = Voice("s1")
    spans = ((0, 3_000, "speaker 1", "happy"), (3_000, 5_000, "speaker 2", "angry"))
    parts = tuple(
        SpeakerPart(start_ms=start, end_ms=end, speaker=who, emotion=read(category))
        for start, end, who, category in spans
    )
    final = room.says("a", 0, 5_000, speaker="speaker 1", speaker_provisional=True, category="sad")
    told = [
        (
            msgspec.structs.replace(event, parts=parts)
            if isinstance(event, EmotionCompleted)
            else event,
            at_ms,
        )
        for event, at_ms in final
    ]
    state = after([room.joins()], told)
    assert called(state) == {"speaker 1": "happy", "speaker 2": "angry"}
    assert state.mood is not None
    assert state.mood.category == "sad"
    now = tuple(
        SpeakerPart(start_ms=part.start_ms, end_ms=part.end_ms, speaker=who)
        for part, who in zip(parts, ("speaker 3", "speaker 1"), strict=True)
    )
    change = SpeakerChange(item_id="a", speaker="speaker 3", parts=now)
    state = after([room.joins()], told, [(room.made(SpeakersChanged, changes=(change,)), 6_000)])
    assert called(state) == {"speaker 3": "happy", "speaker 1": "angry"}


def called(state: MeetingState) -> dict[str, str]:
    """Return what the mood of each speaker is called."""
    return {each.speaker: each.mood.category for each in state.speakers if each.mood is not None}


def test_what_is_long_gone_or_never_was_is_passed_over() -> None:
    """It is told of the meeting as it is."""
    room = Voice("s1")
    told = [revised(room, 0, {"x": "y"}, z="y"), room.joins(), revised(room, 1, {"x": "y"}, z="y")]
    assert listed(after(told)) == [("s1", False, 0, 0)]


# Finished utterances


def worded(voice: Voice, item: str, end_ms: int) -> Timed:
    """Return the words of an utterance from 0."""
    return voice.made(
        TranscriptionCompleted,
        item_id=item,
        transcript="well then",
        usage=Usage(seconds=1.0),
        audio_start_ms=0,
        audio_end_ms=end_ms,
        emotion=judged(0, end_ms),
        lag_ms=850.0,
    ), end_ms + 850


def test_who_comes_late_learns_how_each_of_several_sounds() -> None:
    """With the names that are known by then, and what was read once."""
    voice, log = Voice("s1"), FinishedLog()
    parts = tuple(
        SpeakerPart(start_ms=start, end_ms=end, speaker=who, emotion=read(category))
        for start, end, who, category in (
            (0, 2_000, "speaker 1", "angry"),
            (2_000, 3_000, "speaker 2", "sad"),
        )
    )
    now = tuple(msgspec.structs.replace(part, emotion=None) for part in parts)
    change = SpeakerChange(item_id="a", speaker="speaker 1", parts=now)
    for event in (
        worded(voice, "a", 3_000)[0],
        msgspec.structs.replace(voice.is_read("a", (0, 3_000))[0], parts=parts),
        voice.made(SpeakersChanged, changes=(change,), renamed={"speaker 2": "Ann"}),
        voice.made(SpeakersChanged, renamed={"speaker 2": "Ben"}),
    ):
        log.take(event, None, None, 3_500)
    (final,) = log.finals
    assert [part.speaker for part in final.parts] == ["speaker 1", "Ben"]
    assert [part.emotion and part.emotion.category for part in final.parts] == ["angry", "sad"]


def test_words_and_emotion_of_an_utterance_are_one_record() -> None:
    """It is whole from the first of its two events on, so that no snapshot holds half of it."""
    voice, log = Voice("s1", "Anna"), FinishedLog()
    for event, at_ms in (worded(voice, "a", 1_000), voice.is_read("a", (0, 1_000))):
        log.take(event, "standup", "Anna", at_ms)
        assert log.finals == (
            Finished(
                session_id="s1",
                item_id="a",
                speaker="Anna",
                meeting="standup",
                at_ms=1_850,
                lag_ms=850.0,
                audio_start_ms=0,
                audio_end_ms=1_000,
                transcript="well then",
                emotion=judged(0, 1_000),
            ),
        )


def test_a_record_of_a_guess_names_whom_the_emotion_names() -> None:
    """That it is a guess stands there too."""
    voice, log = Voice("s1"), FinishedLog()
    final, at_ms = voice.is_read("a", (0, 1), speaker="speaker 2", speaker_provisional=True)
    log.take(final, "standup", None, at_ms)
    (record,) = log.finals
    assert record.speaker == "speaker 2"
    assert record.emotion is not None
    assert record.emotion.speaker_provisional


def test_without_words_a_record_has_the_emotion_and_without_either_the_error() -> None:
    """What is missing is null."""
    voice, log = Voice("s1"), FinishedLog()
    for event, at_ms in (voice.is_read("a", (0, 1_000)), voice.fails("b", (2_000, 3_000))):
        log.take(event, None, None, at_ms)
    read, failed = log.finals
    assert (read.transcript, read.emotion, read.error) == (None, judged(0, 1_000), None)
    assert (failed.transcript, failed.emotion, failed.audio_start_ms) == (None, None, 2_000)
    assert failed.error is not None
    assert failed.error.code == "asr_failed"


def test_the_last_records_are_kept_and_other_events_make_none() -> None:
    """Sessions may number their utterances alike."""
    log = FinishedLog(3)
    for number in range(5):
        voice = Voice(f"s{number}")
        for event, at_ms in [voice.joins(), *voice.says("item", 0, 1_000)]:
            log.take(event, None, None, at_ms)
    assert [final.session_id for final in log.finals] == ["s2", "s3", "s4"]


# Memory


def size(thing: object, seen: set[int]) -> int:
    """Count what a thing holds, and what that holds."""
    if id(thing) in seen or isinstance(thing, str | int | float | type(None)):
        return 1
    seen.add(id(thing))
    inside: list[object] = []
    if isinstance(thing, dict):
        inside = list(thing.values())
    elif isinstance(thing, list | tuple):
        inside = list(thing)
    elif isinstance(thing, msgspec.Struct):
        inside = [getattr(thing, name) for name in thing.__struct_fields__]
    elif hasattr(thing, "__dict__"):
        inside = list(vars(thing).values())
    return 1 + sum(size(one, seen) for one in inside)


def visits(count: int) -> Iterator[Timed]:
    """Yield visitors of whom each says one thing: some leave, some never say that they are gone."""
    for number in range(count):
        voice = Voice(f"s{number}", began_ms=number * 1_000)
        yield voice.joins()
        yield from voice.says("a", voice.began_ms, voice.began_ms + 900)
        yield voice.starts("b", voice.began_ms + 950)
        if number % 3:
            yield voice.closes(voice.began_ms + 990)


def test_memory_is_bounded_whoever_comes_and_does_not_go() -> None:
    """Thousands of joins, a third of them never closed, take no more room than fewer do."""
    sizes = []
    for count in (4_000, 6_000):
        meeting = MeetingMood("standup")
        for event, at_ms in visits(count):
            # Everything but what is told, of which a meeting this large makes a lot.
            if not isinstance(event, EmotionCompleted):
                meeting.take(event, at_ms)
        sizes.append(size(meeting, set()))
        state = meeting.state(0)
        assert len(state.speakers) + state.more_speakers <= 1_064
    assert sizes[1] <= sizes[0] * 1.01


def test_who_came_back_is_not_forgotten_with_those_who_went() -> None:
    """Hundreds may come and go meanwhile."""
    anna, back = Voice("s1", "Anna"), Voice("s2", "Anna", 6_000)
    others = [
        [voice.joins(), *voice.says("a", 10_000 + n, 11_000 + n)[:2], voice.closes(12_000 + n)]
        for n in range(300)
        for voice in [Voice(f"o{n}", f"other {n}")]
    ]
    state = after(
        [anna.joins(), *anna.says("a", 0, 3_000), anna.closes(5_000), back.joins()], *others
    )
    speakers = state.speakers
    assert (speakers[0].speaker, speakers[0].speech_ms) == ("Anna", 3_000)
    assert [speaker.speaker for speaker in speakers[1:]] == [f"other {n}" for n in range(269, 300)]
    assert state.more_speakers == 33
    shares = [speaker.share for speaker in speakers]
    assert sum(shares) + state.more_speakers_share == pytest.approx(1, abs=0.002)
    assert state.more_speakers_share == pytest.approx(33_000 / 67_000, abs=0.0001)


def test_finals_that_never_come_are_not_waited_for_for_ever() -> None:
    """A session whose utterances are lost on the way stays small."""
    voice, meeting = Voice("s1", "Anna"), MeetingMood("standup")
    sizes = []
    for number in range(4_000):
        span = (number * 1_000, number * 1_000 + 900)
        turn = [*voice.says(f"i{number}", *span)[:2], voice.sounds(f"i{number}", span)]
        for event, at_ms in turn[: 2 if number % 3 else 3]:
            meeting.take(event, at_ms)
        if number in (2_000, 3_999):
            sizes.append(size(meeting, set()))
    assert sizes[1] <= sizes[0] * 1.01


# A real recording


@pytest.fixture(scope="module")
def conversation() -> list[Event]:
    """Return the events of the bundled conversation, heard once without words."""
    with Analyzer(load_settings("voice-only")) as analyzer:
        return list(analyzer.stream(DEMO, live=False, speaker="Anna"))


def test_a_session_replayed_from_its_lines_feels_the_same(conversation: list[Event]) -> None:
    """What a file of events gives is what the events gave, to the last digit."""
    live: list[MeetingEvent] = []
    meeting, now = MeetingMood("demo"), 0
    for event in conversation:
        now = now if event.clock_ms is None else event.clock_ms
        live += meeting.take(event, now)
    lines = [encode_event(event) for event in conversation]
    again = MeetingMood("demo")
    assert replay(again, recall(lines)) == live
    assert again.state(now) == meeting.state(now)
    assert sum(isinstance(event, MeetingUpdated) for event in live) > 10


def test_a_meeting_of_one_feels_as_its_session_says(conversation: list[Event]) -> None:
    """Both moods rest on the same judgements, and the speaking time is the session's own."""
    meeting = MeetingMood("demo")
    told = replay(meeting, recall(encode_event(event) for event in conversation))
    moods = [event for event in conversation if isinstance(event, MoodUpdated)]
    updates = [event for event in told if isinstance(event, MeetingUpdated)]
    for mood, update in zip(moods, updates, strict=True):
        body = update.speakers[0].mood
        assert body is not None
        assert body == update.mood
        assert body.scores == mood.scores
        assert body.category == mood.category
    closed = conversation[-1]
    assert isinstance(closed, SessionClosed)
    (speaker,) = meeting.state(closed.audio_ms).speakers
    assert speaker.speech_ms == pytest.approx(closed.speech_ms, abs=len(updates))
    assert speaker.utterances == closed.utterances
