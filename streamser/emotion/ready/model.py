"""Public models as an emotion model of this program: one, or several heard together."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamser.emotion.model import DAMAGED_STATE, Prediction, Segment
from streamser.emotion.prototypes import entropy
from streamser.emotion.ready.fusion import Joined, join
from streamser.emotion.ready.labels import Part
from streamser.emotion.ready.reader import Given, Reader
from streamser.errors import ModelError

__all__ = ["ReadyFinding", "ReadyModel", "ReadySpeaker"]


class ReadyFinding(msgspec.Struct, frozen=True):
    """Hold what each model said of one clip; a model that lacked its modality said nothing."""

    parts: tuple[Part, ...]


class ReadyModel:
    """Run public models on batches of clips, one after another, on the device thread.

    Stateless. Its name is those of its models, with ``+`` between.
    """

    def __init__(self, readers: Sequence[Reader]) -> None:
        self.name = "+".join(reader.ready.title for reader in readers)
        known = {reader.ready.modality for reader in readers}
        self.modalities: tuple[str, ...] = tuple(
            name for name in ("audio", "text") if name in known
        )
        self._readers = tuple(readers)

    def extract(self, batch: Sequence[Segment]) -> list[ReadyFinding]:
        """Judge clips, float32 [n] at 16 kHz, n >= 0, with their words where there are any.

        Raises ``ModelError`` where memory runs out, or an answer is no number.
        """
        found: list[list[Part]] = [[] for _ in batch]
        for reader in self._readers:
            given = [(index, item) for index, item in enumerate(_of(reader, batch)) if len(item)]
            if not given:
                continue
            parts = self._read(reader, [item for _, item in given])
            for (index, _), part in zip(given, parts, strict=True):
                found[index].append(part)
        return [ReadyFinding(tuple(parts)) for parts in found]

    def new_speaker(self) -> ReadySpeaker:
        """Return a listener; all of them are alike."""
        return ReadySpeaker()

    def forget(self, session_id: str) -> None:
        """Forget nothing: no session leaves anything here."""

    def _read(self, reader: Reader, given: Sequence[Given]) -> list[Part]:
        try:
            return reader.read(given)
        except RuntimeError as error:
            # Torch's own error has no name of its own where torch was not imported.
            if type(error).__name__ != "OutOfMemoryError":
                raise
            reason = str(error).partition("\n")[0]
            raise ModelError(f"{self.name}: {reason}", code="out_of_memory") from error


class ReadySpeaker:
    """Join what the models said; learns nothing."""

    def predict(self, finding: ReadyFinding) -> Prediction:
        """Judge a finding as ``streamser.emotion.ready.fusion.join`` does."""
        parts = finding.parts
        joined = join(parts)
        used = {part.modality for part in parts}
        return Prediction(
            category=joined.category,
            confidence=max(joined.scores.values()),
            scores=joined.scores,
            dimensions=joined.dimensions,
            uncertainty=entropy(joined.scores),
            modalities=tuple(name for name in ("audio", "text") if name in used),
            evidence=_evidence(joined),
        )

    def adapt(self, finding: ReadyFinding) -> None:
        """Learn nothing: what a voice usually sounds like is not asked for."""

    def snapshot(self) -> bytes:
        """Return nothing."""
        return b""

    def restore(self, state: bytes) -> None:
        """Take nothing; raises ``ModelError`` for anything else."""
        if state:
            raise ModelError(DAMAGED_STATE)

    def reset(self) -> None:
        """Forget nothing: there is no state."""


def _of(reader: Reader, batch: Sequence[Segment]) -> list[Given]:
    """Return what a reader reads of each clip; empty where the clip lacks it."""
    if reader.ready.modality == "text":
        return [(spoken.text or "").strip() for spoken in batch]
    return [spoken.samples for spoken in batch]


def _evidence(joined: Joined) -> dict[str, float]:
    shares = {f"{name}_weight": round(share, 3) for name, share in joined.weights.items()}
    return {**shares, "outside": round(joined.outside, 3)} if shares else {}
