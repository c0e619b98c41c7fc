from __future__ import annotations

import random
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamser.audio.clip import Samples, to_ms
from streamser.errors import ModelError
from streamser.events import (
    Committed,
    EmotionCompleted,
    EmotionDelta,
    Event,
    Marker,
    MoodUpdated,
    Overload,
    SessionClosed,
    SessionCreated,
    SpeechStarted,
    SpeechStopped,
    TranscriptionCompleted,
    TranscriptionFailed,
    TranscriptPartial,
)
from streamser.pipeline.requests import (
    Cancel,
    EmotionRequest,
    Fault,
    Request,
    Skipped,
    WordsRequest,
)
from streamser.pipeline.session import Output, Session
from streamser.pipeline.session_config import SessionSnapshot
from tests.pipeline.doubles import answer, answer_all, events_of, make_session, requests_of, speech

E = TypeVar("E", bound=Event)

TWO_UTTERANCES = ((0.5, 0), (1.5, 0.3), (1.0, 0), (2.0, 0.2), (1.0, 0))

patterns = st.lists(
    st.tuples(st.floats(0.05, 1.5), st.sampled_from([0.0, 0.2, 0.4])), min_size=1, max_size=8
)


def run(session: Session, chunks: list[Samples], *, at_once: bool = True) -> list[Event]:
    """Drive a session to its end, answering each request at once or only after the last sample."""
    told = events_of(session.begin())
    unanswered: list[Request] = []

    def carry(output: list[Output]) -> None:
        if at_once:
            told.extend(answer_all(session, output))
        else:
            told.extend(events_of(output))
            unanswered.extend(requests_of(output))

    for chunk in chunks:
        carry(session.push(chunk))
    carry(session.flush())
    for request in unanswered:
        told.extend(answer_all(session, session.resolve(request.id, answer(request))))
    return told


def chop(samples: Samples, seed: int) -> list[Samples]:
    """Cut sound at random places, into pieces from none to thousands of samples."""
    dice = random.Random(seed)
    cuts = sorted(dice.randrange(len(samples) + 1) for _ in range(dice.randrange(60)))
    return np.split(samples, cuts)


def live(sound: Samples) -> list[Samples]:
    """Cut sound into the small pieces in which a microphone gives it."""
    return [sound[i : i + 320] for i in range(0, len(sound), 320)]


def of(kind: type[E], events: list[Event]) -> list[E]:
    """Return the events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def test_an_utterance_is_told_from_its_start_to_its_emotion() -> None:
    """Speech gives started, partials, stopped, committed, transcript, emotion and mood."""
    told = run(make_session(), live(speech((0.5, 0), (1.2, 0.3), (1.0, 0))))
    assert [type(event).__name__ for event in told] == [
        "SessionCreated",
        "SpeechStarted",
        "TranscriptPartial",
        "EmotionDelta",
        "TranscriptPartial",
        "TranscriptionDelta",
        "EmotionDelta",
        "SpeechStopped",
        "Committed",
        "TranscriptionDelta",
        "TranscriptionCompleted",
        "EmotionCompleted",
        "MoodUpdated",
        "SessionClosed",
    ]
    started, stopped = of(SpeechStarted, told)[0], of(SpeechStopped, told)[0]
    assert 270 <= started.audio_start_ms <= 500
    assert 1700 <= stopped.audio_end_ms <= 1700 + 160 + 32
    assert stopped.reason == "pause"
    final = of(TranscriptionCompleted, told)[0]
    assert final.transcript.startswith("word0 word1")
    assert final.emotion == of(EmotionCompleted, told)[0].emotion


@settings(max_examples=40)
@given(pattern=patterns, seed=st.integers(0, 10_000), ordered=st.booleans())
def test_the_same_samples_in_any_chunking_give_the_same_events(
    pattern: list[tuple[float, float]], seed: int, ordered: bool
) -> None:
    """Neither one piece nor a thousand odd ones change an event."""
    sound = speech(*pattern)
    blocks = [sound[i : i + 512] for i in range(0, len(sound), 512)]
    pieces = chop(sound, seed)
    if ordered:
        assert run(make_session(ordered=True), pieces, at_once=False) == run(
            make_session(ordered=True), [sound]
        )
    # A live session's events depend on when results come: none before the end, for both.
    assert run(make_session(), pieces, at_once=False) == run(make_session(), blocks, at_once=False)


@settings(max_examples=40)
@given(pattern=patterns, seed=st.integers(0, 10_000))
def test_an_ordered_session_does_not_care_when_results_come(
    pattern: list[tuple[float, float]], seed: int
) -> None:
    """Results handed back at random moments and in random order give the very same events."""
    sound = speech(*pattern)
    dice = random.Random(seed)
    session = make_session(ordered=True)
    told = events_of(session.begin())
    waiting: list[Request] = []
    for chunk in [*chop(sound, seed), None]:
        output = session.push(chunk) if chunk is not None else session.flush()
        told += events_of(output)
        waiting += requests_of(output)
        while waiting and (chunk is None or dice.random() < 0.5):
            request = waiting.pop(dice.randrange(len(waiting)))
            output = session.resolve(request.id, answer(request))
            told += events_of(output)
            waiting += requests_of(output)
    assert told == run(make_session(ordered=True), [sound])


@settings(max_examples=40)
@given(pattern=patterns, seed=st.integers(0, 10_000), ordered=st.booleans())
def test_the_stream_of_events_keeps_its_invariants(
    pattern: list[tuple[float, float]], seed: int, ordered: bool
) -> None:
    """Events count up without gaps, items are chained, and each has exactly one final."""
    told = run(make_session(ordered=ordered), chop(speech(*pattern), seed))
    assert [event.seq for event in told] == list(range(1, len(told) + 1))
    assert len({event.event_id for event in told}) == len(told)
    assert isinstance(told[0], SessionCreated)
    assert isinstance(told[-1], SessionClosed)
    items = [event.item_id for event in of(Committed, told)]
    assert [event.previous_item_id for event in of(Committed, told)] == [None, *items][:-1] or (
        not items
    )
    assert [event.item_id for event in of(EmotionCompleted, told)] == items
    assert [event.item_id for event in of(SpeechStarted, told)] == items
    spans = [
        (started.audio_start_ms, stopped.audio_end_ms)
        for started, stopped in zip(of(SpeechStarted, told), of(SpeechStopped, told), strict=True)
    ]
    flat = [edge for span in spans for edge in span]
    assert flat == sorted(flat)


def test_finals_leave_in_utterance_order_whatever_order_they_finish_in() -> None:
    """The second final waits for the first."""
    session = make_session(partial_every_ms=0, words=False)
    session.begin()
    requests = requests_of(session.push(speech(*TWO_UTTERANCES)))
    first, second = requests
    assert events_of(session.resolve(second.id, answer(second))) == []
    told = events_of(session.resolve(first.id, answer(first)))
    assert [event.emotion.evidence["learnt"] for event in of(EmotionCompleted, told)] == [0, 1]


def test_the_final_is_asked_for_at_half_the_hangover() -> None:
    """300 ms into the silence the request is out, although the utterance is still open."""
    session = make_session(partial_every_ms=0, words=False)
    session.begin()
    output = session.push(speech((0.5, 0), (1.0, 0.3), (0.3, 0)))
    (request,) = requests_of(output)
    assert request.clip.final
    assert not of(SpeechStopped, events_of(output))
    told = events_of(session.resolve(request.id, answer(request)))
    assert told == []
    told = events_of(session.push(speech((0.4, 0))))
    assert of(EmotionCompleted, told)


def test_a_speculative_final_is_thrown_away_if_speech_resumes() -> None:
    """Its request is cancelled, its result ignored, and the longer utterance asked for anew."""
    session = make_session(partial_every_ms=0, words=False)
    session.begin()
    (early,) = requests_of(session.push(speech((0.5, 0), (1.0, 0.3), (0.32, 0))))
    output = session.push(speech((1.0, 0.3), (1.0, 0)))
    assert Cancel("s", early.id) in output
    (late,) = requests_of(output)
    assert session.resolve(early.id, answer(early)) == []
    assert late.clip.start == early.clip.start
    assert len(late.clip.samples) > len(early.clip.samples) + 16_000
    assert of(EmotionCompleted, events_of(session.resolve(late.id, answer(late))))


def test_without_speculation_the_final_is_asked_for_at_the_end_of_the_hangover() -> None:
    """The switch changes when the request leaves, not what is in it."""
    sound = speech((0.5, 0), (1.0, 0.3), (1.0, 0))
    early, late = (
        make_session(partial_every_ms=0, words=False),
        make_session(partial_every_ms=0, words=False, speculative=False),
    )
    (one,), (other,) = requests_of(early.push(sound)), requests_of(late.push(sound))
    assert requests_of(late.push(sound[:0])) == []
    assert (one.clip.start, one.clip.end) == (other.clip.start, other.clip.end)
    assert np.array_equal(one.clip.samples, other.clip.samples)


def test_a_clip_holds_the_very_samples_that_were_pushed() -> None:
    """What the models hear is what the session heard, at the place it says."""
    sound = speech(*TWO_UTTERANCES)
    session = make_session(partial_every_ms=0, words=False)
    for request in requests_of(session.push(sound)):
        assert np.array_equal(request.clip.samples, sound[request.clip.start : request.clip.end])


def test_an_endless_talker_is_cut_without_losing_a_sample() -> None:
    """Utterances of at most the maximum length follow each other seamlessly."""
    told = run(make_session(max_length_ms=4000), [speech((0.5, 0), (15.0, 0.3), (1.0, 0))])
    starts = [event.audio_start_ms for event in of(SpeechStarted, told)]
    stops = [event.audio_end_ms for event in of(SpeechStopped, told)]
    reasons = [event.reason for event in of(SpeechStopped, told)]
    assert len(starts) >= 4
    assert starts[1:] == stops[:-1]
    assert set(reasons[:-1]) == {"max_length"}
    assert all(stop - start <= 4000 for start, stop in zip(starts, stops, strict=True))


def test_flush_closes_what_is_open() -> None:
    """A stream that ends in the middle of a word still gives its final."""
    told = run(make_session(), [speech((0.5, 0), (1.0, 0.3))])
    (stopped,) = of(SpeechStopped, told)
    assert stopped.reason == "flush"
    assert stopped.audio_end_ms == 1500
    assert of(EmotionCompleted, told)


def test_the_last_samples_count_even_if_they_fill_no_window() -> None:
    """An utterance reaches to the very end of a stream that is no multiple of the window."""
    told = run(make_session(), [speech((0.5, 0), (1.01, 0.3))])
    assert of(SpeechStopped, told)[0].audio_end_ms == 1510


@settings(max_examples=60)
@given(pattern=patterns, rest=st.integers(0, 511))
def test_a_stream_may_end_anywhere(pattern: list[tuple[float, float]], rest: int) -> None:
    """Also where an utterance is as long as it may be, in the middle of a window."""
    sound = speech(*pattern, (2.0, 0.3))
    sound = sound[: len(sound) - len(sound) % 512 - 512 + rest]
    told = run(make_session(ordered=True, max_length_ms=1200), [sound])
    (closed,) = of(SessionClosed, told)
    stopped = of(SpeechStopped, told)
    assert len(of(EmotionCompleted, told)) == closed.utterances == len(stopped)
    assert stopped[-1].audio_end_ms == closed.audio_ms == to_ms(len(sound))
    assert all(partial.audio_end_ms <= closed.audio_ms for partial in of(TranscriptPartial, told))


def test_every_partial_asked_for_is_told_or_counted() -> None:
    """Those that a final overtakes, and those that fail, too."""
    session = make_session(words=False)
    session.begin()
    requests = requests_of(session.push(speech((0.5, 0), (2.0, 0.3))))
    told = events_of(session.resolve(requests[0].id, Fault("model_broke", "it broke")))
    assert of(Overload, told)[0].reason == "failed"
    told += events_of(session.resolve(requests[1].id, answer(requests[1])))
    output = session.push(speech((1.0, 0))) + session.flush()
    told += events_of(output)
    for request in requests_of(output):
        told += events_of(session.resolve(request.id, answer(request)))
    (closed,) = of(SessionClosed, told)
    assert len(requests) >= 3
    assert len(of(EmotionDelta, told)) == 1
    assert closed.partials_dropped == len(requests) - 1


def test_an_utterance_that_cannot_be_analysed_says_so_and_the_next_ones_go_on() -> None:
    """A fault takes the place of the final events of its utterance alone."""
    session = make_session(partial_every_ms=0, words=False)
    session.begin()
    first, second = requests_of(session.push(speech(*TWO_UTTERANCES)))
    told = events_of(session.resolve(first.id, Fault("model_broke", "it broke")))
    (failed,) = of(TranscriptionFailed, told)
    assert (failed.error.code, failed.error.message) == ("model_broke", "it broke")
    told = events_of(session.resolve(second.id, answer(second)))
    assert of(EmotionCompleted, told)
    (closed,) = of(SessionClosed, events_of(session.flush()))
    assert (closed.utterances, closed.failed) == (2, 1)


def test_partials_that_were_left_out_are_counted_and_told() -> None:
    """Dropping under pressure gives advice; being overtaken by a newer one is only counted."""
    session = make_session(words=False)
    session.begin()
    requests = requests_of(session.push(speech((0.5, 0), (2.0, 0.3))))
    assert len(requests) >= 3
    assert of(Overload, events_of(session.resolve(requests[0].id, Skipped("coalesced")))) == []
    (overload,) = of(Overload, events_of(session.resolve(requests[1].id, Skipped("full"))))
    assert (overload.kind, overload.dropped, overload.total) == ("partials", 1, 2)


def test_lost_sound_is_told_at_most_once_a_second() -> None:
    """Many small losses are added up, and none is forgotten at the end."""
    session = make_session()
    session.begin()
    told: list[Event] = []
    for _ in range(20):
        told += events_of(session.lose_audio(160, "overflow", session.position))
        told += events_of(session.push(speech((0.1, 0))))
    told += events_of(session.flush())
    overloads = of(Overload, told)
    assert 2 <= len(overloads) <= 4
    assert sum(event.dropped for event in overloads) == 20 * to_ms(160)
    assert of(SessionClosed, told)[0].audio_dropped_ms == 200


def test_a_marker_comes_back_once_everything_before_it_is_told() -> None:
    """In silence at once; within an utterance after its final."""
    session = make_session(partial_every_ms=0, words=False)
    session.begin()
    assert of(Marker, events_of(session.mark("now")))[0].id == "now"
    session.push(speech((0.5, 0), (1.0, 0.3)))
    assert events_of(session.mark("later")) == []
    (request,) = requests_of(session.push(speech((1.0, 0))))
    told = events_of(session.resolve(request.id, answer(request)))
    assert isinstance(told[-1], Marker)
    assert (told[-1].id, told[-1].audio_ms) == ("later", 1500)


def test_a_marker_waits_for_a_word_that_has_just_begun() -> None:
    """Its utterance will be told with a start before the marker."""
    session = make_session(partial_every_ms=0, words=False)
    session.begin()
    session.push(speech((0.512, 0), (0.064, 0.3)))
    assert events_of(session.mark("now")) == []
    output = session.push(speech((1.0, 0.3), (1.0, 0)))
    told = events_of(output)
    for request in requests_of(output):
        told += events_of(session.resolve(request.id, answer(request)))
    kinds = [type(event) for event in told]
    assert kinds.index(EmotionCompleted) < kinds.index(Marker)


def test_a_marker_after_a_cut_waits_for_the_second_half() -> None:
    """The cut lies before the marker, and so does the beginning of the next utterance."""
    session = make_session(partial_every_ms=0, max_length_ms=2000, words=False)
    session.begin()
    output = session.push(speech((0.512, 0), (1.5, 0.3)))
    output += session.mark("now")
    output += session.push(speech((1.0, 0.3), (1.0, 0)))
    told = events_of(output)
    for request in requests_of(output):
        told += events_of(session.resolve(request.id, answer(request)))
    assert len(of(EmotionCompleted, told)) == 2
    (marker,) = of(Marker, told)
    assert marker.seq > of(EmotionCompleted, told)[-1].seq


def test_a_marker_in_the_last_words_comes_after_their_final() -> None:
    """Also where the stream ends in the middle of a window."""
    session = make_session(partial_every_ms=0, words=False)
    session.begin()
    session.push(speech((0.512, 0), (1.0, 0.3))[: 512 * 46 + 400])
    output = session.mark("end") + session.flush()
    told = events_of(output)
    assert of(Marker, told) == []
    for request in requests_of(output):
        told += events_of(session.resolve(request.id, answer(request)))
    assert [type(event) for event in told[-3:]] == [MoodUpdated, Marker, SessionClosed]


def test_a_session_that_has_ended_tells_nothing_more() -> None:
    """The last event is the last."""
    session = make_session()
    session.begin()
    session.flush()
    assert session.closed
    assert session.mark("late") == []
    assert session.flush() == []


def test_partials_tell_settled_and_open_words_apart() -> None:
    """What two hypotheses agree on is committed; the newest words may still change."""
    told = run(make_session(), live(speech((0.5, 0), (3.0, 0.3), (1.0, 0))))
    partials = of(TranscriptPartial, told)
    assert partials[0].committed == ""
    assert partials[-1].committed
    assert partials[-1].text == partials[-1].committed + partials[-1].revisable


def test_a_partial_that_comes_after_the_end_of_its_utterance_is_not_told() -> None:
    """Late readings of a finished utterance would only confuse."""
    session = make_session()
    session.begin()
    output = session.push(speech((0.5, 0), (1.0, 0.3), (1.0, 0)))
    partials = [
        item
        for item in output
        if isinstance(item, WordsRequest | EmotionRequest) and not item.clip.final
    ]
    assert len(partials) >= 2
    told = [
        e for request in partials for e in events_of(session.resolve(request.id, answer(request)))
    ]
    assert of(EmotionDelta, told) == []


def _learnt(told: list[Event]) -> list[float]:
    """Return how many utterances were known at each final reading."""
    return [event.emotion.evidence["learnt"] for event in of(EmotionCompleted, told)]


def test_a_session_goes_on_with_what_another_learnt_of_the_speaker() -> None:
    """A client that comes back is not a stranger."""
    first = make_session()
    assert _learnt(run(first, live(speech(*TWO_UTTERANCES)))) == [0.0, 1.0]
    second = make_session()
    second.speakers.restore(first.speakers.snapshot())
    assert _learnt(run(second, live(speech(*TWO_UTTERANCES)))) == [2.0, 3.0]


def test_a_speaker_can_be_forgotten() -> None:
    """When somebody else takes the microphone."""
    first, second = make_session(), make_session()
    run(first, live(speech(*TWO_UTTERANCES)))
    second.speakers.restore(first.speakers.snapshot())
    second.speakers.reset()
    assert _learnt(run(second, live(speech(*TWO_UTTERANCES)))) == [0.0, 1.0]


def test_what_another_model_learnt_is_refused() -> None:
    """Its numbers mean something else."""
    with pytest.raises(ModelError, match="what rules learnt of a speaker is of no use to loudness"):
        make_session().speakers.restore(SessionSnapshot("rules", b"{}"))


def test_a_partial_says_which_sound_it_was_read_from() -> None:
    """Of a long utterance the end alone, and never more than the window."""
    session = make_session(max_length_ms=15_000, words=False)
    requests: dict[int, EmotionRequest] = {}
    told: list[Event] = []
    for chunk in np.array_split(speech((0.3, 0), (14.0, 0.3)), 100):
        for request in requests_of(session.push(chunk)):
            assert isinstance(request, EmotionRequest)
            requests[to_ms(request.clip.end)] = request
            told += events_of(session.resolve(request.id, answer(request)))
    windows = [event.emotion.window for event in of(EmotionDelta, told)]
    assert windows[-1].end_ms > 13_000
    for window in windows:
        request = requests[window.end_ms]
        assert window.start_ms == to_ms(request.clip.end - len(request.heard))
        assert window.end_ms - window.start_ms <= 10_000
