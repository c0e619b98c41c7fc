"""What telling voices apart costs is measured part by part."""

from __future__ import annotations

import numpy as np
import soundfile

from streamser.audio.clip import SAMPLE_RATE
from streamser.speech.campplus import DIRECTORY, load_campplus
from streamser.speech.overlap import load_segmentation
from tools.speakers.cost import PARTS, cpu_seconds


def test_each_part_is_timed_as_often_as_is_asked() -> None:
    """The filter bank, which is a part of the embedder, takes less than it."""
    conversation, _ = soundfile.read(DIRECTORY.parent / "demo.flac", dtype="float32")
    spoken = conversation[: 25 * SAMPLE_RATE]
    spent = cpu_seconds(spoken, 12.0, load_campplus(), load_segmentation(), rounds=2)
    assert {len(each) for each in spent.values()} == {2}
    assert all(min(spent[name]) > 0 for name in PARTS)
    front = next(name for name in spent if name not in PARTS)
    assert np.mean(spent[front]) < np.mean(spent["embedder"])
