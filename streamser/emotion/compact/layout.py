"""What a measured utterance consists of: statistics, Whisper's lower layers, and where it lies.

Where it lies is told along a few *directions* of the layers' space: those in which the emotions
of one speaker differ most against what differs within an emotion. How far a stream spreads along
them says whether it holds several moods or one, whatever the microphone.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streamser.emotion.compact import statistics
from streamser.emotion.compact.layers import LAYERS, VALUES
from streamser.emotion.compact.layers import WIDTH as LAYER

DIRECTIONS: Final = 3
"""Four categories span no more."""
MEASURED: Final = statistics.WIDTH + VALUES
"""What is measured before it is placed along the directions."""
WIDTH: Final = MEASURED + DIRECTIONS


def _groups() -> dict[str, slice]:
    found = dict(statistics.GROUPS)
    for layer in range(LAYERS):
        for kind in ("mean", "sd"):
            first = statistics.WIDTH + LAYER * (2 * layer + (kind == "sd"))
            found[f"layer{layer + 1}_{kind}"] = slice(first, first + LAYER)
    for number in range(DIRECTIONS):
        found[f"direction{number + 1}"] = slice(MEASURED + number, MEASURED + number + 1)
    return found


GROUPS: Final = _groups()
"""Which part of the vector holds which group."""
ALONG: Final = tuple(name for name in GROUPS if name.startswith("direction"))
"""The groups of the directions, one number each."""


def placed(
    values: npt.NDArray[np.float32], directions: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Append where measurements, float32 [..., MEASURED], lie along ``directions``.

    ``directions`` is float32 [DIRECTIONS, VALUES]. Returns [..., WIDTH]; ``nan`` stays ``nan``.
    """
    along = values[..., statistics.WIDTH :] @ directions.T
    return np.concatenate([values, along], axis=-1)
