"""pyannote's segmentation 3.0 in torch, by the names of its published weights.

H. Bredin, *pyannote.audio 2.1 speaker diarization pipeline* (2023), A. Plaquet and H. Bredin,
*Powerset multi-class cross entropy loss for neural speaker diarization* (2023, arXiv 2310.13025);
the layout is that of pyannote.audio (MIT). The filters of M. Pariente et al., *Filterbank design
for end-to-end speech separation* (2020, arXiv 1910.10400), are computed once, from their edges.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CLASSES", "SegmentationNetwork"]

CLASSES: Final = 7
_RATE: Final = 16_000
_FILTERS: Final = 80
_HALF: Final = 125
_LOWEST: Final = 50.0
_NARROWEST: Final = 50.0


class SegmentationNetwork(nn.Module):
    """Turn sound [batch, samples] into log-probabilities [batch, frames, 7] of sets of speakers."""

    def __init__(self) -> None:
        super().__init__()
        self.sincnet = _Ears()
        self.lstm = nn.LSTM(60, 128, num_layers=4, bidirectional=True, batch_first=True)
        self.linear = nn.ModuleList([nn.Linear(256, 128), nn.Linear(128, 128)])
        self.classifier = nn.Linear(128, CLASSES)

    def fix(self) -> None:
        """Make the filters constants, which an exported graph then holds."""
        bands = self.sincnet.conv1d[0]
        assert isinstance(bands, _Bands)
        bands.fix()

    def forward(self, samples: Tensor) -> Tensor:
        """Say of each frame of 270 samples how likely each set of speakers is."""
        x, _ = self.lstm(self.sincnet(samples[:, None]).transpose(1, 2))
        for linear in self.linear:
            x = functional.leaky_relu(linear(x))
        return torch.log_softmax(self.classifier(x), dim=2)


class _Ears(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wav_norm1d = nn.InstanceNorm1d(1, affine=True)
        self.conv1d = nn.ModuleList([_Bands(), nn.Conv1d(80, 60, 5), nn.Conv1d(60, 60, 5)])
        self.norm1d = nn.ModuleList(
            [nn.InstanceNorm1d(width, affine=True) for width in (80, 60, 60)]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.wav_norm1d(x)
        for convolution, norm in zip(self.conv1d, self.norm1d, strict=True):
            x = functional.leaky_relu(norm(functional.max_pool1d(convolution(x), 3, stride=3)))
        return x


class _Bands(nn.Module):
    """Hear how loud 40 bands are, each in two phases."""

    def __init__(self) -> None:
        super().__init__()
        self.filterbank = _Filterbank()
        self._fixed: Tensor | None = None

    def fix(self) -> None:
        """Compute the filters for good: they come from the weights alone."""
        self._fixed = self.filterbank.filters().detach()

    def forward(self, x: Tensor) -> Tensor:
        filters = self.filterbank.filters() if self._fixed is None else self._fixed
        return functional.conv1d(x, filters, stride=10).abs()


class _Filterbank(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.low_hz_ = nn.Parameter(torch.zeros(_FILTERS // 2, 1))
        self.band_hz_ = nn.Parameter(torch.zeros(_FILTERS // 2, 1))
        self.register_buffer("window_", torch.zeros(_HALF))
        self.register_buffer("n_", torch.zeros(1, _HALF))

    def filters(self) -> Tensor:
        low = _LOWEST + self.low_hz_.abs()
        high = (low + _NARROWEST + self.band_hz_.abs()).clamp(_LOWEST, _RATE / 2)
        times, window = self.get_buffer("n_"), self.get_buffer("window_")
        band = high - low
        even = (torch.sin(high @ times) - torch.sin(low @ times)) / (times / 2) * window
        odd = (torch.cos(low @ times) - torch.cos(high @ times)) / (times / 2) * window
        whole = [
            torch.cat([even, 2 * band, even.flip(1)], dim=1),
            torch.cat([odd, torch.zeros_like(band), -odd.flip(1)], dim=1),
        ]
        return torch.cat([each / (2 * band) for each in whole])[:, None]
