"""Public models as an emotion model of this program: one, or several heard together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.emotion.calibration import entropy
from streamser.emotion.hub_models.labels import HubPart
from streamser.emotion.hub_models.registry import HubModel, locate, named
from streamser.emotion.hub_models.torch_models import Given, HubReader
from streamser.emotion.model import Prediction, Segment, StatelessSpeaker
from streamser.errors import ModelError
from streamser.settings import EmotionSettings
from streamser.taxonomy import CATEGORIES, DIMENSIONS, UNSURE, Dimensions

_MODALITIES: Final = ("audio", "text")
# No model is so sure that it may veto.
_LEAST: Final = 1e-4
# From here on a model holds it likelier that the emotion is none of ours.
_MOSTLY: Final = 0.5

Floats = npt.NDArray[np.float64]


def load_hub_models(settings: EmotionSettings, *, offline: bool = False) -> HubEmotionModel:
    """Load the public models that ``settings.model`` names, downloading what is missing.

    To be called on the device thread, whose number of CPU threads it sets where
    ``settings.threads`` is not 0. The precision ``"auto"`` is bfloat16 on cuda, else float32.
    ``offline`` forbids downloads. Raises ``ConfigError`` for a name that none has, ``ModelError``
    for files that cannot be had or used, without CUDA where the settings ask for it, and for int8;
    ``ImportError`` where torch is not installed.
    """
    wanted = named(settings.model)
    # All of them first: a missing file is better known before the first is loaded.
    places = [locate(ready, offline=offline) for ready in wanted]
    from streamser.emotion.fused.running import settled_device, use_threads

    use_threads(settings.threads)
    device = settled_device(settings.device)
    precision = _precision(settings.precision, device)
    return HubEmotionModel(
        [
            _reader(ready, place, device, precision)
            for ready, place in zip(wanted, places, strict=True)
        ]
    )


def _precision(asked: str, device: str) -> str:
    if asked == "auto":
        return "bfloat16" if device == "cuda" else "float32"
    if asked == "int8":
        raise ModelError(
            "emotion.precision int8 is for checkpoints; choose float32, bfloat16 or float16 for"
            " public models"
        )
    return asked


def _reader(ready: HubModel, place: Path, device: str, precision: str) -> HubReader:
    if ready.is_funasr:
        from streamser.emotion.hub_models.funasr import load_funasr

        return load_funasr(ready, place, device=device)
    import torch

    from streamser.emotion.hub_models.torch_models import load_reader

    half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
    return load_reader(ready, place).to(torch.device(device), half)


class HubFeatures(msgspec.Struct, frozen=True):
    """Hold what each model said of one clip; a model that lacked its modality said nothing."""

    parts: tuple[HubPart, ...]


class HubEmotionModel:
    """Run public models on batches of clips, one after another, on the device thread.

    Stateless. Its name is those of its models, with ``+`` between.
    """

    def __init__(self, readers: Sequence[HubReader]) -> None:
        self.name = "+".join(reader.ready.title for reader in readers)
        known = {reader.ready.modality for reader in readers}
        self.modalities: tuple[str, ...] = tuple(
            name for name in ("audio", "text") if name in known
        )
        self._readers = tuple(readers)

    def extract(self, batch: Sequence[Segment]) -> list[HubFeatures]:
        """Judge clips, float32 [n] at 16 kHz, n >= 0, with their words where there are any.

        Raises ``ModelError`` where memory runs out, or an answer is no number.
        """
        found: list[list[HubPart]] = [[] for _ in batch]
        for reader in self._readers:
            given = [(index, item) for index, item in enumerate(_of(reader, batch)) if len(item)]
            if not given:
                continue
            parts = self._read(reader, [item for _, item in given])
            for (index, _), part in zip(given, parts, strict=True):
                found[index].append(part)
        return [HubFeatures(tuple(parts)) for parts in found]

    def new_speaker(self) -> HubSpeaker:
        """Return a speaker model; all of them are alike."""
        return HubSpeaker()

    def forget(self, session_id: str) -> None:
        """Forget nothing: no session leaves anything here."""

    def _read(self, reader: HubReader, given: Sequence[Given]) -> list[HubPart]:
        try:
            return reader.read(given)
        except RuntimeError as error:
            # Torch's own error has no name of its own where torch was not imported.
            if type(error).__name__ != "OutOfMemoryError":
                raise
            reason = str(error).partition("\n")[0]
            raise ModelError(f"{self.name}: {reason}", code="out_of_memory") from error


def _of(reader: HubReader, batch: Sequence[Segment]) -> list[Given]:
    """Return what a reader reads of each clip; empty where the clip lacks it."""
    if reader.ready.modality == "text":
        return [(spoken.text or "").strip() for spoken in batch]
    return [spoken.samples for spoken in batch]


class HubSpeaker(StatelessSpeaker):
    """Join what the models said; learns nothing."""

    def predict(self, features: HubFeatures) -> Prediction:
        """Judge features as ``streamser.emotion.hub_models.model.join`` does."""
        parts = features.parts
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


def _evidence(joined: Joined) -> dict[str, float]:
    shares = {f"{name}_weight": round(share, 3) for name, share in joined.weights.items()}
    return {**shares, "outside": round(joined.outside, 3)} if shares else {}


class Joined(msgspec.Struct, frozen=True):
    """Hold a judgement: ``scores`` sum to 1; ``weights`` by modality sum to 1, or are none.

    ``outside`` in [0, 1] is the share of what was held likely that is none of ``CATEGORIES``.
    """

    category: str
    scores: dict[str, float]
    dimensions: Dimensions
    weights: dict[str, float]
    outside: float


class _Voice(msgspec.Struct, frozen=True):
    logs: tuple[float, ...]
    confidence: float
    outside: float


def join(parts: Sequence[HubPart]) -> Joined:
    """Join what models say into one judgement.

    Categories: the models of a modality are averaged in the logarithm (a geometric mean); the
    modalities are then pooled log-linearly, p_k ∝ Π_m p_mk^w_m (Genest & Zidek 1986, §3), where
    w_m is the modality's confidence over the sum of all, and a confidence is
    (1 - H(p_m) / log K) (1 - outside_m). So two models of the voice do not outvote one of the
    words, and a flat answer hardly counts. A dimension is the mean of the modalities' means: its
    models say nothing of how sure they are.

    The category is ``unsure`` without any part that knows categories, and where all modalities
    hold another emotion likelier than ours.
    """
    voices = {name: _voice(parts, name) for name in _MODALITIES}
    heard = {name: voice for name, voice in voices.items() if voice is not None}
    scores = dict.fromkeys(CATEGORIES, 1.0 / len(CATEGORIES))
    weights: dict[str, float] = {}
    if heard:
        sure = np.array([voice.confidence for voice in heard.values()])
        shares = sure / sure.sum() if sure.sum() > 0.0 else np.full(len(sure), 1.0 / len(sure))
        pooled = _probabilities(shares @ np.array([voice.logs for voice in heard.values()]))
        scores = dict(zip(CATEGORIES, pooled.tolist(), strict=True))
        weights = dict(zip(heard, shares.tolist(), strict=True))
    outside = sum(weights[name] * voice.outside for name, voice in heard.items())
    unsure = all(voice.outside > _MOSTLY for voice in heard.values())
    return Joined(
        category=UNSURE if unsure else max(scores, key=scores.__getitem__),
        scores=scores,
        dimensions=_dimensions(parts),
        weights=weights,
        outside=outside,
    )


def _voice(parts: Sequence[HubPart], modality: str) -> _Voice | None:
    """Average the models of a modality; ``None`` where none knows categories."""
    chosen = [part for part in parts if part.modality == modality and part.scores is not None]
    if not chosen:
        return None
    logs = np.log(np.maximum(np.array([part.scores for part in chosen], np.float64), _LEAST))
    likely = _probabilities(logs.mean(axis=0))
    outside = sum(part.outside for part in chosen) / len(chosen)
    sure = 1.0 - entropy(dict(zip(CATEGORIES, likely.tolist(), strict=True)))
    return _Voice(tuple(np.log(likely).tolist()), sure * (1.0 - outside), outside)


def _probabilities(logs: Floats) -> Floats:
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def _dimensions(parts: Sequence[HubPart]) -> Dimensions:
    found = {}
    for name in DIMENSIONS:
        means = []
        for modality in _MODALITIES:
            values = [
                value
                for part in parts
                if part.modality == modality
                and (value := getattr(part.dimensions, name)) is not None
            ]
            if values:
                means.append(sum(values) / len(values))
        if means:
            found[name] = sum(means) / len(means)
    return Dimensions(**found)
