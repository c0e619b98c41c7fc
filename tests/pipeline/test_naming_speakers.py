"""What clients say of who speaks, and what a session knows by it from then on."""

from __future__ import annotations

import msgspec
import pytest

from streamser.events import Event, SpeakerChange, SpeakersChanged
from streamser.pipeline.emitter import RefusedError
from streamser.pipeline.session import Session
from streamser.pipeline.session_config import VoicesApart
from streamser.pipeline.speaker_state import (
    AssignSpeaker,
    ForgetVoices,
    MergeSpeakers,
    RenameSpeaker,
    SpeakerModels,
    SpeakerOrder,
)
from streamser.speech.diarisation import Spoken
from tests.pipeline.doubles import (
    APART,
    CountingListener,
    answer_all,
    events_of,
    make_session,
    requests_of,
    voices_of,
)
from tests.pipeline.test_shared_microphone import LOUD, QUIET, in_turn, known, said_by
from tests.speech.voices import Talk


def opened(apart: VoicesApart | None = APART) -> Session:
    """Begin a session that hears voices alone."""
    session = make_session(apart=apart, partial_every_ms=0, words=False)
    session.begin()
    return session


def hear(session: Session, *turns: tuple[float, float]) -> list[Event]:
    """Let people speak in turn, and answer what is asked at once."""
    return answer_all(session, session.push(in_turn(*turns)))


def tell(session: Session, order: SpeakerOrder) -> SpeakersChanged:
    """Say who speaks; return what is answered to everybody."""
    (told,) = events_of(session.name_speakers(order))
    assert isinstance(told, SpeakersChanged)
    return told


def names(events: list[Event]) -> list[str | None]:
    """Return who is told to have spoken."""
    return [name for name, _ in said_by(events)]


def test_a_speaker_gets_a_name_and_keeps_the_past() -> None:
    """From here on, and for all that was told before."""
    session = opened()
    hear(session, LOUD, QUIET, LOUD)
    assert tell(session, RenameSpeaker("speaker 1", "Ann")).renamed == {"speaker 1": "Ann"}
    told = hear(session, LOUD, QUIET)
    assert said_by(told) == [("Ann", True), ("speaker 2", True)]
    assert known(told) == [2, 1]


def test_two_speakers_may_be_one_person() -> None:
    """Whoever gets a name that is taken, too: what was learnt of both is one's."""
    for order in (MergeSpeakers("speaker 2", "speaker 1"), RenameSpeaker("speaker 2", "speaker 1")):
        session = opened()
        hear(session, LOUD, QUIET, LOUD)
        assert tell(session, order).renamed == {"speaker 2": "speaker 1"}
        told = hear(session, QUIET, LOUD)
        assert names(told) == ["speaker 1", "speaker 1"]
        assert known(told) == [3, 4]


def test_an_utterance_is_given_to_somebody_and_what_is_like_it_follows() -> None:
    """And the model of each goes by what is theirs after all."""
    session = opened()
    hear(session, LOUD, QUIET, LOUD, QUIET)
    told = tell(session, AssignSpeaker("item_s_2", "Bob"))
    assert told.changes == (
        SpeakerChange(item_id="item_s_2", speaker="Bob"),
        SpeakerChange(item_id="item_s_4", speaker="Bob"),
    )
    more = hear(session, QUIET, LOUD)
    assert names(more) == ["Bob", "speaker 1"]
    assert known(more) == [2, 2]


def test_all_voices_can_be_forgotten_at_once() -> None:
    """Whoever speaks then is a stranger, with a label that nobody had before."""
    session = opened()
    hear(session, LOUD, QUIET)
    told_off = tell(session, ForgetVoices())
    assert (told_off.changes, told_off.renamed) == ((), {})
    state = session.speakers.state()
    assert state.own == {}
    assert state.voices is not None
    assert (state.voices.recent, state.voices.voices) == ((), {})
    told = hear(session, QUIET, LOUD)
    assert names(told) == ["speaker 3", "speaker 4"]
    assert known(told) == [0, 0]


def test_to_stop_telling_voices_apart_forgets_them_too() -> None:
    """And labels that were given never come back for somebody else."""
    session = opened()
    hear(session, LOUD, QUIET)
    config = session._config
    session.configure(msgspec.structs.replace(config, apart=None))
    assert names(hear(session, LOUD)) == [None]
    state = session.speakers.state().voices
    assert state is not None
    assert state.voices == {}
    session.configure(config)
    assert names(hear(session, QUIET)) == ["speaker 3"]


@pytest.mark.parametrize(
    ("order", "line"),
    [
        (RenameSpeaker("Zoe", "Ann", "e1"), "nobody is called Zoe: speaker 1"),
        (MergeSpeakers("speaker 1", "speaker 1", "e1"), "speaker 1 is one speaker already"),
        (AssignSpeaker("item_s_99", "Ann", "e1"), "utterance 99 is not remembered"),
        (AssignSpeaker("item_other_1", "Ann", "e1"), "there is no utterance 'item_other_1'"),
    ],
)
def test_what_cannot_be_done_is_told_to_the_client_alone(order: SpeakerOrder, line: str) -> None:
    """In one line, with the client's own name for its message; nothing changes."""
    session = opened()
    hear(session, LOUD)
    with pytest.raises(RefusedError) as caught:
        session.name_speakers(order)
    body = caught.value.body
    assert (body.code, body.event_id) == ("invalid_value", "e1")
    assert line in body.message
    assert names(hear(session, LOUD)) == ["speaker 1"]


def test_where_voices_are_not_told_apart_nobody_can_be_named() -> None:
    """But to forget is always done."""
    session = opened(None)
    hear(session, LOUD)
    with pytest.raises(RefusedError, match="not told apart here"):
        session.name_speakers(RenameSpeaker("speaker 1", "Ann"))
    assert tell(session, ForgetVoices()).renamed == {}


def test_people_may_be_known_from_the_start() -> None:
    """By name, as a guess like any other."""
    session = opened()
    (request,) = requests_of(opened().push(in_turn(LOUD)))
    session.speakers.enroll({"Ann": [window.voice for window in voices_of(request.clip)]})
    assert said_by(hear(session, LOUD, QUIET)) == [("Ann", True), ("speaker 1", True)]


def test_only_two_minutes_of_features_are_kept() -> None:
    """What is older stays in what is usual for whoever said it."""
    models = SpeakerModels(CountingListener, "loudness", APART)
    talk = Talk()
    for turn in range(120):
        spoken = talk.says(turn % 2)
        who = models.hear(spoken)
        models.adapt(0.1, who.label, item=spoken.item, end=spoken.end)
    assert len(models._learnt) <= 31
    own = models.state().own
    assert own == {"speaker 1": b"60", "speaker 2": b"60"}
    changed = models.follow(AssignSpeaker("item_s_120", "Ann"), "s")[1]
    assert changed
    counts = {label: int(state) for label, state in models.state().own.items()}
    assert sum(counts.values()) == 120
    assert counts["Ann"] >= 1


def test_what_was_said_before_a_move_to_another_process_keeps_its_place_in_baselines() -> None:
    """Its label may change all the same: only sums of what was learnt cross."""
    lost, other = opened(), opened()
    hear(lost, LOUD, QUIET, LOUD)
    other.speakers.go_on(lost.speakers.state())
    order = AssignSpeaker("item_s_1", "Ann")
    assert [change.item_id for change in tell(other, order).changes] == ["item_s_1", "item_s_3"]
    assert other.speakers.state().own == {"speaker 2": b"1"}
    assert tell(lost, order).changes
    assert lost.speakers.state().own == {"Ann": b"2", "speaker 2": b"1"}


def test_a_model_that_cannot_be_taught_anew_costs_nobody_a_label(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may be anybody's; what it knows stays as it was, and that is logged."""

    class Forgetful(CountingListener):
        def snapshot(self) -> bytes:
            raise KeyError("no memory")

        def restore(self, state: bytes) -> None:
            raise KeyError("no memory")

    models = SpeakerModels(Forgetful, "loudness", APART)
    talk = Talk()
    for turn in range(60):
        spoken = talk.says(turn % 2)
        who = models.hear(spoken)
        assert who.label == f"speaker {turn % 2 + 1}"
        models.adapt(0.1, who.label, item=spoken.item, end=spoken.end)
    assert "long ago is forgotten" in caplog.text


def test_nothing_is_heard_of_an_utterance_without_windows() -> None:
    """Nobody can tell whose it is."""
    models = SpeakerModels(CountingListener, "loudness", APART)
    assert models.hear(Spoken(1, 0, 4_000, ())).label is None
