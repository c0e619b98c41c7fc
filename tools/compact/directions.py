"""Along which directions of the layers' space the emotions of one speaker differ most.

R. A. Fisher's linear discriminants (1936), of utterances about their own speaker's middle: what
no microphone and no speaker's own nature is in. The covariance within emotions is shrunk halfway
to its diagonal (O. Ledoit & M. Wolf 2004 motivate it; half is not tuned), as there are far fewer
utterances than numbers.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streamser.emotion.compact import statistics
from streamser.emotion.compact.speaker_stats import DIRECTIONS, MEASURED
from streamser.errors import ConfigError
from streamser.taxonomy import CATEGORIES
from tools.compact.voices import Voices

__all__ = ["fit_directions"]

_SHRINKAGE: Final = 0.5


def fit_directions(voices: Voices) -> npt.NDArray[np.float32]:
    """Find the directions from voices through no channel, float32 [DIRECTIONS, VALUES].

    Along each the variance within an emotion of a speaker is 1. Speakers who lack a category
    are left out; raises ``ConfigError`` if none is left.
    """
    centred, pools = _centred(voices)
    means = np.stack([centred[pools == k].mean(axis=0) for k in range(len(CATEGORIES))])
    rest = centred - means[pools]
    within = rest.T @ rest / len(rest)
    shrunk = (1 - _SHRINKAGE) * within
    shrunk[np.diag_indices(len(shrunk))] = np.diag(within) + 1e-9
    axes = np.linalg.solve(shrunk, (means - means.mean(axis=0)).T)
    sizes, turns = np.linalg.eigh(axes.T @ shrunk @ axes)
    directions = axes @ (turns[:, -DIRECTIONS:] / np.sqrt(sizes[-DIRECTIONS:]))
    found: npt.NDArray[np.float32] = directions.T.astype(np.float32)
    return found


def _centred(voices: Voices) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    said = voices.of_channel(0)[:, statistics.WIDTH : MEASURED].astype(np.float64)
    speakers, categories = np.array(voices.speakers), range(len(CATEGORIES))
    usable = (voices.pools < len(CATEGORIES)) & np.isfinite(said).all(axis=1)
    parts, pools = [], []
    for name in np.unique(speakers):
        mine = usable & (speakers == name)
        own, values = voices.pools[mine], said[mine]
        if all((own == k).any() for k in categories):
            middle = np.mean([values[own == k].mean(axis=0) for k in categories], axis=0)
            parts.append(values - middle)
            pools.append(own)
    if not parts:
        raise ConfigError(
            "no speaker that is learnt from has utterances of all categories: give more of the data"
        )
    return np.concatenate(parts), np.concatenate(pools)
