"""The embedder that comes with the program hears what CAM++ hears, and refuses what is no voice."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.errors import AudioError, ModelError
from streamser.speech.campplus import (
    DIRECTORY,
    GRAPH,
    CampPlus,
    kaldi_frames,
    load_campplus,
    window_means,
)
from streamser.speech.diarisation import voice_windows
from streamser.speech.speakers import GuardedEmbedder, Voice, load_embedder
from tools.speakers.reference import sounds

DEMO = DIRECTORY.parent / "demo.flac"
REFERENCE = Path(__file__).with_name("campplus_reference.npz")
"""Of speakerlab's network and Kaldi's filter bank: `python -m tools.speakers reference voice`."""


@pytest.fixture(scope="module")
def embedder() -> CampPlus:
    """Load it once."""
    return load_campplus()


def noise(seconds: float, level: float = 0.05) -> Samples:
    """Make noise, the same at each call."""
    rng = np.random.default_rng(7)
    return rng.normal(scale=level, size=round(seconds * SAMPLE_RATE)).astype(np.float32)


def test_the_front_end_is_kaldis() -> None:
    """To rounding, as its own library computes it in float32."""
    frames = np.load(REFERENCE)["frames"]
    np.testing.assert_allclose(kaldi_frames(sounds()[2]), frames, atol=1e-3)


def test_voices_are_those_of_the_published_network(embedder: CampPlus) -> None:
    """Within what rounded weights cost: less than voices of one speaker differ by far."""
    wanted = np.load(REFERENCE)["voices"]
    for found, voice in zip(embedder.embed(sounds()), wanted, strict=True):
        assert found @ voice > 0.985


def test_voices_of_the_conversation_are_told_apart(embedder: CampPlus) -> None:
    """Two turns of one are more alike than the likeliest turns of two."""
    spoken, _ = soundfile.read(DEMO, dtype="float32")
    script = msgspec.json.decode(DEMO.with_suffix(".json").read_bytes())["utterances"]
    turns = [spoken[line["start_ms"] * 16 : line["end_ms"] * 16] for line in script[:9]]
    voices = np.stack(embedder.embed(turns))
    who = np.array([line["speaker"] for line in script[:9]])
    alike, same = voices @ voices.T, who[:, None] == who[None]
    assert len(set(who)) == 3
    assert alike[same].min() > alike[~same].max()


@pytest.mark.parametrize("seconds", [0.1, 0.29, 1.0, 2.005, 30.0])
def test_a_sound_of_any_length_has_a_voice(embedder: CampPlus, seconds: float) -> None:
    """A unit vector, whatever it is worth."""
    (voice,) = embedder.embed([noise(seconds)])
    assert voice.shape == (192,)
    assert voice.dtype == np.float32
    assert np.linalg.norm(voice) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("sound", [np.sign(noise(1.0)), noise(1.0, 1e-5)], ids=["clipped", "faint"])
def test_a_loud_or_faint_sound_has_a_voice(embedder: CampPlus, sound: Samples) -> None:
    """As loud as can be, or as faint as sixteen bits can hold."""
    (voice,) = embedder.embed([sound])
    assert np.isfinite(voice).all()


@pytest.mark.parametrize(
    ("sound", "line"),
    [
        (noise(0.0), "0 ms say nothing of a voice: 100 ms are the least"),
        (noise(0.05), "50 ms say nothing of a voice"),
        (np.zeros(16_000, np.float32), "silence says nothing of a voice"),
        (np.full(16_000, np.nan, np.float32), "samples that are no numbers"),
        (np.append(noise(1.0), np.float32(np.inf)), "samples that are no numbers"),
    ],
    ids=["empty", "short", "silent", "nan", "inf"],
)
def test_what_holds_no_voice_is_refused(embedder: CampPlus, sound: Samples, line: str) -> None:
    """It costs itself a label, and not its neighbours."""
    with pytest.raises(AudioError, match=line):
        embedder.embed([sound])
    found = GuardedEmbedder(embedder).embed([noise(0.5), sound])
    assert [voice is None for voice in found] == [False, True]


def test_a_voice_does_not_depend_on_its_neighbours_or_its_loudness(embedder: CampPlus) -> None:
    """The same bits in any company; nearly the same vector from another gain."""
    first, other = sounds()[0], sounds()[2]
    (alone,), company = embedder.embed([first]), embedder.embed([other, first])
    np.testing.assert_array_equal(alone, company[1])
    (softer,) = embedder.embed([first * np.float32(0.1)])
    assert cosine(alone, softer) > 0.99


def test_windows_of_a_sound_are_described_in_one_pass(embedder: CampPlus) -> None:
    """Nearly as each would be alone: far nearer to that than to another voice."""
    spoken, _ = soundfile.read(DEMO, dtype="float32")
    windows = voice_windows(0, 10 * SAMPLE_RATE)
    found = np.stack(embedder.embed_windows(spoken, windows))
    alone = np.stack(embedder.embed([spoken[first:last] for first, last in windows]))
    assert len(windows) == 12
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert np.mean(np.sum(found * alone, axis=1)) > 0.9
    # Carl speaks to 4.2 s, then Ben.
    carl, ben = found[:4], found[7:10]
    assert (carl @ carl.T).min() > (carl @ ben.T).max()


def test_one_window_is_described_as_a_sound_is(embedder: CampPlus) -> None:
    """The same bits; and without any, nothing is said."""
    sound = sounds()[1]
    (found,) = embedder.embed_windows(sound, [(8_000, 32_000)])
    np.testing.assert_array_equal(found, embedder.embed([sound[8_000:32_000]])[0])
    assert embedder.embed_windows(sound, []) == []


def test_a_long_sound_is_heard_in_passes() -> None:
    """Of six seconds at most, as memory grows with them; no window is parted or left out."""
    graph = Listening()
    windows = voice_windows(0, 30 * SAMPLE_RATE)
    assert len(CampPlus(graph).embed_windows(noise(30.0), windows)) == len(windows)
    assert max(graph.seconds) <= 6.0
    assert sum(graph.seconds) < 36.0


class Listening:
    """Be a graph that notes how many seconds it was asked to hear."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def run(self, _: list[str], given: dict[str, np.ndarray]) -> tuple[np.ndarray]:
        self.seconds.append(given["frames"].shape[1] / 100)
        return (np.ones((given["pooled"].shape[1], 192), np.float32),)


@pytest.mark.parametrize("length", [1_600, 16_000, 48_000, 96_001])
def test_means_are_means(length: int) -> None:
    """Masks hold everywhere, one at a time; weights of a window are on its own sound, 1 in sum."""
    windows = [(0, length), (length // 3, length // 3 + 1_600)][: 1 + (length > 1_600)]
    contexts, held, pooled = window_means(length, windows)
    np.testing.assert_array_equal(held.sum(axis=0), 1)
    np.testing.assert_allclose(contexts.sum(axis=0), 2, rtol=1e-5)
    np.testing.assert_allclose(pooled.sum(axis=0), 1, rtol=1e-5)
    for (start, end), weights in zip(windows, pooled.T, strict=True):
        chosen = np.flatnonzero(weights)
        assert start <= chosen[0] * 320 < start + 320
        assert end - 320 < chosen[-1] * 320 + 400 <= end
    assert len(pooled) == len(contexts) == 1 + (length - 400) // 320


def test_it_is_had_by_its_name() -> None:
    """As the setting ``speakers.embedder`` names it."""
    assert load_embedder("campplus").name == "campplus"


def test_the_card_names_the_parts_that_ship() -> None:
    """And the licences that they come under."""
    card = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    parts = msgspec.json.decode((DIRECTORY / "config.json").read_bytes())["parts"]
    ship = {path.name for path in DIRECTORY.iterdir() if path.suffix in (".onnx", ".npz")}
    assert set(parts) == ship
    assert all(f"| {name} | `{digest}` |" in card for name, digest in parts.items())
    assert "Notice (Apache-2.0)" in card
    assert "Notice (MIT)" in card


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    """Never weights that nobody packed."""
    shutil.copytree(DIRECTORY, tmp_path / "speakers")
    graph = tmp_path / "speakers" / GRAPH
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"voice\.onnx is damaged or of another model"):
        load_campplus(graph.parent)
    graph.unlink()
    with pytest.raises(ModelError, match=r"voice\.onnx cannot be read"):
        load_campplus(graph.parent)
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        load_campplus(tmp_path)


def cosine(one: Voice, other: Voice) -> float:
    """Say how alike two voices are."""
    return float(one @ other)
