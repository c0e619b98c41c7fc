from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from streamser.audio.clip import Clip, Samples, to_samples
from streamser.emotion.model import Place, Segment
from streamser.emotion.tempo import measure_tempo
from streamser.errors import ModelError
from streamser.pipeline.engine import Engine
from streamser.pipeline.requests import EmotionRequest, Fault, Observed, WordsRequest
from streamser.speech.overlap import Segmentation, load_segmentation
from streamser.speech.speakers import Voice
from streamser.speech.transcriber import Transcript
from streamser.training.sounds import read_clip
from tests.pipeline.doubles import ForgetfulTranscriber, LoudnessModel, SpellingTranscriber, speech

DEMO = Path(__file__).parents[2] / "streamser" / "assets" / "demo.flac"


def request(
    number: int, level: float = 0.3, text: str | None = None, certainty: float | None = None
) -> EmotionRequest:
    """Ask for the emotion of one second of sound."""
    clip = Clip("a", number, 0, speech((1.0, level), seed=number), final=True)
    return EmotionRequest(number, clip, 8000, droppable=False, text=text, certainty=certainty)


def words_request(number: int) -> WordsRequest:
    """Ask for the words of the same."""
    return WordsRequest(number, request(number).clip, droppable=False)


class FragileModel(LoudnessModel):
    """Fail on any batch that holds silence, or on batches beyond a size."""

    def __init__(self, most: int = 99) -> None:
        self.most = most
        self.sizes: list[int] = []

    def extract(self, batch: Sequence[Segment]) -> list[float]:
        self.sizes.append(len(batch))
        if len(batch) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        if any(not item.samples.any() for item in batch):
            raise ModelError("the model cannot bear silence.", code="too_silent")
        return super().extract(batch)


class Parrot(SpellingTranscriber):
    """Repeat itself on every clip."""

    def transcribe(self, clips: Sequence[Clip]) -> list[Transcript]:
        return [Transcript("thank you " * 30) for _ in clips]


class LengthEmbedder:
    """Describe a voice by how long the sound is; fail on silence."""

    name = "length"

    def __init__(self) -> None:
        self.lengths: list[list[int]] = []

    def embed(self, batch: Sequence[Samples]) -> list[Voice]:
        self.lengths.append([len(sound) for sound in batch])
        if any(not sound.any() for sound in batch):
            raise RuntimeError("nobody speaks")
        return [np.array([len(sound), 1.0], np.float32) for sound in batch]


class Listening(LoudnessModel):
    """Keep what it was given with the sound, and the sessions that it was told to forget."""

    def __init__(self) -> None:
        self.texts: list[tuple[str | None, float | None]] = []
        self.waits: list[float] = []
        self.places: list[Place | None] = []
        self.forgotten: list[str] = []

    def extract(self, batch: Sequence[Segment]) -> list[float]:
        self.texts += [(item.text, item.certainty) for item in batch]
        self.waits += [item.waited_s for item in batch]
        self.places += [item.place for item in batch]
        return super().extract(batch)

    def forget(self, session_id: str) -> None:
        self.forgotten.append(session_id)


def test_one_bad_item_of_a_batch_fails_alone() -> None:
    """Its neighbours have the results that they have by themselves."""
    engine = Engine(None, FragileModel())
    good, bad, other = engine.run([request(1), request(2, level=0.0), request(3)])
    assert bad == Fault("too_silent", "the model cannot bear silence.")
    alone = Engine(None, FragileModel()).run([request(3)])[0]
    assert isinstance(good, Observed)
    assert isinstance(other, Observed)
    assert isinstance(alone, Observed)
    assert other.features == alone.features


def test_a_batch_that_does_not_fit_into_memory_is_halved() -> None:
    """Until it fits, and no further."""
    model = FragileModel(most=2)
    outcomes = Engine(None, model).run([request(n) for n in range(8)])
    assert all(isinstance(outcome, Observed) for outcome in outcomes)
    assert model.sizes == [8, 4, 2, 2, 4, 2, 2]


def test_a_request_that_does_not_fit_into_memory_alone_says_so() -> None:
    """There is nothing left to halve."""
    (outcome,) = Engine(None, FragileModel(most=0)).run([request(1)])
    assert isinstance(outcome, Fault)
    assert outcome.code == "out_of_memory"


def test_a_fault_nobody_foresaw_names_its_kind() -> None:
    """Programs get a code, people a line."""

    class Broken(LoudnessModel):
        def extract(self, batch: Sequence[Segment]) -> list[float]:
            raise ZeroDivisionError("division by zero")

    (outcome,) = Engine(None, Broken()).run([request(1)])
    assert outcome == Fault("internal_error", "ZeroDivisionError: division by zero")


def test_what_is_no_transcript_costs_its_own_utterance() -> None:
    """It is told by name."""

    class Odd(SpellingTranscriber):
        def transcribe(self, clips: Sequence[Clip]) -> list[Transcript]:
            heard = super().transcribe(clips)
            odd: Any = None
            return [
                odd if clip.utterance == 1 else each
                for each, clip in zip(heard, clips, strict=True)
            ]

    engine = Engine(Odd(), LoudnessModel())
    odd, fine = engine.run([words_request(1), words_request(2)])
    assert isinstance(odd, Fault)
    assert "not a Transcript" in odd.message
    assert isinstance(fine, Transcript)


def test_requests_for_a_model_that_is_not_there_fail() -> None:
    """Nobody waits for what cannot come."""
    (words,) = Engine(None, LoudnessModel()).run([words_request(1)])
    (emotion,) = Engine(SpellingTranscriber(), None).run([request(1)])
    assert isinstance(words, Fault)
    assert isinstance(emotion, Fault)
    with pytest.raises(ModelError, match="no emotion model"):
        Engine(SpellingTranscriber(), None).new_speaker()


def test_words_reach_the_emotion_model_and_the_window_is_the_end_of_the_clip() -> None:
    """The model reads at most the window, is told where it lies, and gets all the words.

    And how long somebody has waited for that.
    """
    model = Listening()
    asked = replace(request(1, text="word0 word1", certainty=0.7), waited_s=2.5)
    (outcome,) = Engine(None, model).run([asked])
    assert model.texts == [("word0 word1", 0.7)]
    assert model.waits == [2.5]
    assert model.places == [Place("a", 1, 8192)]
    assert isinstance(outcome, Observed)
    expected = np.sqrt(np.mean(request(1).clip.samples[8192:] ** 2))
    assert outcome.features == float(expected)


@pytest.mark.parametrize("droppable", [True, False])
def test_sound_grows_until_its_utterance_is_over(droppable: bool) -> None:
    """The voice of a final may be left out: it is whole, and the final where no words come."""
    model = Listening()
    whole = replace(request(1), droppable=droppable)
    part = replace(whole, clip=replace(whole.clip, final=False))
    Engine(None, model).run([part, whole])
    assert [place is not None and place.growing for place in model.places] == [True, False]


def test_text_that_must_not_be_believed_says_why() -> None:
    """A recogniser that babbles is found out before anybody reads it."""
    (outcome,) = Engine(Parrot(), None).run([words_request(1)])
    assert isinstance(outcome, Transcript)
    assert outcome.distrust == "repetitive"


def test_warming_up_runs_every_model_once_and_leaves_nothing_behind() -> None:
    """A model that cannot run at all says so at the start."""
    model, recogniser = Listening(), ForgetfulTranscriber()
    Engine(recogniser, model).warm()
    assert model.texts == [(None, None)]
    assert recogniser.forgotten == model.forgotten == ["warm-up"]

    class Broken(LoudnessModel):
        def extract(self, batch: Sequence[Segment]) -> list[float]:
            raise ModelError("it does not run here.")

    with pytest.raises(ModelError, match="does not run"):
        Engine(None, Broken()).warm()


def test_requests_for_words_and_for_emotion_share_a_batch() -> None:
    """Each gets what it asked for, in the order of asking."""
    engine = Engine(SpellingTranscriber(), LoudnessModel())
    outcomes = engine.run([request(1), words_request(1), request(3), words_request(2)])
    assert [type(each) for each in outcomes] == [Observed, Transcript, Observed, Transcript]


def test_the_time_in_each_model_is_summed_up() -> None:
    """Also where a model fails: it has been busy all the same."""
    engine = Engine(SpellingTranscriber(), FragileModel())
    engine.run([request(1), words_request(1)])
    once = engine.spent
    assert once.judging_s > 0
    assert once.transcribing_s > 0
    engine.run([request(2, level=0.0)])
    assert engine.spent.judging_s > once.judging_s
    assert (engine.spent - once).transcribing_s == 0


def test_only_requests_that_ask_for_it_have_their_voices_described() -> None:
    """All of the sound, not the window alone; sessions with and without share a batch."""
    embedder = LengthEmbedder()
    engine = Engine(None, LoudnessModel(), embedder)
    outcomes = engine.run([request(1), replace(request(2), embed=True), request(3)])
    voices = [each.voices for each in outcomes if isinstance(each, Observed)]
    assert [voice is not None for voice in voices] == [False, True, False]
    assert voices[1] is not None
    (window,) = voices[1]
    assert (window.start, window.end) == (0, 16_000)
    assert list(window.voice) == [16_000.0, 1.0]
    assert embedder.lengths == [[16_000]]
    assert engine.spent.embedding_s > 0
    engine.run([request(1)])
    assert embedder.lengths == [[16_000]]


def test_two_who_speak_at_once_are_heard_where_voices_are_asked_for() -> None:
    """What hears them is loaded when it is first needed; where it cannot be, it is done without."""
    loaded = []

    def load() -> Segmentation:
        loaded.append(1)
        return load_segmentation()

    def fail() -> Segmentation:
        raise ModelError("the weights are damaged")

    engine = Engine(None, LoudnessModel(), LengthEmbedder(), load)
    engine.run([request(1)])
    assert loaded == []
    sound = two_at_once()
    asked = replace(request(2), embed=True)
    asked = replace(asked, clip=replace(asked.clip, samples=sound))
    (alone, both) = engine.run([replace(request(3), embed=True), asked])
    assert isinstance(alone, Observed)
    assert isinstance(both, Observed)
    assert (alone.overlap, loaded) == (0.0, [1])
    assert 0.3 < both.overlap < 1.0
    (without,) = Engine(None, LoudnessModel(), LengthEmbedder(), fail).run([asked])
    assert isinstance(without, Observed)
    assert (without.overlap, len(without.voices or ())) == (0.0, 4)


def test_how_fast_it_is_spoken_is_measured_for_who_asks() -> None:
    """Of the whole clip, however little of it emotion is read from."""
    asked = replace(request(1), window=8000, tempo=True)
    asked = replace(asked, clip=replace(asked.clip, samples=read_clip(DEMO)[: to_samples(4_300)]))
    told, other = Engine(None, LoudnessModel()).run([asked, replace(asked, id=2, tempo=False)])
    assert isinstance(told, Observed)
    assert isinstance(other, Observed)
    assert told.tempo is not None
    assert told.tempo == measure_tempo(asked.clip.samples)
    assert other.tempo is None


def two_at_once() -> Samples:
    """Let two of the bundled conversation speak at the same time."""
    sound = read_clip(DEMO)
    one, two = (
        sound[to_samples(500) : to_samples(4_300)],
        sound[to_samples(5_430) : to_samples(8_400)],
    )
    both = one.copy()
    both[: len(two)] += two
    return both


def test_without_an_embedder_no_voice_is_described() -> None:
    """Whoever asks."""
    (outcome,) = Engine(None, LoudnessModel()).run([replace(request(1), embed=True)])
    assert isinstance(outcome, Observed)
    assert outcome.voices is None


def test_an_embedder_that_fails_makes_no_utterance_fail(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is said to have spoken, and one line is logged for the batch."""
    engine = Engine(None, LoudnessModel(), LengthEmbedder())
    requests = [
        replace(request(n, level=level), embed=True) for n, level in enumerate((0.3, 0.0, 0.0))
    ]
    outcomes = engine.run(requests)
    voices = [isinstance(each, Observed) and bool(each.voices) for each in outcomes]
    assert voices == [True, False, False]
    assert all(isinstance(each, Observed) for each in outcomes)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_what_fails_in_the_models_is_not_described_before() -> None:
    """A batch that is done again, item by item, asks the embedder once for each."""
    embedder = LengthEmbedder()
    engine = Engine(None, FragileModel(), embedder)
    engine.run([replace(request(n, level=level), embed=True) for n, level in ((1, 0.3), (2, 0.0))])
    assert embedder.lengths == [[16_000]]


def test_an_embedder_that_cannot_run_at_all_says_so_at_the_start() -> None:
    """Unlike one that fails on an utterance."""

    class Broken(LengthEmbedder):
        def embed(self, batch: Sequence[Samples]) -> list[Voice]:
            raise OSError("libvoices.so: cannot open")

    with pytest.raises(ModelError, match=r"length cannot describe a voice .*libvoices"):
        Engine(None, LoudnessModel(), Broken()).warm()
    embedder = LengthEmbedder()
    Engine(None, LoudnessModel(), embedder).warm()
    assert embedder.lengths == [[16_000]]


def test_a_recogniser_that_cannot_run_at_all_is_named_in_one_line() -> None:
    """At the start, whatever it raises: it may be of another package."""

    class Broken(SpellingTranscriber):
        def transcribe(self, clips: Sequence[Clip]) -> list[Transcript]:
            raise ZeroDivisionError("division by zero\nsecond line")

    with pytest.raises(ModelError) as caught:
        Engine(Broken(), None).warm()
    told = str(caught.value)
    assert told.startswith(f"{Broken.name} cannot run")
    assert "(ZeroDivisionError: division by zero)" in told
