"""Two small encoders for models that `streamser train` makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from streamser.emotion.frontend import BANDS, Sound, features
from streamser.emotion.fused.build import EncoderRequest
from streamser.emotion.fused.interfaces import AudioBatch, Encoded, TextBatch

__all__ = ["Letters", "SmallGru", "make_acoustic", "make_text"]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789' "


def make_acoustic(request: EncoderRequest) -> SmallGru:
    """Make an acoustic encoder; `request.options` are those of the configuration."""
    return SmallGru(int(request.options.get("width", 32)))


def make_text(request: EncoderRequest) -> Letters:
    """Make a text encoder: a new one, or the one whose `save_assets` wrote a file."""
    alphabet = _ALPHABET
    if request.directory is not None:
        alphabet = (request.directory / "tokenizer.json").read_text(encoding="utf-8")
    return Letters(int(request.options.get("width", 32)), alphabet)


class SmallGru(nn.Module):
    """Read log-mel frames with a recurrent network, one vector a frame."""

    elastic = True  # a longer clip costs more

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.gru = nn.GRU(BANDS, width, batch_first=True)

    def prepare(self, clips: Sequence[Sound]) -> AudioBatch:
        """Turn clips of any length into frames, float32 [B, T, 64]; on the CPU."""
        found = [torch.from_numpy(features(clip)) for clip in clips]
        lengths = torch.tensor([len(frames) for frames in found], dtype=torch.int64)
        return AudioBatch(nn.utils.rnn.pad_sequence(found, batch_first=True), lengths)

    def forward(self, batch: AudioBatch) -> Encoded:
        """Encode a batch; what is padded comes after what is real, and changes nothing."""
        return _encoded(self.gru(batch.values)[0], batch.lengths)


class Letters(nn.Module):
    """Read texts letter by letter."""

    def __init__(self, width: int, alphabet: str) -> None:
        super().__init__()
        self.width = width
        self._alphabet = alphabet
        self._place = {letter: number for number, letter in enumerate(alphabet, 1)}
        self.embedding = nn.Embedding(len(alphabet) + 1, width)
        self.gru = nn.GRU(width, width, batch_first=True)

    def prepare(self, texts: Sequence[str]) -> TextBatch:
        """Turn texts into numbers of letters, int64 [B, L]; 0 begins each and pads."""
        rows = [
            torch.tensor([0, *(self._place[sign] for sign in text.lower() if sign in self._place)])
            for text in texts
        ]
        lengths = torch.tensor([len(row) for row in rows])
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return TextBatch(ids, torch.arange(ids.shape[1]) < lengths[:, None])

    def forward(self, batch: TextBatch) -> Encoded:
        """Encode a batch."""
        return _encoded(self.gru(self.embedding(batch.ids))[0], batch.mask.sum(1))

    def save_assets(self, directory: Path) -> None:
        """Write what `prepare` needs; a checkpoint keeps this one file of it."""
        (directory / "tokenizer.json").write_text(self._alphabet, encoding="utf-8")


def _encoded(hidden: Tensor, lengths: Tensor) -> Encoded:
    mask = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
    return Encoded(hidden.masked_fill(~mask[..., None], 0.0), mask)
