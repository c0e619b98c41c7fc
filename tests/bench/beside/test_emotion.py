"""The same encoder, as our checkpoint and as transformers' classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from streamser.bench.beside.emotion import write_pair
from streamser.bench.beside.run import QUICK_HUBERT
from streamser.emotion.fused.checkpoint import load_checkpoint
from streamser.emotion.fused.pretrained_encoders import PretrainedAcoustic


def test_both_encode_alike(tmp_path: Path) -> None:
    """A clip alone gives the same hidden states, so that only the ways of calling differ."""
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    write_pair(dict(QUICK_HUBERT), tmp_path / "ours", tmp_path / "theirs", seed=3)
    acoustic = load_checkpoint(tmp_path / "ours").model.eval().acoustic
    assert isinstance(acoustic, PretrainedAcoustic)
    theirs = AutoModelForAudioClassification.from_pretrained(tmp_path / "theirs").eval()
    extract = AutoFeatureExtractor.from_pretrained(tmp_path / "theirs")
    clip = 0.1 * np.random.default_rng(0).standard_normal(16_000, dtype=np.float32)
    with torch.inference_mode():
        given = extract(clip, sampling_rate=16_000, return_tensors="pt").input_values
        expected = theirs.hubert(given).last_hidden_state
        found = acoustic(acoustic.prepare([clip])).hidden
    assert torch.allclose(found, expected, atol=1e-4)
    assert found.std() > 0.1
