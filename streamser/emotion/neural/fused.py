"""The fused model at work in a live stream: clips and words in, calibrated readings out."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import msgspec
import numpy as np
import torch

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.calibration import (
    Calibration,
    calibration_of,
    is_unsure,
    map_dimensions,
    modality_set,
    probabilities,
)
from streamser.emotion.model import DAMAGED_STATE, Prediction, Segment
from streamser.emotion.neural.checkpoint import Checkpoint, load_checkpoint
from streamser.emotion.neural.config import HeadsConfig
from streamser.emotion.neural.device import settled_device
from streamser.emotion.neural.formats import Format, Formats
from streamser.emotion.neural.interfaces import AcousticEncoder
from streamser.emotion.neural.lengths import (
    CUDA,
    ONE_BY_ONE,
    PROCESSOR,
    Shapes,
    groups,
    power_of_two,
    widened,
)
from streamser.emotion.neural.probe import check_runs, identify, keep_format, warm_shapes
from streamser.emotion.prototypes import entropy
from streamser.errors import ModelError
from streamser.machine import KeptChoices, choices_file
from streamser.taxonomy import CATEGORIES, UNSURE, Dimensions

__all__ = ["FusedEmotionModel", "FusedFinding", "FusedSpeaker", "Precision", "load_fused"]

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]

logger = logging.getLogger(__name__)

_NAMELESS = "model"


class FusedFinding(msgspec.Struct, frozen=True):
    """Hold the raw answer to one clip, in the order of the model's heads.

    ``logits`` [K] are before any temperature, ``dimensions`` [D] in (0, 1) before any map;
    ``modalities`` says which of ``"audio"`` and ``"text"`` there were, perhaps none.
    """

    logits: tuple[float, ...]
    dimensions: tuple[float, ...]
    modalities: tuple[str, ...]


class FusedEmotionModel:
    """Run a checkpoint on batches of clips; it belongs to the device thread.

    Stateless: an item's finding depends neither on its neighbours nor on what came before,
    beyond the rounding of ``precision``. ``shapes``: what its device is to be given; ``None``:
    as is usual there. Raises ``ModelError`` for a precision that the device does not have.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        name: str,
        precision: Format = "float32",
        shapes: Shapes | None = None,
    ) -> None:
        self.name = name
        encoders = {"audio": checkpoint.model.acoustic, "text": checkpoint.model.text}
        self.modalities = tuple(name for name, encoder in encoders.items() if encoder is not None)
        self._model = checkpoint.model
        self._calibrations = checkpoint.calibrations
        self._device = next(checkpoint.model.parameters()).device
        acoustic = checkpoint.model.acoustic
        self._elastic = acoustic is not None and cast(AcousticEncoder, acoustic).elastic
        usual = CUDA if self._device.type == "cuda" else PROCESSOR
        self._shapes = usual if shapes is None else shapes
        self.formats = Formats(checkpoint.model)
        self.formats.use(precision)

    def extract(self, batch: Sequence[Segment]) -> list[FusedFinding]:
        """Answer to clips, float32 [n] at 16 kHz, n >= 0, with their words where there are any.

        Raises ``ModelError`` where memory runs out, or an answer is no number.
        """
        found: dict[int, FusedFinding] = {}
        try:
            with torch.inference_mode():
                for places in self._passes(batch):
                    answers = self._answer([batch[place] for place in places])
                    found.update(zip(places, answers, strict=True))
        except torch.OutOfMemoryError as error:
            reason = str(error).partition("\n")[0]
            raise ModelError(f"{self.name}: {reason}", code="out_of_memory") from error
        return [found[place] for place in range(len(batch))]

    def forget(self, session_id: str) -> None:
        """Forget nothing: there is no state."""

    def new_speaker(self) -> FusedSpeaker:
        """Return a listener; all of them are alike, for the model keeps nothing of a session."""
        return FusedSpeaker(self._model.config.heads, self._calibrations)

    def _passes(self, batch: Sequence[Segment]) -> list[list[int]]:
        seconds = [len(spoken.samples) / SAMPLE_RATE * self._elastic for spoken in batch]
        return groups(seconds, ONE_BY_ONE if self.formats.format == "int8" else self._shapes)

    def _answer(self, batch: Sequence[Segment]) -> list[FusedFinding]:
        few = self._shapes.few
        # The last one stands in for those who are not there; its other answers are dropped.
        filled = [*batch, *[batch[-1]] * (power_of_two(len(batch)) - len(batch) if few else 0)]
        prepared = self._model.prepare(
            [spoken.samples for spoken in filled], [spoken.text for spoken in filled]
        )
        given = list(zip(prepared.has_audio.tolist(), prepared.has_text.tolist(), strict=True))
        if few and self._elastic:
            prepared = widened(prepared)
        with self.formats.computing():
            output = self._model(prepared.to(self._device))
        logits = output.category_logits.float().cpu()
        dimensions = output.dimensions.float().cpu()
        if not (torch.isfinite(logits).all() and torch.isfinite(dimensions).all()):
            raise ModelError(f"{self.name} gave an answer that is no number")
        return [
            FusedFinding(
                logits=tuple(of_categories),
                dimensions=tuple(of_dimensions),
                modalities=tuple(
                    name for name, there in (("audio", audio), ("text", text)) if there
                ),
            )
            for of_categories, of_dimensions, (audio, text) in zip(
                logits.tolist(), dimensions.tolist(), given, strict=True
            )
        ][: len(batch)]


class FusedSpeaker:
    """Read findings as the calibration of their modalities says; learns nothing."""

    def __init__(self, heads: HeadsConfig, calibrations: Mapping[str, Calibration]) -> None:
        self._heads = heads
        self._calibrations = calibrations

    def predict(self, finding: FusedFinding) -> Prediction:
        """Judge a finding; each dimension in [-1, 1], ``None`` where the model has none.

        Categories that the model does not know have the score 0, and do not count in the
        uncertainty: 1 is all that it knows being alike. Where it knows none at all,
        or had neither sound nor words, all are equally likely and the reading is unsure.
        """
        modalities = finding.modalities
        calibration = calibration_of(
            self._calibrations, modality_set(audio="audio" in modalities, text="text" in modalities)
        )
        names = self._heads.categories
        judged = bool(modalities and names)
        if judged:
            likely = probabilities(np.array(finding.logits), calibration)
            scores = dict.fromkeys(CATEGORIES, 0.0) | dict(zip(names, likely.tolist(), strict=True))
            unsure = bool(is_unsure(likely, calibration))
        else:
            scores = dict.fromkeys(CATEGORIES, 1.0 / len(CATEGORIES))
            unsure = True
        likeliest = max(scores, key=scores.__getitem__)
        return Prediction(
            category=UNSURE if unsure else likeliest,
            confidence=scores[likeliest],
            scores=scores,
            dimensions=self._dimensions(finding, calibration) if modalities else Dimensions(),
            uncertainty=entropy({name: scores[name] for name in names} if judged else scores),
            modalities=modalities,
            evidence=_evidence(finding, calibration) if judged else {},
        )

    def adapt(self, finding: FusedFinding) -> None:
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

    def _dimensions(self, finding: FusedFinding, calibration: Calibration) -> Dimensions:
        names = self._heads.dimensions
        mapped = map_dimensions(np.array(finding.dimensions), names, calibration)
        return Dimensions(**dict(zip(names, (2.0 * mapped - 1.0).tolist(), strict=True)))


def load_fused(
    where: str,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    precision: Precision = "auto",
    threads: int = 0,
    offline: bool = False,
) -> FusedEmotionModel:
    """Load a checkpoint, a directory or a name on the hub, as an emotion model.

    Its name is that of the directory (of the one above, where it is called "model"), or the
    one on the hub. ``"auto"`` tries for about a second, at the first load on a machine, which
    precision is the fastest here and answers alike, see ``choose_format``, keeps that choice for
    later ones, and writes it to the log. To be called on the
    device thread, whose number of CPU threads it sets where ``threads`` is not 0. Raises
    ``ModelError`` for a checkpoint that cannot be used, a precision that the device does not
    have, or where there is no CUDA.
    """
    if threads:
        torch.set_num_threads(threads)
    device = settled_device(device)
    checkpoint = load_checkpoint(where, offline=offline, device=device)
    chosen: Format = "float32" if precision == "auto" else precision
    model = FusedEmotionModel(checkpoint, _name(where), chosen)
    if precision == "auto":
        kept = KeptChoices(choices_file())
        told = keep_format(model, identify(checkpoint.model), kept, time.perf_counter)
        logger.info("%s: %s", model.name, told)
    model.formats.settle()
    if precision == "int8":
        check_runs(model)
    if device == "cuda":
        warm_shapes(model)
    return model


def _name(where: str) -> str:
    directory = Path(where).expanduser()
    if not directory.is_dir():
        return where
    resolved = directory.resolve()
    # A training calls its checkpoint "model", which says nothing in an event.
    named = resolved.parent.name if resolved.name == _NAMELESS else resolved.name
    # A name is a line at most wherever it is shown.
    return " ".join(named.split())


def _evidence(finding: FusedFinding, calibration: Calibration) -> dict[str, float]:
    first, second = sorted(finding.logits, reverse=True)[:2]
    return {
        "logit_margin": round(first - second, 3),
        "temperature": round(calibration.temperature, 3),
        "unsure_below": round(calibration.unsure_below, 3),
    }
