"""How much words count that a recogniser is so sure of.

Judged with Whisper tiny.en and base on plain speech, clean and under noise (``python -m
tools.measure_certainty``, docs/certainty.md): of what they are surer of than .8 nine words in ten
are right, at .5 one in three.
"""

from __future__ import annotations

from typing import Final

__all__ = ["weight_of_words"]

_WORTHLESS: Final = 0.4
_FULL: Final = 0.8


def weight_of_words(certainty: float | None) -> float:
    """Return how much words count, 0 to 1, of which a recogniser is so sure, 0 to 1.

    ``None`` means that it does not say: they count in full, as do those from .8 on; those up to
    .4 not at all.
    """
    if certainty is None:
        return 1.0
    return min(1.0, max(0.0, (certainty - _WORTHLESS) / (_FULL - _WORTHLESS)))
