"""What the frozen networks are shown, and the same bits however often and in what pieces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.compact.encoders import (
    BANDS,
    BLOCK,
    FIRST,
    GRAPH,
    HOP,
    LAYER_WIDTH,
    LAYERS,
    LOWEST,
    MOST_TOKENS,
    TOKENIZER,
    VALUES,
    Frames,
    LayerEncoder,
    cut_beginning,
    cut_blocks,
    frame_count,
    load_layers,
    load_words,
    whisper_frames,
)
from streamser.emotion.model import Place
from streamser.errors import ModelError
from streamser.graphs import open_graph
from tests.emotion.compact.bundles import TEXTS, tiny_bundle
from tests.emotion.voices import in_noise, speak

RNG = np.random.default_rng(0)

PAUSED: Samples = np.concatenate(
    [in_noise(speak(hertz), 35, seed=hertz) for hertz in (95, 150, 210)]
)

LOUD: Samples = np.random.default_rng(0).normal(scale=0.1, size=20 * SAMPLE_RATE).astype(np.float32)

SOUND = in_noise(speak(140), 35)


def speech(frames: int, level: float = 0.0) -> Frames:
    """Return noise of a level, in decades."""
    return (RNG.normal(scale=0.3, size=(frames, BANDS)) + level).astype(np.float32)


def quiet(frames: int) -> Frames:
    """Return what lies six decades below speech."""
    return speech(frames, -6.0)


def test_silence_around_speech_is_cut_away() -> None:
    """Whatever its length."""
    (block,) = cut_blocks(np.concatenate([quiet(70), speech(100), quiet(90)]))
    assert len(block.frames) == 100
    assert len(block.heard) == 50
    assert block.heard.all()
    assert block.progress.end == 170


def test_a_pause_stays_but_does_not_count() -> None:
    """It is heard, for rhythm is part of a voice."""
    (block,) = cut_blocks(np.concatenate([speech(40), quiet(40), speech(40)]))
    assert len(block.frames) == 120
    assert block.heard.tolist() == [True] * 20 + [False] * 20 + [True] * 20


def test_gain_changes_nothing() -> None:
    """Levels are told from the loudest."""
    levels = speech(140)
    (block,), (louder,) = cut_blocks(levels), cut_blocks(levels + np.float32(2.0))
    np.testing.assert_allclose(block.frames, louder.frames, atol=1e-5)


def test_a_full_block_is_not_changed_by_what_follows() -> None:
    """Not even by what is far louder."""
    begun = speech(BLOCK + 20)
    first = cut_blocks(begun)[0]
    for more in (speech(50), speech(400, 3.0), quiet(100)):
        again = cut_blocks(np.concatenate([begun, more]))[0]
        assert again.full
        np.testing.assert_array_equal(first.frames, again.frames)
        np.testing.assert_array_equal(first.heard, again.heard)


def test_a_rest_of_a_few_frames_is_left_out_and_of_silence_nothing_is_left() -> None:
    """Unless it is all there is."""
    assert len(cut_blocks(speech(BLOCK + 7))) == 1
    assert len(cut_blocks(speech(BLOCK + 8))) == 2
    assert len(cut_blocks(speech(3))) == 1
    assert cut_blocks(np.full((50, BANDS), -10.0, np.float32)) == []
    assert cut_blocks(np.zeros((0, BANDS), np.float32)) == []


def test_values_are_scaled_as_whisper_wants_them() -> None:
    """The loudest band is 1.375, eight decades below it are two less."""
    (block,) = cut_blocks(np.concatenate([speech(50), speech(50, -3.5), speech(50)]))
    assert block.frames.max() == np.float32(1.375)
    levels = speech(50)
    levels[:, 3] = -10.0
    (block,) = cut_blocks(levels)
    assert block.frames.min() == np.float32(-0.625)


def test_what_follows_is_cut_as_if_all_were_there() -> None:
    """Frames of full blocks need not be kept: how far and how loud is enough."""
    parts = (quiet(30), speech(BLOCK), speech(BLOCK + 50, 1.0), quiet(60), speech(BLOCK))
    levels = np.concatenate(parts)
    whole = cut_blocks(levels)
    assert [block.full for block in whole] == [True, True, True, False]
    for number in range(3):
        progress = whole[number].progress
        rest = cut_blocks(levels[progress.end :], progress)
        assert len(rest) == 3 - number
        for one, other in zip(whole[number + 1 :], rest, strict=True):
            np.testing.assert_array_equal(one.frames, other.frames)
            np.testing.assert_array_equal(one.heard, other.heard)
            assert one.progress == other.progress
    assert cut_blocks(quiet(50), whole[-1].progress) == []


def test_the_beginning_is_the_first_audible_second() -> None:
    """It stays as it is while a softer or a little louder sound follows."""
    begun = np.concatenate([quiet(20), speech(FIRST)])
    first = cut_beginning(begun)
    assert first is not None
    assert len(first.frames) == FIRST
    assert first.progress.end == 20 + FIRST
    for more in (speech(100), quiet(100), speech(400, 1.0)):
        again = cut_beginning(np.concatenate([begun, more]))
        assert again is not None
        np.testing.assert_array_equal(first.frames, again.frames)
    short = cut_beginning(begun[:60])
    assert short is not None
    assert len(short.frames) == 40
    assert cut_beginning(np.full((50, BANDS), -10.0, np.float32)) is None


class Counting:
    """Run a graph, and count the frames that it is shown."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.frames: list[int] = []

    def run(self, outputs: list[str], given: dict[str, Any]) -> Any:
        """Do what onnxruntime does."""
        self.frames.append(len(given["frames"]))
        return self.graph.run(outputs, given)


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small bundle's folder."""
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def graph(where: Path) -> Counting:
    """Return its layers."""
    return Counting(open_graph(where / GRAPH, inputs=("frames",)))


def test_an_utterance_has_a_mean_and_a_deviation_for_each_layer(where: Path) -> None:
    """By the definition of both, over the steps with speech."""
    levels = whisper_frames(PAUSED[: 2 * SAMPLE_RATE])
    found = load_layers(where).encode_frames(levels).reshape(LAYERS, 2, LAYER_WIDTH)
    assert np.isfinite(found).all()
    assert (found[:, 1] > 0).any()


def test_growing_clips_have_the_bits_that_they_have_alone(graph: Counting) -> None:
    """Clips grow, start elsewhere, and belong to other utterances."""
    encoder, alone = LayerEncoder(graph), LayerEncoder(graph.graph)
    asked = [(1, 0, end) for end in range(8000, len(PAUSED), 12_000)]
    asked += [(1, 0, 60_000), (1, 4096, 90_000), (2, 4096, 90_000), (2, 4096, len(PAUSED))]
    for utterance, start, end in asked:
        clip = np.roll(PAUSED, 777 * utterance)[start:end]
        found = encoder.encode(clip, Place("a", utterance, start))
        np.testing.assert_array_equal(found, alone.encode(clip, None))


def test_a_clip_is_encoded_from_its_last_full_block_on(graph: Counting) -> None:
    """No question costs more than two blocks, however long the utterance."""
    encoder = LayerEncoder(graph)
    for end in range(SAMPLE_RATE, len(LOUD), SAMPLE_RATE):
        graph.frames.clear()
        encoder.encode(LOUD[:end], Place("a", 1, 0))
        assert sum(graph.frames) <= 2 * BLOCK


def test_what_grows_pays_for_new_sound_once(graph: Counting) -> None:
    """The open block waits until it is full, or the utterance is over; the first does not."""
    encoder, alone = LayerEncoder(graph), LayerEncoder(graph.graph)
    for end in range(SAMPLE_RATE // 2, len(LOUD), SAMPLE_RATE // 2):
        found = encoder.encode(LOUD[:end], Place("a", 1, 0, growing=True))
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(
            found, alone.encode(LOUD[:end], Place(f"at {end}", 1, 0, growing=True))
        )
    seconds = len(LOUD) / SAMPLE_RATE
    assert sum(graph.frames) <= 100 * seconds + 2 * BLOCK
    final = encoder.encode(LOUD, Place("a", 1, 0))
    np.testing.assert_array_equal(final, alone.encode(LOUD, None))


def test_what_is_forgotten_or_was_heard_long_ago_is_encoded_anew(graph: Counting) -> None:
    """Memory is bounded, however many sessions there are."""
    encoder = LayerEncoder(graph, most=4)
    loud = LOUD[: 7 * SAMPLE_RATE]
    for session in "abc":
        encoder.encode(loud, Place(session, 1, 0))
    encoded = []
    for session in "ca":
        graph.frames.clear()
        encoder.encode(loud, Place(session, 1, 0))
        encoded.append(sum(graph.frames))
    assert encoded[0] < BLOCK < encoded[1]
    encoder.forget("c")
    graph.frames.clear()
    encoder.encode(loud, Place("c", 1, 0))
    assert sum(graph.frames) > 2 * BLOCK


def test_silence_says_nothing(graph: Counting) -> None:
    """And costs nothing."""
    found = LayerEncoder(graph).encode(np.zeros(SAMPLE_RATE, np.float32), None)
    assert found.shape == (VALUES,)
    assert np.isnan(found).all()
    assert not graph.frames


def test_frames_are_those_that_whisper_was_trained_on() -> None:
    """Compared with the extractor of faster-whisper, which scales them: (x + 4) / 4."""
    extractor = pytest.importorskip("faster_whisper.feature_extractor").FeatureExtractor()
    wanted = np.asarray(extractor(SOUND)).T * 4 - 4
    found = whisper_frames(SOUND)
    inside = slice(2, len(found) - 3)
    # There quiet bands are raised to 8 decades below the loudest.
    floor = wanted[inside].min()
    np.testing.assert_allclose(np.maximum(found[inside], floor), wanted[inside], atol=1e-4)


@pytest.mark.parametrize("first", [0, 1, 63, 64, 100])
def test_later_frames_can_be_had_alone(first: int) -> None:
    """To the last bit."""
    np.testing.assert_array_equal(whisper_frames(SOUND)[first:], whisper_frames(SOUND, first))


@pytest.mark.parametrize("samples", [0, 1, HOP - 1, HOP, 1000])
def test_short_clips_and_silence_have_frames(samples: int) -> None:
    """One for each hop, and one more."""
    found = whisper_frames(np.zeros(samples, np.float32))
    assert found.shape == (frame_count(samples), BANDS)
    assert (found == LOWEST).all()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small bundle's folder."""
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


def test_a_text_alone_is_encoded_as_among_others(bundle: Path) -> None:
    """Neighbours and their lengths do not matter."""
    words = load_words(bundle)
    together = words.encode([*TEXTS, "happy"])
    for text, vectors in zip([*TEXTS, "happy"], together, strict=True):
        np.testing.assert_allclose(words.encode([text])[0], vectors, rtol=1e-5, atol=1e-6)


def test_long_and_odd_texts_are_encoded_too(bundle: Path) -> None:
    """Cut to 64 pieces; half of a surrogate pair is no reason to fail."""
    words = load_words(bundle)
    long, odd = words.encode(["so happy " * 200, "\ud83d sad ñ"])
    assert len(long) == MOST_TOKENS
    assert np.isfinite(odd).all()
    assert words.encode([]) == []


def test_a_damaged_tokenizer_is_told_in_one_line(tmp_path: Path) -> None:
    """With what to do."""
    where = tiny_bundle(tmp_path / "tiny")
    (where / TOKENIZER).write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be used.*install streamser"):
        load_words(where)
