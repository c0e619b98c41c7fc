"""How much words count that a recogniser is so sure of.

Judged with Whisper tiny.en and base, clean and under noise (``python -m
tools.measure_certainty``, docs/certainty.md): the weight is the share of words that are right at
that confidence, as part of the share that is right where they are sure.
"""

from __future__ import annotations

from typing import Final

__all__ = ["weight_of_words"]

_WORTHLESS: Final = 0.35
_FULL: Final = 0.75


def weight_of_words(certainty: float | None) -> float:
    """Return how much words count, 0 to 1, of which a recogniser is so sure, 0 to 1.

    ``None`` means that it does not say: they count in full, as do those from .75 on; those up to
    .35 not at all.
    """
    if certainty is None:
        return 1.0
    return min(1.0, max(0.0, (certainty - _WORTHLESS) / (_FULL - _WORTHLESS)))
