"""A model elsewhere is asked, and one here while that is away; nobody waits, nothing mixes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import wait

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from streamser.emotion.model import (
    DAMAGED_STATE,
    EmotionModel,
    Place,
    Prediction,
    PredictorModel,
    Segment,
)
from streamser.emotion.remote.link import RemoteLink
from streamser.emotion.remote.model import RemoteFound, RemoteModel
from streamser.emotion.remote.serving import segments_of
from streamser.emotion.remote.wire import (
    MOST_ANSWERED,
    MOST_BYTES,
    MOST_CLIPS,
    WIRE,
    AskedClip,
    AskedClips,
    ModelCard,
    ReadClips,
    ask_about,
    from_bytes,
    to_bytes,
)
from streamser.emotion.rules import RulesModel
from streamser.errors import ConfigError, ModelError
from tests.emotion.remote.deployment import Always, Deployment, deployed
from tests.emotion.voices import speak

WITHIN_S = 0.5
CLIP = Segment(speak(120.0), "hello", Place("one", 1, 0), certainty=0.5)
NOWHERE = "http://127.0.0.1:9/"


class Clock:
    """Say a time that a test sets."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def there() -> Iterator[Deployment]:
    """Deploy a model that says the same of everything."""
    with deployed() as deployment:
        yield deployment


def connect(
    where: Deployment | str,
    local: EmotionModel | None = None,
    expected: str | None = None,
    clock: Clock | None = None,
) -> RemoteModel:
    """Ask a deployment, with the rules for when it is away."""
    url = where if isinstance(where, str) else where.url
    link = RemoteLink(url)
    return RemoteModel(link, local or RulesModel(), expected, WITHIN_S, now=clock or Clock())


def looked_for(model: RemoteModel) -> None:
    """Wait until it is known whether the other end is there again."""
    assert model._looking is not None
    wait([model._looking], timeout=10)


def readers(model: RemoteModel, clips: int = 1) -> list[str | None]:
    """Say who reads clips."""
    speaker = model.new_speaker()
    return [speaker.predict(found).model for found in model.extract([CLIP] * clips)]


def test_a_reading_from_elsewhere_is_the_one_that_was_made_there(there: Deployment) -> None:
    """Number by number, and it says who read."""
    model = connect(there)
    (found,) = model.extract([CLIP])
    (made,) = Always().predict([CLIP])
    assert model.new_speaker().predict(found) == replace(made, model="big")
    assert (model.name, model.modalities) == ("big", ("audio", "text"))
    assert model.standing == f"emotion.remote: big reads, at {there.url}"


def test_sound_and_words_arrive_as_they_were() -> None:
    """To the bit; of which session they are stays here. A batch is one question."""
    big = Always()
    with deployed(PredictorModel(big)) as there:
        model = connect(there)
        big.asked.clear()
        there.asked = 0
        empty = Segment(np.zeros(0, np.float32), None)
        assert len(model.extract([CLIP, empty, replace(CLIP, text=None)])) == 3
        assert there.asked == 1
    first, second, third = big.asked
    assert np.array_equal(first.samples, CLIP.samples)
    assert (first.text, first.certainty, first.place) == ("hello", 0.5, None)
    assert (len(second.samples), third.text) == (0, None)


def test_where_nobody_is_the_model_here_reads(caplog: pytest.LogCaptureFixture) -> None:
    """At the start too, with one line that says so; then nobody tries again at once."""
    model = connect(NOWHERE, expected="big")
    assert "is away (Connection refused): rules reads here until it answers" in model.standing
    assert model.name == "big"
    caplog.set_level(logging.WARNING)
    assert readers(model) == ["rules"]
    assert caplog.messages == []


def test_one_that_dies_is_done_without_and_found_again(
    there: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    """Each told in a line. What was asked as it died is read here; so is what comes until then."""
    clock = Clock()
    model = connect(there, clock=clock)
    assert readers(model) == ["big"]
    there.stop()
    assert readers(model, 3) == ["rules"] * 3
    assert readers(model) == ["rules"]
    there.start()
    assert readers(model) == ["rules"], "it is left in peace for a second"
    clock.at += 1.0
    assert readers(model) == ["rules"], "nobody waits while it is looked for"
    looked_for(model)
    assert readers(model) == ["big"]
    lost, back = caplog.messages
    assert lost.startswith(f"emotion.remote {there.url} is away (")
    assert lost.endswith("rules reads here until it answers")
    assert back == "emotion.remote: big reads again"


def test_pauses_grow_while_it_stays_away_and_are_short_again_after_an_answer(
    there: Deployment,
) -> None:
    """1, 2, 4 … 30 s: an address that is wrong costs nobody anything."""
    clock = Clock()
    model = connect(there, clock=clock)
    there.stop()
    waited = []
    readers(model)
    for _ in range(7):
        waited.append(model._again_at - clock.at)
        clock.at = model._again_at
        readers(model)
        looked_for(model)
        readers(model)
    assert waited == [1, 2, 4, 8, 16, 30, 30]


def test_one_that_is_too_late_is_not_waited_for(there: Deployment) -> None:
    """After the time that was set the batch is read here, and no later one waits at all."""
    model = connect(there)
    there.does = there.never
    assert readers(model, 2) == ["rules"] * 2
    asked = there.asked
    assert readers(model) == ["rules"]
    assert there.asked == asked


def test_one_that_answers_byte_by_byte_is_too_late(there: Deployment) -> None:
    """Each byte in time, and all of them never."""
    model = connect(there)
    dripping = b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 10_000

    def drip(body: bytes | None) -> tuple[int, bytes]:
        for place in range(len(dripping)):
            there.connections[-1].send(dripping[place : place + 1])
            if there.over.wait(WITHIN_S / 10):
                break
        return 200, b""

    there.does = drip
    assert readers(model) == ["rules"]


def test_a_connection_that_was_closed_as_it_rested_is_no_loss(there: Deployment) -> None:
    """Another is made, for the same question."""
    model = connect(there)
    there.stop()
    there.start()
    assert readers(model) == ["big"]


def test_a_batch_that_is_too_large_to_be_sent_is_read_here(there: Deployment) -> None:
    """The other end is not given up for it."""
    model = connect(there)
    asked = there.asked
    silence = Segment(np.zeros(0, np.float32), None)
    found = model.extract([silence] * (MOST_CLIPS + 1))
    assert all(each.reading is None for each in found)
    assert there.asked == asked
    assert readers(model) == ["big"]


def with_readings(change: Callable[[ReadClips], ReadClips]) -> Callable[[bytes], bytes]:
    """Spoil a good answer."""
    return lambda data: to_bytes(change(from_bytes(data, ReadClips)))


def with_reading(**changes: object) -> Callable[[bytes], bytes]:
    """Spoil the first reading of a good answer."""

    def change(told: ReadClips) -> ReadClips:
        spoilt: Prediction = replace(told.readings[0], **changes)
        return replace(told, readings=(spoilt, *told.readings[1:]))

    return with_readings(change)


SPOILT: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "not MessagePack": (lambda data: b"<html>", "cannot be read"),
    "nothing": (lambda data: b"", "cannot be read"),
    "cut short": (lambda data: data[:-3], "cannot be read"),
    "too few": (with_readings(lambda told: replace(told, readings=())), "0 readings of 1"),
    "too long": (lambda data: bytes(MOST_ANSWERED + 1), "more than"),
    "scores": (with_reading(scores={"happy": 1.0}), "scores must be those"),
    "no number": (with_reading(confidence=float("nan")), "confidence"),
    "category": (with_reading(category="bored"), "no category"),
    "version": (with_readings(lambda told: replace(told, wire=WIRE + 1)), "speaks version 2"),
    "other model": (with_readings(lambda told: replace(told, model="other")), "'other'"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_bad_answer_is_none(
    how: str, there: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch is read here, and the line says what was wrong with it."""
    spoil, said = SPOILT[how]
    model = connect(there)

    def spoilt(body: bytes | None) -> tuple[int, bytes]:
        status, data = there.well(body)
        return status, spoil(data)

    there.does = spoilt
    assert readers(model) == ["rules"]
    (line,) = caplog.messages
    assert said in line


@pytest.mark.parametrize("status", [404, 500, 503])
def test_one_that_is_not_ready_or_full_is_away(status: int, there: Deployment) -> None:
    """At the start as well: what is deployed now will be there soon."""
    there.does = lambda body: (status, b"busy\nnow")
    model = connect(there)
    assert f"it answers {status}: busy now" in model.standing
    assert readers(model) == ["rules"]


def test_another_model_than_was_asked_for_is_refused(there: Deployment) -> None:
    """With both names."""
    with pytest.raises(ModelError, match="has the model 'big', and 'paper' is asked for"):
        connect(there, expected="paper")


def test_what_is_no_model_or_of_another_version_is_refused(there: Deployment) -> None:
    """A web page would never become one; two versions would misread each other."""
    there.does = lambda body: (200, b"<html>")
    with pytest.raises(ModelError, match="is no model of streamser"):
        connect(there)
    there.does = lambda body: (200, to_bytes(ModelCard(WIRE + 1, "big", ("audio",))))
    with pytest.raises(ModelError, match="speaks version 2, and 1 is spoken here"):
        connect(there)


@pytest.mark.parametrize(
    "url", ["gpu:8000", "ftp://gpu/", "http://", "http://u:p@gpu/", "http://a b/", "http://[::1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    """In a line that shows one."""
    with pytest.raises(ConfigError, match="is no address of a model: write http://HOST:8000/"):
        RemoteLink(url)


def test_what_the_model_here_learns_is_of_what_it_heard(there: Deployment) -> None:
    """Readings from elsewhere teach it nothing: it goes on as one that heard its own part alone."""
    local = RulesModel()
    model = connect(there, local)
    speaker, alone = model.new_speaker(), local.new_speaker()
    clips = [Segment(speak(hertz), None) for hertz in (110.0, 130.0, 220.0)]
    for clip in clips:
        (elsewhere,) = model.extract([clip])
        speaker.adapt(elsewhere)
    assert speaker.snapshot() == b""
    for features in local.extract(clips):
        speaker.adapt(RemoteFound(None, features))
        alone.adapt(features)
    (asked,) = local.extract([CLIP])
    expected = replace(alone.predict(asked), model="rules")
    assert speaker.predict(RemoteFound(None, asked)) == expected
    again = model.new_speaker()
    again.restore(speaker.snapshot())
    assert again.predict(RemoteFound(None, asked)) == expected
    again.reset()
    assert again.snapshot() == b""


def test_what_another_model_learnt_is_refused() -> None:
    """Statistics of two models never mix; nothing learnt fits everybody."""
    speaker = connect(NOWHERE).new_speaker()
    speaker.restore(b"")
    with pytest.raises(ModelError, match="what compact learnt of a speaker is of no use to rules"):
        speaker.restore(msgspec.msgpack.encode(("compact", b"")))
    with pytest.raises(ModelError, match=DAMAGED_STATE):
        speaker.restore(b"\xc1")


def test_a_question_has_bounds() -> None:
    """What comes in is of strangers: what is no sound, or too much, is refused in a line."""
    for clips, wire, said in (
        ((AskedClip(b"abc"),), WIRE, "4 bytes each"),
        ((AskedClip(b""),) * (MOST_CLIPS + 1), WIRE, "at most"),
        ((), WIRE + 1, "is understood here"),
    ):
        with pytest.raises(ModelError, match=said):
            segments_of(to_bytes(AskedClips(wire, clips)))
    with pytest.raises(ModelError, match="AskedClips cannot be read"):
        segments_of(b"\x80")


def test_a_model_that_learns_its_speakers_is_not_deployed() -> None:
    """It would have to know who speaks; it is small, and stays where the sound is."""
    with (
        pytest.raises(ConfigError, match="rules learns what is usual of each speaker"),
        deployed(RulesModel()),
    ):
        pass


def test_one_whose_card_comes_but_no_answer_is_waited_for_once(there: Deployment) -> None:
    """It is looked for with what is read here meanwhile: a card alone says nothing of answers."""
    clock = Clock()
    model = connect(there, clock=clock)
    there.does = lambda body: there.well(body) if body is None else there.never(body)
    assert readers(model) == ["rules"]
    waits = 0

    def count(body: bytes | None, within_s: float) -> bytes:
        nonlocal waits
        waits += 1
        return b""

    model._link.wait_for = count  # type: ignore[method-assign]
    for _ in range(4):
        clock.at += 60.0
        assert readers(model) == ["rules"]
        looked_for(model)
        assert readers(model) == ["rules"]
    assert waits == 0


def test_one_that_is_now_well_and_now_not_is_asked_seldom(there: Deployment) -> None:
    """Pauses go on growing where it is lost again soon; after a minute of good answers they do not.

    So what people wait for it, and the lines about it, have an end.
    """
    clock = Clock()
    model = connect(there, clock=clock)
    clock.at += 100.0
    pauses = []
    for steady_s in (0.0, 1.0, 1.0, 70.0):
        clock.at += steady_s
        there.does = lambda body: (503, b"busy")
        assert readers(model) == ["rules"]
        pauses.append(model._again_at - clock.at)
        there.does = there.well
        clock.at = model._again_at
        readers(model)
        looked_for(model)
        assert readers(model) == ["big"]
    assert pauses == [1, 2, 4, 1]


def test_one_that_does_not_keep_pace_is_done_without(
    there: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    """Each answer in time, and people wait longer and longer: the model here is quicker."""
    clock = Clock()
    model = connect(there, clock=clock)

    def slow(body: bytes | None) -> tuple[int, bytes]:
        clock.at += 0.9 * WITHIN_S
        return there.well(body)

    there.does = slow

    def reader(waited_s: float) -> str | None:
        (found,) = model.extract([replace(CLIP, waited_s=waited_s)])
        return model.new_speaker().predict(found).model

    assert [reader(0.0), reader(0.4), reader(0.9)] == ["big", "big", "rules"]
    (line,) = caplog.messages
    assert "is away (it does not keep pace, utterances wait 0.9 s for it)" in line


def test_who_waits_for_others_is_no_reason_to_do_without_it(there: Deployment) -> None:
    """What else is done on this thread is not its fault, and nobody's who has just begun."""
    clock = Clock()
    model = connect(there, clock=clock)
    for _ in range(3):
        clock.at += 5.0
        (found,) = model.extract([replace(CLIP, waited_s=5.0)])
        assert found.reading is not None


def test_two_of_one_name_are_told_apart(there: Deployment) -> None:
    """The same checkpoint may be here, too: a reading still says where it was made."""
    model = connect(there, PredictorModel(Always()))
    assert readers(model) == ["big"]
    there.stop()
    assert readers(model) == ["big (here)"]


def test_models_that_are_loaded_again_do_without_what_has_changed_there(there: Deployment) -> None:
    """Streams wait for them: at the start another model is refused, and now it is away."""
    link = RemoteLink(there.url)
    model = RemoteModel(link, RulesModel(), "paper", WITHIN_S, before=True, now=Clock())
    assert "has the model 'big', and 'paper' is asked for" in model.standing
    assert readers(model) == ["rules"]


def test_a_name_that_cannot_be_printed_is_none(there: Deployment) -> None:
    """It would stand in events, lines and on terminals."""
    there.does = lambda body: (200, to_bytes(ModelCard(WIRE, "big\x1b[2J", ("audio",))))
    with pytest.raises(ModelError, match="of no name that can be printed"):
        connect(there)


def test_a_proxy_that_takes_less_costs_only_what_is_too_large(
    there: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    """Read here, with one line; the other end is not given up, and not asked that much again."""
    clock = Clock()
    model = connect(there, clock=clock)
    most = len(to_bytes(ask_about([CLIP])))
    there.does = lambda body: (413, b"") if body and len(body) > most else there.well(body)
    assert readers(model, 2) == ["rules"] * 2
    assert readers(model) == ["big"]
    asked = there.asked
    assert readers(model, 3) == ["rules"] * 3
    assert there.asked == asked
    model._most_bytes = MOST_BYTES
    model._lose("a loss")
    clock.at += 60.0
    for clips in (3, 1):
        assert readers(model, clips) == ["rules"] * clips
        looked_for(model)
        readers(model, clips)
    assert readers(model) == ["big"], "a probe that was too large tells nothing against it"
    (line,) = caplog.messages
    assert "it answers 413: Request Entity Too Large; what is as large is read by rules" in line
