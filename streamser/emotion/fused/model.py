"""The fused model at work in a live stream: clips and words in, calibrated readings out."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, cast

import msgspec
import numpy as np
import torch
from torch import nn

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.calibration import (
    Calibration,
    calibration_of,
    entropy,
    is_unsure,
    map_dimensions,
    modality_set,
    probabilities,
)
from streamser.emotion.fused import running
from streamser.emotion.fused.checkpoint import Checkpoint, load_checkpoint
from streamser.emotion.fused.config import HeadsConfig
from streamser.emotion.fused.interfaces import AcousticEncoder
from streamser.emotion.model import Prediction, Segment, StatelessSpeaker
from streamser.errors import ModelError, first_line
from streamser.machine import (
    KeptChoices,
    TimedWay,
    choices_file,
    cpu_name,
    fastest,
    least_times,
    told,
)
from streamser.taxonomy import CATEGORIES, UNSURE, Dimensions

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]

logger = logging.getLogger(__name__)

_NAMELESS = "model"


class FusedFeatures(msgspec.Struct, frozen=True):
    """Hold the raw answer to one clip, in the order of the model's heads.

    ``logits`` [K] are before any temperature, ``dimensions`` [D] in (0, 1) before any map;
    ``modalities`` says which of ``"audio"`` and ``"text"`` there were, perhaps none.
    """

    logits: tuple[float, ...]
    dimensions: tuple[float, ...]
    modalities: tuple[str, ...]


class FusedEmotionModel:
    """Run a checkpoint on batches of clips; it belongs to the device thread.

    Stateless: what is found of an item depends neither on its neighbours nor on what came before,
    beyond the rounding of ``precision``. ``shapes``: what its device is to be given; ``None``:
    as is usual there. Raises ``ModelError`` for a precision that the device does not have.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        name: str,
        precision: running.Format = "float32",
        shapes: running.Shapes | None = None,
    ) -> None:
        self.name = name
        encoders = {"audio": checkpoint.model.acoustic, "text": checkpoint.model.text}
        self.modalities = tuple(name for name, encoder in encoders.items() if encoder is not None)
        self._model = checkpoint.model
        self._calibrations = checkpoint.calibrations
        self._device = next(checkpoint.model.parameters()).device
        acoustic = checkpoint.model.acoustic
        self._elastic = acoustic is not None and cast(AcousticEncoder, acoustic).elastic
        usual = running.CUDA if self._device.type == "cuda" else running.PROCESSOR
        self._shapes = usual if shapes is None else shapes
        self.formats = running.Formats(checkpoint.model)
        self.formats.use(precision)

    def extract(self, batch: Sequence[Segment]) -> list[FusedFeatures]:
        """Answer to clips, float32 [n] at 16 kHz, n >= 0, with their words where there are any.

        Raises ``ModelError`` where memory runs out, or an answer is no number.
        """
        found: dict[int, FusedFeatures] = {}
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
        """Return a speaker model; all are alike, for the model keeps nothing of a session."""
        return FusedSpeaker(self._model.config.heads, self._calibrations)

    def _passes(self, batch: Sequence[Segment]) -> list[list[int]]:
        seconds = [len(spoken.samples) / SAMPLE_RATE * self._elastic for spoken in batch]
        return running.groups(
            seconds, running.ONE_BY_ONE if self.formats.format == "int8" else self._shapes
        )

    def _answer(self, batch: Sequence[Segment]) -> list[FusedFeatures]:
        few = self._shapes.few
        # The last one stands in for those who are not there; its other answers are dropped.
        filled = [
            *batch,
            *[batch[-1]] * (running.power_of_two(len(batch)) - len(batch) if few else 0),
        ]
        prepared = self._model.prepare(
            [spoken.samples for spoken in filled], [spoken.text for spoken in filled]
        )
        given = list(zip(prepared.has_audio.tolist(), prepared.has_text.tolist(), strict=True))
        if few and self._elastic:
            prepared = running.widened(prepared)
        with self.formats.computing():
            output = self._model(prepared.to(self._device))
        logits = output.category_logits.float().cpu()
        dimensions = output.dimensions.float().cpu()
        if not (torch.isfinite(logits).all() and torch.isfinite(dimensions).all()):
            raise ModelError(f"{self.name} gave an answer that is no number")
        return [
            FusedFeatures(
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


class FusedSpeaker(StatelessSpeaker):
    """Read features as the calibration of their modalities says; learns nothing."""

    def __init__(self, heads: HeadsConfig, calibrations: Mapping[str, Calibration]) -> None:
        self._heads = heads
        self._calibrations = calibrations

    def predict(self, features: FusedFeatures) -> Prediction:
        """Judge features; each dimension in [-1, 1], ``None`` where the model has none.

        Categories that the model does not know have the score 0, and do not count in the
        uncertainty: 1 is all that it knows being alike. Where it knows none at all,
        or had neither sound nor words, all are equally likely and the reading is unsure.
        """
        modalities = features.modalities
        calibration = calibration_of(
            self._calibrations, modality_set(audio="audio" in modalities, text="text" in modalities)
        )
        names = self._heads.categories
        judged = bool(modalities and names)
        if judged:
            likely = probabilities(np.array(features.logits), calibration)
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
            dimensions=self._dimensions(features, calibration) if modalities else Dimensions(),
            uncertainty=entropy({name: scores[name] for name in names} if judged else scores),
            modalities=modalities,
            evidence=_evidence(features, calibration) if judged else {},
        )

    def _dimensions(self, features: FusedFeatures, calibration: Calibration) -> Dimensions:
        names = self._heads.dimensions
        mapped = map_dimensions(np.array(features.dimensions), names, calibration)
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
    device thread, whose number of CPU threads it sets (``use_threads``). Raises
    ``ModelError`` for a checkpoint that cannot be used, a precision that the device does not
    have, or where there is no CUDA.
    """
    running.use_threads(threads)
    device = running.settled_device(device)
    checkpoint = load_checkpoint(where, offline=offline, device=device)
    chosen: running.Format = "float32" if precision == "auto" else precision
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


def _evidence(features: FusedFeatures, calibration: Calibration) -> dict[str, float]:
    first, second = sorted(features.logits, reverse=True)[:2]
    return {
        "logit_margin": round(first - second, 3),
        "temperature": round(calibration.temperature, 3),
        "unsure_below": round(calibration.unsure_below, 3),
    }


_FAULTS: Final = (ModelError, RuntimeError, AttributeError, TypeError)
"""What an encoder raises that reaches into layers which are no longer what it knows."""

BOUND: Final = 0.02
"""How far a probability, or a dimension in 0..1, may be from float32's."""

_FAST_ENOUGH_S: Final = 0.05
"""A processor that answers within this in float32 has nothing to gain."""
_BUDGET_S: Final = 1.0
_PATIENCE_S: Final = 10.0
"""After this no further format is tried: large models take long to convert."""
_ROUNDS: Final = 5
_SECONDS: Final = (2.0, 0.7)
_WORDS: Final = "I did not expect that you would say so"
_FINGERS: Final = 64
"""Values of every tensor that tell one model from another."""


def choose_format(model: FusedEmotionModel, clock: Callable[[], float]) -> str:
    """Put a model into the fastest format of its device; return a line on what was measured.

    A format is left out where it does not run, where what it says of the probe, two sounds with
    and without words, is further than ``BOUND`` from float32, and where those before it took
    more than 10 s to convert and to run. The favourite, float32 on
    a processor and bfloat16 on CUDA, stays unless another is clearly faster. A processor that
    is fast enough in float32 tries nothing. ``clock`` counts seconds.
    """
    probe = [Segment(samples=_sound(_SECONDS[0]), text=_WORDS)]
    also = [Segment(samples=_sound(_SECONDS[1]), text=None)]
    began = clock()
    formats = model.formats
    kinds = running.CANDIDATES[formats.device]

    def answer(format: running.Format) -> list[FusedFeatures]:
        formats.use(format)
        return model.extract(probe)

    formats.use("float32")
    expected = [*model.extract(probe), *model.extract(also)]
    if formats.device == "cpu":
        alone = least_times(
            {"float32": lambda: answer("float32")}, clock=clock, budget_s=_BUDGET_S, rounds=3
        )
        if alone["float32"] <= _FAST_ENOUGH_S:
            return f"float32, which takes {told([TimedWay('float32', alone['float32'])])}"
    why: dict[running.Format, str] = {}
    for format in kinds:
        if format not in (kinds[0], "float32") and clock() - began > _PATIENCE_S:
            why[format] = "no time left to try it; name it to have it"
            continue
        try:
            found = [*answer(format), *model.extract(also)]
        except _FAULTS as error:
            why[format] = first_line(error)
            continue
        apart = _distance(found, expected)
        if apart > BOUND:
            why[format] = f"{apart:.2g} from float32, at most {BOUND:g} is allowed"
    ways: dict[str, Callable[[], object]] = {
        format: lambda format=format: answer(format)  # type: ignore[misc]
        for format in kinds
        if format not in why
    }
    taken = least_times(ways, clock=clock, budget_s=_BUDGET_S, rounds=_ROUNDS)
    trials = [TimedWay(format, taken.get(format), why.get(format, "")) for format in kinds]
    best = fastest(trials)
    formats.use(next(format for format in kinds if format == best))
    return f"{best}, the fastest of {told(trials)}"


def keep_format(
    model: FusedEmotionModel, identity: str, kept: KeptChoices, clock: Callable[[], float]
) -> str:
    """Put a model into the format that was once chosen for it here; return a line on that.

    Where none was, it is chosen (``choose_format``) and kept by ``identity``, torch's version
    and the device: the same sound gets the same reading at every start, however busy the machine
    was at the first.
    """
    formats = model.formats
    device = torch.cuda.get_device_name() if formats.device == "cuda" else cpu_name()
    key = f"{identity} in torch {torch.__version__} on {device}"
    before = _known(kept.find(key), formats.device)
    if before is not None:
        formats.use(before)
        return f"{before}, as chosen here before ({kept.path})"
    line = choose_format(model, clock)
    standing = _known(kept.keep(key, formats.format), formats.device)
    if standing is None or standing == formats.format:
        return line
    formats.use(standing)
    return f"{standing}, as another process has chosen ({kept.path})"


def _known(name: str | None, device: str) -> running.Format | None:
    return next((format for format in running.CANDIDATES[device] if format == name), None)


def identify(model: nn.Module) -> str:
    """Return a fingerprint of a model: names, shapes and some values of all its weights."""
    digest = hashlib.sha256()
    for name, weights in model.state_dict().items():
        some = weights.detach().flatten()[:_FINGERS].float().cpu().numpy()
        digest.update(f"{name} {tuple(weights.shape)}".encode() + some.tobytes())
    return digest.hexdigest()[:16]


def check_runs(model: FusedEmotionModel) -> None:
    """Answer once; raise ``ModelError`` where the model cannot in the format that it is in."""
    try:
        model.extract([Segment(samples=_sound(_SECONDS[1]), text=_WORDS)])
    except _FAULTS as error:
        raise ModelError(
            f"{model.name} cannot compute in {model.formats.format} ({first_line(error)}):"
            " choose another emotion.precision"
        ) from error


def warm_shapes(model: FusedEmotionModel) -> None:
    """Answer once in every shape of up to 8 clips of up to 12 s, so that none is new later."""
    for seconds in (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0):
        spoken = Segment(samples=_sound(seconds), text=_WORDS)
        for clips in (1, 2, 4, 8):
            model.extract([spoken] * clips)


def _distance(found: list[FusedFeatures], expected: list[FusedFeatures]) -> float:
    plain = Calibration()
    apart = 0.0
    for one, other in zip(found, expected, strict=True):
        if one.logits:
            likely, wanted = (probabilities(np.array(x.logits), plain) for x in (one, other))
            apart = max(apart, float(np.abs(likely - wanted).max()))
        if one.dimensions:
            apart = max(apart, float(np.abs(np.subtract(one.dimensions, other.dimensions)).max()))
    return apart


def _sound(seconds: float) -> Samples:
    """Make syllables of a buzzing voice, 4 a second, with breath: what is loud in speech."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * time)) / SAMPLE_RATE
    voice = sum(np.sin(2 * np.pi * n * pitch) / n for n in range(1, 20))
    breath = np.random.default_rng(0).standard_normal(len(time))
    syllables = np.sin(2 * np.pi * 2 * time) ** 2
    sound: Samples = (0.1 * syllables * (voice + 0.3 * breath)).astype(np.float32)
    return sound
