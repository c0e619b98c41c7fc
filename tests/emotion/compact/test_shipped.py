"""The weights that ship: what they must be able to do wherever they are installed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import streamser
from streamser.emotion.compact.model import PARTS, CompactModel, load_compact
from streamser.emotion.model import Segment
from streamser.taxonomy import CATEGORIES
from tests.data import shared_data

ASSETS = Path(streamser.__file__).parent / "assets"
WHERE = ASSETS / "models" / "compact"
SILENCE = np.zeros(0, np.float32)


@pytest.fixture(scope="module")
def model() -> CompactModel:
    """Load what ships."""
    return load_compact(WHERE, "compact")


def test_the_weights_are_small_and_the_card_names_them() -> None:
    """30 MB in the wheel at most; each part's hash stands in the card."""
    assert sum(path.stat().st_size for path in WHERE.iterdir()) <= 30e6
    parts = json.loads((WHERE / "config.json").read_text())["parts"]
    card = (WHERE / "README.md").read_text(encoding="utf-8")
    assert set(parts) == set(PARTS)
    for name, digest in parts.items():
        assert f"| {name} | `{digest}` |" in card
    assert "Open Database License" in card
    assert "Copyright (c) 2022 OpenAI" in card


@pytest.mark.parametrize(
    ("text", "category", "pleasant"),
    [
        ("i am so happy and i love this wonderful news", "happy", True),
        ("i am furious this is outrageous and i hate it", "angry", False),
        ("i feel so sad and lonely since he died", "sad", False),
        ("the meeting begins at eleven in room four", "neutral", None),
    ],
)
def test_plain_words_are_understood(
    model: CompactModel, text: str, category: str, pleasant: bool | None
) -> None:
    """As the embedded recogniser writes them; valence has the right sign."""
    (finding,) = model.extract([Segment(SILENCE, text)])
    reading = model.new_speaker().predict(finding)
    assert max(reading.scores, key=reading.scores.__getitem__) == category
    assert reading.dimensions.valence is not None
    if pleasant is not None:
        assert (reading.dimensions.valence > 0) == pleasant


def test_the_moods_of_the_bundled_conversation_are_heard(model: CompactModel) -> None:
    """By voice and words together, in order, each learnt after it was judged."""
    told = json.loads((ASSETS / "demo.json").read_text())["utterances"]
    samples, rate = soundfile.read(ASSETS / "demo.flac", dtype="float32")
    listener = model.new_speaker()
    right = []
    for line in told:
        clip = samples[line["start_ms"] * rate // 1000 : line["end_ms"] * rate // 1000]
        (finding,) = model.extract([Segment(clip, line["text"].lower())])
        reading = listener.predict(finding)
        listener.adapt(finding)
        right.append(max(reading.scores, key=reading.scores.__getitem__) == line["style"])
    assert np.mean(right) >= 0.75


def test_voices_on_other_microphones_are_told_apart(model: CompactModel) -> None:
    """RAVDESS was not learnt from: warm, by voice alone, far better than chance."""
    root = shared_data("ravdess_eval")
    names = {"01": "neutral", "02": "neutral", "03": "happy", "04": "sad", "05": "angry"}
    hits: dict[str, list[bool]] = {name: [] for name in CATEGORIES}
    for speaker in ("01", "02"):
        paths = sorted(root.rglob(f"03-01-*-{speaker}.flac"))
        order = np.random.default_rng(0).permutation(len(paths))
        listener = model.new_speaker()
        for place, number in enumerate(order):
            samples, _ = soundfile.read(paths[number], dtype="float32")
            (finding,) = model.extract([Segment(samples, None)])
            scores = listener.predict(finding).scores
            listener.adapt(finding)
            truth = names.get(paths[number].stem[6:8])
            if truth is not None and place >= 10:
                hits[truth].append(max(scores, key=scores.__getitem__) == truth)
    assert np.mean([np.mean(found) for found in hits.values()]) > 0.4
