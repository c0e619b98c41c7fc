"""Measure an emotion model that is no checkpoint, such as the one that comes with the program."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from streamser import __version__
from streamser.audio.clip import Samples
from streamser.emotion.calibration import read_calibrations
from streamser.emotion.choose import RULES, bundle_directory, choose_model, comes_with_us
from streamser.emotion.compact.model import CALIBRATION, PARTS, read_description
from streamser.emotion.frontend import Mel
from streamser.emotion.fused.config import HeadsConfig
from streamser.emotion.fused.network import FusedModel
from streamser.emotion.hub_models.registry import is_hub_model, locate, named
from streamser.emotion.model import EmotionModel, Prediction, Segment
from streamser.errors import AudioError, ConfigError
from streamser.plugins import EMOTION_MODELS, find_plugin
from streamser.settings import EmotionSettings
from streamser.taxonomy import CATEGORIES, DIMENSIONS, UNSURE
from streamser.training.augment import degrade_at_snr
from streamser.training.batches import labels_of, text_of
from streamser.training.evaluation.evaluate import (
    Evaluated,
    EvaluationRequest,
    bare,
    check_noise,
    device_name,
    digest_of,
    packages,
    plan_conditions,
    settle_device,
)
from streamser.training.evaluation.predictions import Degrade, Predictions
from streamser.training.evaluation.report import Condition, Entry, Evaluation, Provenance
from streamser.training.evaluation.scores import Answers, score
from streamser.training.manifest import Item, chosen, read_manifest
from streamser.training.sounds import Sounds

_BATCH = 8
_HEADS = HeadsConfig(categories=CATEGORIES, dimensions=DIMENSIONS)
_LEAST = 1e-9


class _Able(NamedTuple):
    """Say what a model can make use of, as a fused one does."""

    acoustic: str | None
    text: str | None


class _Origin(NamedTuple):
    """Say what is measured, and what it runs on, as a report says it."""

    weights_sha256: str
    origin: str
    threads: int | None
    device: str


def evaluate_model(
    request: EvaluationRequest, report: Callable[[str], None] = lambda line: None
) -> Evaluated:
    """Measure a model under every condition that was asked for; the richest comes first.

    Each utterance is judged as the first of somebody unknown, and as the program would judge it:
    scores and dimensions are told calibrated, so raw figures and calibrated ones are the same.
    Utterances without a label are not counted. Raises as ``evaluate`` does.
    """
    device = _check_device(request)
    check_noise(request)
    items, unlabelled = _labelled(request)
    model = choose_model(EmotionSettings(model=request.checkpoint, device=device))
    origin = _origin(request.checkpoint, device)
    plan = _plan(model, items, request)
    if unlabelled:
        report(f"not counted, since they have no label: {unlabelled}")
    sounds, skipped = Sounds(), 0
    if any("audio" in each.modalities for each in plan):
        readable = sounds.readable(items, strict=request.strict)
        items, skipped = list(readable.items), readable.unreadable
        if not items:
            raise AudioError(f"not one clip of {request.manifest} can be read; --strict says why.")
        plan = _plan(model, items, request)
    entries: list[Entry] = []
    clean: list[tuple[str, Answers]] = []
    for condition in plan:
        report(condition.title)
        fitting = [item for item in items if condition.fits(item)]
        answers = _answers(model, fitting, condition, sounds, request)
        entries.append(
            Entry(condition, score([answers], replicates=request.replicates, seed=request.seed))
        )
        if condition.snr_db is None:
            clean.append((condition.title, answers))
    provenance = Provenance(
        manifest=request.manifest.name,
        manifest_sha256=digest_of(request.manifest),
        split=request.split or "test, or all where none is marked",
        items=len(items),
        speakers=len({(item.corpus, item.speaker or item.id) for item in items}),
        skipped=skipped,
        checkpoint=bare(request.checkpoint),
        weights_sha256=origin.weights_sha256,
        calibrations=_calibrations(request.checkpoint),
        seed=request.seed,
        replicates=request.replicates,
        noise="" if not request.snrs else bare(request.noise or "white, pink and brown noise"),
        command=request.command,
        cpu=request.cpu,
        threads=origin.threads,
        device=origin.device,
        versions=packages(),
        origin=origin.origin,
        told=True,
        taught=_taught(request.checkpoint, items),
    )
    return Evaluated(Evaluation(provenance=provenance, entries=tuple(entries)), clean)


def _plan(
    model: EmotionModel, items: Sequence[Item], request: EvaluationRequest
) -> list[Condition]:
    able = _Able(*(name if name in model.modalities else None for name in ("audio", "text")))
    return plan_conditions(
        cast("FusedModel", able),
        items,
        modality=request.modality,
        text=request.text,
        snrs=request.snrs,
    )


def _check_device(request: EvaluationRequest) -> Literal["cpu", "cuda"]:
    name = request.checkpoint
    if name != RULES and _bundle(name) is None:
        return settle_device(request.device)
    if request.device == "cuda":
        raise ConfigError(f"{bare(name)} runs on the CPU alone: leave out --device cuda.")
    return "cpu"


def _bundle(name: str) -> Path | None:
    """Return the folder of a bundled model, unless a plug-in has that name."""
    if not comes_with_us(name) and find_plugin(EMOTION_MODELS, name) is not None:
        return None
    return bundle_directory(name)


def _calibrations(name: str) -> dict[str, str]:
    """Say what the calibrations of a bundle were fitted on, by what they are of."""
    directory = _bundle(name)
    known = {} if directory is None else read_calibrations(directory / CALIBRATION)
    return {name: each.fitted_on for name, each in known.items()}


def _taught(name: str, items: Sequence[Item]) -> dict[str, int]:
    """Count the utterances of corpora that a bundle says it was taught, but for what it left."""
    directory = _bundle(name)
    known = {} if directory is None else read_description(directory).taught
    return dict(
        Counter(
            item.corpus
            for item in items
            if item.corpus in known and not {item.speaker, item.split} & {*known[item.corpus]}
        )
    )


def _origin(name: str, device: Literal["cpu", "cuda"]) -> _Origin:
    if name == RULES:
        return _Origin("", f"the rules of streamser {__version__}", 1, "CPU")
    if is_hub_model(name):
        import torch

        ready = named(name)
        places = [locate(each, offline=True) for each in ready]
        files = [file for place in places for file in sorted(place.rglob("*")) if file.is_file()]
        revisions = ", ".join(f"{each.repository}@{each.revision or 'newest'}" for each in ready)
        return _Origin(digest_of(*files), revisions, torch.get_num_threads(), device_name(device))
    if (directory := _bundle(name)) is not None:
        digest = digest_of(*(directory / part for part in PARTS))
        return _Origin(digest, "", 1, "CPU")
    plugin = find_plugin(EMOTION_MODELS, name)
    made_by = "" if plugin is None else f"plug-in {plugin.package} {plugin.version}"
    return _Origin("", made_by, None, f"{device}, as far as the plug-in heeds it")


def _labelled(request: EvaluationRequest) -> tuple[list[Item], int]:
    """Return the utterances with a label, and how many there are without."""
    items = chosen(read_manifest(request.manifest), request.split or "test")
    labels = labels_of(items, _HEADS)
    known = (labels.votes == labels.votes).any(axis=1) | (labels.truth == labels.truth).any(axis=1)
    if not known.any():
        raise ConfigError(f"{request.manifest}: no utterance has a label of ours.")
    kept = [item for item, has in zip(items, known, strict=True) if has]
    return kept, len(items) - len(kept)


def _answers(
    model: EmotionModel,
    items: Sequence[Item],
    condition: Condition,
    sounds: Sounds,
    request: EvaluationRequest,
) -> Answers:
    noisy = None if condition.snr_db is None else degrade_at_snr(request.noise, condition.snr_db)
    told: list[Prediction] = []
    for first in range(0, len(items), _BATCH):
        batch = [_asked(item, condition, sounds, noisy) for item in items[first : first + _BATCH]]
        told += [model.new_speaker().predict(features) for features in model.extract(batch)]
    scores = np.array([[each.scores[name] for name in CATEGORIES] for each in told])
    felt = np.array([[_felt(each, name) for name in DIMENSIONS] for each in told])
    labels = labels_of(items, _HEADS)
    # Nothing is measured of what the model does not tell.
    names_none = (scores == scores[:, :1]).all()
    predictions = Predictions(
        categories=CATEGORIES,
        names=DIMENSIONS,
        ids=tuple(item.id for item in items),
        speakers=tuple(item.speaker for item in items),
        corpora=tuple(item.corpus for item in items),
        logits=np.log(np.maximum(scores, _LEAST)),
        dimensions=np.nan_to_num(felt, nan=0.5),
        votes=np.full_like(labels.votes, np.nan) if names_none else labels.votes,
        truth=np.where(np.isnan(felt), np.nan, labels.truth),
    )
    sure = np.array([each.category != UNSURE for each in told])
    return Answers(predictions, predictions, sure)


def _asked(item: Item, condition: Condition, sounds: Sounds, noisy: Degrade | None) -> Segment:
    samples: Samples = np.zeros(0, np.float32)
    if "audio" in condition.modalities:
        sound: Any = sounds.load(item)
        if isinstance(sound, Mel):
            raise AudioError(f"{item.id} has log-mel features only, and no recording.")
        samples = sound
        if noisy is not None:
            noise: Any = noisy(sound, np.random.default_rng(zlib.crc32(item.id.encode())))
            samples = noise
    text = text_of(item, condition.text or "gold") if "text" in condition.modalities else None
    return Segment(samples=samples, text=text)


def _felt(told: Prediction, name: str) -> float:
    value = getattr(told.dimensions, name)
    return np.nan if value is None else (value + 1.0) / 2.0
