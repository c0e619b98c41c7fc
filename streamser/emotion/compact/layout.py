"""What a measured utterance consists of: statistics of its own, and of Whisper's lower layers."""

from __future__ import annotations

from typing import Final

from streamser.emotion.compact import statistics
from streamser.emotion.compact.layers import LAYERS, VALUES
from streamser.emotion.compact.layers import WIDTH as LAYER

__all__ = ["GROUPS", "WIDTH"]


def _groups() -> dict[str, slice]:
    found = dict(statistics.GROUPS)
    for layer in range(LAYERS):
        for kind in ("mean", "sd"):
            first = statistics.WIDTH + LAYER * (2 * layer + (kind == "sd"))
            found[f"layer{layer + 1}_{kind}"] = slice(first, first + LAYER)
    return found


GROUPS: Final = _groups()
"""Which part of the vector holds which group."""
WIDTH: Final = statistics.WIDTH + VALUES
