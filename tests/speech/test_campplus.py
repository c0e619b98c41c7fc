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
from streamser.speech.campplus import DIRECTORY, GRAPH, CampPlus, kaldi_frames, load_campplus
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
