"""Voices come first; what is taught after them says of voices alone what was said before."""

from __future__ import annotations

import numpy as np
import torch

from streamser.emotion.compact.speaker_stats import MEASURED
from tests.tools.compact.tiny_voices import tiny_texts, tiny_voices
from tools.compact.directions import fit_directions
from tools.compact.learn import LearnSettings, ask, teach_voices, teach_words
from tools.compact.network import JudgeSettings
from tools.compact.occasions import Occasions, OccasionSettings
from tools.compact.streams import Streams, StreamSettings
from tools.compact.texts import NO_TEXTS
from tools.compact.voices import fit_norm

SMALL = JudgeSettings(hidden=16, tokens=2, width=16, heads=2, bridge_tokens=2)
HARDLY = LearnSettings(steps=8)


def test_words_are_learnt_without_touching_what_voices_pass() -> None:
    """The answers to voices alone have the same bits; those to words have changed."""
    voices = tiny_voices(width=MEASURED)
    voices = voices.placed(fit_directions(voices))
    texts, rng = tiny_texts(), np.random.default_rng(1)
    streams = Streams(voices, fit_norm(voices), StreamSettings(), rng)

    def occasions(*sizes: int) -> Occasions:
        return Occasions(voices, streams, texts, OccasionSettings(*sizes), rng)

    judge = teach_voices(occasions(24, 0, 0), SMALL, HARDLY, seed=1, tell=lambda line: None)
    asked = [(occasions(24, 0, 0).draw(), NO_TEXTS), (occasions(0, 12, 12).draw(), texts)]
    with torch.inference_mode():
        before = [ask(judge, batch, given).logits for batch, given in asked]
    both = teach_words(judge, occasions(0, 12, 12), texts, HARDLY, tell=lambda line: None)
    with torch.inference_mode():
        after = [ask(both, batch, given).logits for batch, given in asked]
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])
