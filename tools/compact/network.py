"""The network of the bundled model: statistics and words, the paper's fusion, the paper's heads.

Ispas, Deschamps-Berger & Devillers 2023 (arXiv 2401.00536) in small: what the utterance's
statistics say becomes some tokens, the words' pieces are tokens already; self-attention within
each, bridge tokens read both, one classifier and one regressor read the bridge.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from streamser.emotion.compact.speaker_stats import ALONG, GROUPS, WIDTH
from streamser.emotion.fused.config import FusionConfig
from streamser.emotion.fused.fusion import Fusion
from streamser.emotion.fused.interfaces import Encoded
from streamser.taxonomy import CATEGORIES, DIMENSIONS

__all__ = ["Answer", "Judge", "JudgeSettings", "Voice", "VoiceEncoder"]


# Logarithms of a stream's deviation over the training speakers': those of several moods lie about
# -0.05, those of one below -0.35 from ten utterances on, on corpora never learnt from as well.
_ONE_MOOD: Final = -0.28
_STEEP: Final = 15.0
_LAYERS: Final = tuple(name for name in GROUPS if name.startswith("layer"))


class JudgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the sizes of the network, and which groups of statistics are seen how.

    ``absolute`` is what is told of an utterance among everybody's, ``context`` of the stream
    itself; band spectra are left to the relative view.
    """

    absolute: tuple[str, ...] = ("pitch", "pitch_move", "shape", "tilt", *_LAYERS)
    context: tuple[str, ...] = ("pitch", "shape", "tilt", *_LAYERS)

    hidden: int = 320
    tokens: int = 4
    width: int = 96
    heads: int = 4
    bridge_tokens: int = 4
    words_width: int = 384
    input_dropout: float = 0.3
    dropout: float = 0.3


class Voice(NamedTuple):
    """Hold utterances as ``SpeakerStats.views`` shows them, and ``known`` [B, 1]."""

    relative: Tensor
    absolute: Tensor
    context: Tensor
    variety: Tensor
    known: Tensor


class Answer(NamedTuple):
    """Hold logits [B, 4], dimensions [B, 3] in (0, 1)."""

    logits: Tensor
    dimensions: Tensor


class VoiceEncoder(nn.Module):
    """Turn an utterance's statistics into tokens, [B, tokens, width].

    Absolute evidence passes a gate that opens as the stream spreads less along the directions
    of emotions than one of several moods does. It is not learnt: in training even a strange
    microphone is one that others were like, and a gate that learns stays ajar.
    """

    absolute: Tensor
    context: Tensor
    along: Tensor

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__()
        self.register_buffer("absolute", _columns(settings.absolute), persistent=False)
        self.register_buffer("context", _columns(settings.context), persistent=False)
        along = [place for place, name in enumerate(GROUPS) if name in ALONG]
        self.register_buffer("along", torch.tensor(along), persistent=False)
        own = len(self.absolute) + len(self.context)
        self.input_dropout = nn.Dropout(settings.input_dropout)
        self.relative = nn.Linear(WIDTH, settings.hidden)
        self.own = nn.Linear(own + 1, settings.hidden)
        self.second = nn.Linear(settings.hidden, settings.hidden)
        self.dropout = nn.Dropout(settings.dropout)
        self.out = nn.Linear(settings.hidden, settings.tokens * settings.width)
        self.tokens = settings.tokens

    def forward(self, voice: Voice) -> Tensor:
        """Encode a batch."""
        absolute = voice.absolute.index_select(1, self.absolute)
        context = voice.context.index_select(1, self.context)
        own = torch.cat([self.input_dropout(torch.cat([absolute, context], 1)), voice.known], 1)
        spread = voice.variety.index_select(1, self.along).mean(dim=1, keepdim=True)
        gate = torch.sigmoid(_STEEP * (_ONE_MOOD - spread))
        seen = self.relative(self.input_dropout(voice.relative)) + gate * self.own(own)
        hidden = self.dropout(functional.gelu(seen))
        hidden = self.dropout(functional.gelu(self.second(hidden)) + hidden)
        out: Tensor = self.out(hidden)
        return out.view(len(out), self.tokens, -1)


class Judge(nn.Module):
    """Tell categories and dimensions from statistics, words, or both."""

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__()
        self.settings = settings
        self.voice = VoiceEncoder(settings)
        fusion = FusionConfig(
            mode="same_kv",
            width=settings.width,
            heads=settings.heads,
            feedforward=2,
            bridge_tokens=settings.bridge_tokens,
            # The encoders have their own; here it cost a quarter of the time.
            dropout=0.0,
        )
        self.fusion = Fusion(fusion, settings.width, settings.words_width)
        self.classifier = nn.Linear(settings.width, len(CATEGORIES))
        self.regressor = nn.Linear(settings.width, len(DIMENSIONS))

    def forward(self, voice: Voice, words: Encoded, has_audio: Tensor, has_text: Tensor) -> Answer:
        """Judge a batch; ``has_audio`` and ``has_text`` (bool [B]) say what each item has.

        Of ``words`` the rows without text are not looked at.
        """
        tokens = self.voice(voice)
        there = has_audio[:, None].expand(-1, tokens.shape[1])
        spoken = Encoded(words.hidden, words.mask & has_text[:, None])
        fused = self.fusion(Encoded(tokens, there), spoken).fused
        return Answer(self.classifier(fused), torch.sigmoid(self.regressor(fused)))


def _columns(groups: tuple[str, ...]) -> Tensor:
    places = [np.arange(WIDTH)[GROUPS[name]] for name in groups]
    return torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *places]))
