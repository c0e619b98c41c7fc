"""SpeakerModels that fail, as those of a plug-in may: nothing is lost without a word."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from streamser.emotion.model import Prediction
from streamser.errors import ModelError
from streamser.events import (
    EmotionCompleted,
    EmotionDelta,
    EmotionProvisional,
    Event,
    Overload,
    SessionClosed,
    TranscriptionFailed,
    TranscriptPartial,
)
from streamser.pipeline.session import Session
from streamser.pipeline.session_config import SessionSnapshot
from streamser.pipeline.speaker_state import SpeakerModels
from tests.pipeline.doubles import (
    CountingListener,
    LevelVad,
    answer,
    answer_all,
    events_of,
    make_session,
    requests_of,
    speech,
)

TALK = speech((0.5, 0), (1.4, 0.3), (1.0, 0), (1.4, 0.3), (1.0, 0))


class FailingListener(CountingListener):
    """Fail in one of the things that a listener is asked for, the first times."""

    def __init__(self, method: str, times: int) -> None:
        super().__init__()
        self._method = method
        self._left = times

    def _do(self, method: str) -> None:
        if method == self._method and self._left:
            self._left -= 1
            raise KeyError("no such voice")

    def predict(self, finding: float) -> Prediction:
        """Fail, or judge loudness."""
        self._do("predict")
        return super().predict(finding)

    def adapt(self, finding: float) -> None:
        """Fail, or count."""
        self._do("adapt")
        super().adapt(finding)

    def restore(self, state: bytes) -> None:
        """Fail in the middle, or take a number."""
        self.learnt = 99
        self._do("restore")
        super().restore(state)

    def reset(self) -> None:
        """Fail, or start anew."""
        self._do("reset")
        super().reset()


def follow(method: str, times: int, *, ordered: bool = False) -> list[Event]:
    """Say two things to a session whose listener fails; return all its events."""
    profile = replace(make_session()._config, ordered=ordered)
    session = Session(profile, LevelVad(), lambda: FailingListener(method, times))
    told = answer_all(session, session.begin())
    for offset in range(0, len(TALK), 400):
        told += answer_all(session, session.push(TALK[offset : offset + 400]))
    told += answer_all(session, session.flush())
    assert session.closed
    return told


def of(told: list[Event], kind: type[Event]) -> list[Event]:
    """Return the events of a kind."""
    return [event for event in told if isinstance(event, kind)]


@pytest.mark.parametrize("ordered", [False, True])
def test_a_final_that_nobody_can_read_fails_and_counts(ordered: bool) -> None:
    """With the reason; the session goes on to its end."""
    told = follow("predict", 1000, ordered=ordered)
    failed = of(told, TranscriptionFailed)
    assert len(failed) == 2
    assert isinstance(failed[0], TranscriptionFailed)
    assert failed[0].error.code == "internal_error"
    assert failed[0].error.message == "KeyError: 'no such voice'"
    assert not of(told, EmotionCompleted)
    closed = told[-1]
    assert isinstance(closed, SessionClosed)
    assert (closed.utterances, closed.failed) == (2, 2)
    assert [event.seq for event in told] == list(range(1, len(told) + 1))


def test_an_utterance_that_cannot_be_learnt_fails_alone() -> None:
    """The next is read as if it had not been."""
    told = follow("adapt", 1)
    assert len(of(told, TranscriptionFailed)) == 1
    (final,) = of(told, EmotionCompleted)
    assert isinstance(final, EmotionCompleted)
    assert final.emotion.evidence["learnt"] == 0.0


@pytest.mark.parametrize("ordered", [False, True])
def test_partial_readings_that_nobody_can_read_are_told_as_lost(ordered: bool) -> None:
    """Each is counted, and its words are told all the same."""
    sound = follow("none", 0, ordered=ordered)
    told = follow("predict", 1000, ordered=ordered)
    expected = len(of(sound, EmotionDelta))
    assert expected >= 4
    assert not of(told, EmotionDelta)
    assert len(of(told, TranscriptPartial)) == len(of(sound, TranscriptPartial))
    losses = [event for event in told if isinstance(event, Overload)]
    assert {(loss.kind, loss.reason) for loss in losses} == {("partials", "failed")}
    assert sum(loss.dropped for loss in losses) == expected == losses[-1].total
    before, after = sound[-1], told[-1]
    assert isinstance(before, SessionClosed)
    assert isinstance(after, SessionClosed)
    assert after.partials_dropped == before.partials_dropped + expected


def test_a_voice_alone_that_nobody_can_read_is_told_as_lost() -> None:
    """Its final is still to come, and is read."""
    profile = replace(make_session(partial_every_ms=0)._config, patience=0)
    session = Session(profile, LevelVad(), lambda: FailingListener("predict", 1))
    session.begin()
    words, voice = requests_of(session.push(speech((0.5, 0), (1.4, 0.3), (1.0, 0))))
    told = events_of(session.resolve(voice.id, answer(voice)))
    (loss,) = told
    assert isinstance(loss, Overload)
    assert (loss.kind, loss.dropped, loss.reason) == ("partials", 1, "failed")
    told = answer_all(session, session.resolve(words.id, answer(words)))
    assert len(of(told, EmotionCompleted)) == 1
    assert not of(told, EmotionProvisional)


def failing(method: str) -> Callable[[], CountingListener]:
    """Make listeners of which only the first fails."""
    made = iter([FailingListener(method, 1)])
    return lambda: next(made, None) or CountingListener()


def test_what_cannot_be_restored_is_an_error_that_says_why() -> None:
    """Nothing of it is kept: what is half restored would judge wrongly."""
    listeners = SpeakerModels(failing("restore"), "loudness", None)
    with pytest.raises(ModelError, match="cannot be restored: KeyError: 'no such voice'"):
        listeners.restore(SessionSnapshot("loudness", b"3"))
    assert listeners.snapshot().speaker == b"0"


def test_a_speaker_is_forgotten_whatever_the_listener_says() -> None:
    """Another person has taken the microphone: a new listener begins."""
    listeners = SpeakerModels(failing("reset"), "loudness", None)
    listeners.adapt(0.1)
    listeners.reset()
    assert listeners.snapshot().speaker == b"0"
