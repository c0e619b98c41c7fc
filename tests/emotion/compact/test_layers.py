"""The lower layers at work: the same bits however often an utterance was asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.compact.blocks import BLOCK, whisper_frames
from streamser.emotion.compact.layers import GRAPH, LAYERS, VALUES, WIDTH, LayerEar, load_layers
from streamser.emotion.model import Place
from streamser.graphs import open_graph
from tests.emotion.compact.bundles import tiny_bundle
from tests.emotion.voices import in_noise, speak

SOUND: Samples = np.concatenate(
    [in_noise(speak(hertz), 35, seed=hertz) for hertz in (95, 150, 210)]
)

LOUD: Samples = np.random.default_rng(0).normal(scale=0.1, size=20 * SAMPLE_RATE).astype(np.float32)


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
    levels = whisper_frames(SOUND[: 2 * SAMPLE_RATE])
    found = load_layers(where).heard(levels).reshape(LAYERS, 2, WIDTH)
    assert np.isfinite(found).all()
    assert (found[:, 1] > 0).any()


def test_growing_clips_have_the_bits_that_they_have_alone(graph: Counting) -> None:
    """Clips grow, start elsewhere, and belong to other utterances."""
    ear, alone = LayerEar(graph), LayerEar(graph.graph)
    asked = [(1, 0, end) for end in range(8000, len(SOUND), 12_000)]
    asked += [(1, 0, 60_000), (1, 4096, 90_000), (2, 4096, 90_000), (2, 4096, len(SOUND))]
    for utterance, start, end in asked:
        clip = np.roll(SOUND, 777 * utterance)[start:end]
        found = ear.hear(clip, Place("a", utterance, start))
        np.testing.assert_array_equal(found, alone.hear(clip, None))


def test_a_clip_is_encoded_from_its_last_full_block_on(graph: Counting) -> None:
    """No question costs more than two blocks, however long the utterance."""
    ear = LayerEar(graph)
    for end in range(SAMPLE_RATE, len(LOUD), SAMPLE_RATE):
        graph.frames.clear()
        ear.hear(LOUD[:end], Place("a", 1, 0))
        assert sum(graph.frames) <= 2 * BLOCK


def test_what_grows_pays_for_new_sound_once(graph: Counting) -> None:
    """The open block waits until it is full, or the utterance is over; the first does not."""
    ear, alone = LayerEar(graph), LayerEar(graph.graph)
    for end in range(SAMPLE_RATE // 2, len(LOUD), SAMPLE_RATE // 2):
        found = ear.hear(LOUD[:end], Place("a", 1, 0, growing=True))
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(
            found, alone.hear(LOUD[:end], Place(f"at {end}", 1, 0, growing=True))
        )
    seconds = len(LOUD) / SAMPLE_RATE
    assert sum(graph.frames) <= 100 * seconds + 2 * BLOCK
    final = ear.hear(LOUD, Place("a", 1, 0))
    np.testing.assert_array_equal(final, alone.hear(LOUD, None))


def test_what_is_forgotten_or_was_heard_long_ago_is_encoded_anew(graph: Counting) -> None:
    """Memory is bounded, however many sessions there are."""
    ear = LayerEar(graph, most=4)
    loud = LOUD[: 7 * SAMPLE_RATE]
    for session in "abc":
        ear.hear(loud, Place(session, 1, 0))
    encoded = []
    for session in "ca":
        graph.frames.clear()
        ear.hear(loud, Place(session, 1, 0))
        encoded.append(sum(graph.frames))
    assert encoded[0] < BLOCK < encoded[1]
    ear.forget("c")
    graph.frames.clear()
    ear.hear(loud, Place("c", 1, 0))
    assert sum(graph.frames) > 2 * BLOCK


def test_silence_says_nothing(graph: Counting) -> None:
    """And costs nothing."""
    found = LayerEar(graph).hear(np.zeros(SAMPLE_RATE, np.float32), None)
    assert found.shape == (VALUES,)
    assert np.isnan(found).all()
    assert not graph.frames
