"""Measure a checkpoint on a manifest: load, answer under each condition, score, write down."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import torch

from streamser.emotion.calibration import Calibration, calibration_of
from streamser.emotion.fused.checkpoint import Checkpoint, load_checkpoint
from streamser.emotion.fused.network import FusedModel
from streamser.errors import AudioError, ConfigError, StreamserError
from streamser.saving import replacing
from streamser.training.augment import degrade_at_snr
from streamser.training.batches import Inputs, labels_of
from streamser.training.evaluation.plots import save_plots
from streamser.training.evaluation.predictions import predict
from streamser.training.evaluation.report import (
    Condition,
    Entry,
    Evaluation,
    Provenance,
    encode,
    markdown,
)
from streamser.training.evaluation.scores import Answers, judge, score
from streamser.training.manifest import Item, read_manifest
from streamser.training.sounds import Sounds

Words = Literal["gold", "asr"]

_PACKAGES = ("torch", "numpy", "transformers", "scikit-learn", "scipy")
_DIGITS = 16


class EvaluationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Say what is to be measured, and how.

    ``split`` of ``None`` is the test split, or everything where the manifest marks none;
    ``text`` of ``None`` is every source of words that there is. ``snrs`` are in dB. ``command``
    and ``cpu`` go into the report as they are.
    """

    checkpoint: str
    manifest: Path
    split: Literal["train", "dev", "test", "all"] | None = None
    modality: Literal["audio", "text", "both", "all"] = "all"
    text: Literal["gold", "asr"] | None = None
    snrs: tuple[float, ...] = ()
    noise: Path | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    replicates: int = 1000
    strict: bool = False
    command: str = ""
    cpu: str = ""


class Evaluated(NamedTuple):
    """Hold an evaluation and the answers under each condition without noise, by its title."""

    evaluation: Evaluation
    answers: list[tuple[str, Answers]]


class _Data(NamedTuple):
    """Hold the utterances that are asked about, what they are, and how many could not be read."""

    items: Sequence[Item]
    split: str
    skipped: int = 0


def evaluate(
    request: EvaluationRequest, report: Callable[[str], None] = lambda line: None
) -> Evaluated:
    """Measure a checkpoint under every condition that was asked for; the richest comes first.

    ``report`` is told each condition as it begins. Clips that cannot be read are left out and
    counted, unless ``strict``. Raises ``ConfigError`` for a manifest or condition that leaves
    nothing to measure, ``ModelError`` for the checkpoint, ``AudioError`` for the sound.
    """
    check_noise(request)
    data = _select(read_manifest(request.manifest), request)
    checkpoint = load_checkpoint(request.checkpoint, device=settle_device(request.device))
    _check_labels(data, checkpoint, request.manifest)
    sounds = Sounds()
    if any("audio" in each.modalities for each in _plan(request, checkpoint, data)):
        readable = sounds.readable(data.items, strict=request.strict)
        data = _Data(readable.items, data.split, readable.unreadable)
        if not data.items:
            raise AudioError(f"not one clip of {request.manifest} can be read; --strict says why.")
    trial = Trial(
        checkpoint.model,
        checkpoint.calibrations,
        sounds,
        Inputs(checkpoint.model, sounds),
        request.noise,
    )
    entries: list[Entry] = []
    clean: list[tuple[str, Answers]] = []
    for condition in _plan(request, checkpoint, data):
        report(condition.title)
        answers = try_condition(trial, data.items, condition)
        result = score([answers], replicates=request.replicates, seed=request.seed)
        entries.append(Entry(condition, result))
        if condition.snr_db is None:
            clean.append((condition.title, answers))
    provenance = _provenance(request, data, checkpoint)
    return Evaluated(Evaluation(provenance=provenance, entries=tuple(entries)), clean)


def write_evaluation(evaluated: Evaluated, folder: Path) -> list[Path]:
    """Write evaluation.json, evaluation.md and the pictures; return their paths.

    Raises ``StreamserError`` where the disk refuses.
    """
    evaluation, answers = evaluated
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plots = save_plots(answers, evaluation.entries, folder)
        record, text = folder / "evaluation.json", folder / "evaluation.md"
        for path, content in (
            (record, encode(evaluation)),
            (text, markdown(evaluation, plots).encode()),
        ):
            with replacing(path) as file:
                file.write(content)
    except OSError as error:
        raise StreamserError(
            f"the evaluation cannot be written to {folder}: {error.strerror or error}."
        ) from None
    return [record, text, *(folder / file for _, file in plots)]


class Trial(msgspec.Struct, frozen=True, eq=False):
    """Hold a model with its calibrations, and what is kept of items between conditions."""

    model: FusedModel
    calibrations: Mapping[str, Calibration]
    sounds: Sounds
    inputs: Inputs
    noise: Path | None = None


def plan_conditions(
    model: FusedModel,
    items: Sequence[Item],
    *,
    modality: Literal["audio", "text", "both", "all"] = "all",
    text: Words | None = None,
    snrs: Iterable[float] = (),
) -> list[Condition]:
    """List the conditions that model and items allow, the richest first.

    ``modality`` of ``all`` takes whatever there is; ``text`` of ``None`` takes transcripts and
    recognised words, where an item has them. Each of ``snrs`` (dB) repeats the conditions that
    hear. Raises ``ConfigError`` where something asked for cannot be had.
    """
    has = {"audio": model.acoustic is not None, "text": model.text is not None}
    asked = {"all": ("audio+text", "audio", "text"), "both": ("audio+text",)}.get(
        modality, (modality,)
    )
    sources: tuple[Words, ...] = ("gold", "asr") if text is None else (text,)
    able = [name for name in asked if all(has[part] for part in name.split("+"))]
    if not able:
        lacks = next(part for name in asked for part in name.split("+") if not has[part])
        raise ConfigError(f"the model takes no {lacks}; choose another --modality.")
    quiet = [
        each
        for name in able
        for each in (
            [Condition(modalities=name, text=source) for source in sources]
            if "text" in name
            else [Condition(modalities=name)]
        )
    ]
    found = [each for each in quiet if any(each.fits(item) for item in items)]
    if not found:
        raise ConfigError(
            f"no utterance has what is needed: {' or '.join(e.title for e in quiet)}."
        )
    ratios = list(snrs)
    heard = [each for each in found if "audio" in each.modalities and each.text != "asr"]
    heard = heard or [each for each in found if "audio" in each.modalities]
    if ratios and not heard:
        raise ConfigError("--snr adds noise to sound, but no condition hears any.")
    return found + [
        msgspec.structs.replace(each, snr_db=ratio) for each in heard for ratio in ratios
    ]


def try_condition(trial: Trial, items: Sequence[Item], condition: Condition) -> Answers:
    """Ask the model under a condition about all items that have what it takes.

    Noise is drawn by an item's id, so that every model hears the same. Raises ``AudioError``
    for a clip that cannot be read, ``ModelError`` for features given to a model that needs
    recordings.
    """
    degrade = None if condition.snr_db is None else degrade_at_snr(trial.noise, condition.snr_db)
    answers = predict(
        trial.model,
        [item for item in items if condition.fits(item)],
        modalities=frozenset(condition.modalities.split("+")),
        text=condition.text or "gold",
        degrade=degrade,
        sounds=trial.sounds,
        inputs=trial.inputs,
    )
    return judge(answers, calibration_of(trial.calibrations, condition.modalities))


def check_noise(request: EvaluationRequest) -> None:
    """Refuse noise that cannot be had before minutes are spent without it."""
    if request.noise is not None and not request.snrs:
        raise ConfigError("--noise is added at the ratios of --snr; give some, such as 20,10,5,0.")
    for ratio in request.snrs:
        degrade_at_snr(request.noise, ratio)


def bare(place: str | Path) -> str:
    """Return a path as given, or its last part where the whole path is this machine's own."""
    path = Path(place)
    return path.name if path.is_absolute() or ".." in path.parts else str(place)


def _select(items: Sequence[Item], request: EvaluationRequest) -> _Data:
    marked = any(item.split for item in items)
    split = request.split or ("test" if marked else "all")
    if split == "all":
        return _Data(items, "all utterances")
    chosen = [item for item in items if item.split == split]
    if not chosen:
        there = sorted({item.split for item in items if item.split})
        known = f"it has {', '.join(there)}" if there else "it marks none"
        raise ConfigError(
            f"{request.manifest} has no utterance in the split {split} ({known}); "
            "choose another --split, or all."
        )
    return _Data(chosen, f"{split} split")


def _plan(request: EvaluationRequest, checkpoint: Checkpoint, data: _Data) -> list[Condition]:
    return plan_conditions(
        checkpoint.model,
        data.items,
        modality=request.modality,
        text=request.text,
        snrs=request.snrs,
    )


def _check_labels(data: _Data, checkpoint: Checkpoint, manifest: Path) -> None:
    heads = checkpoint.model.config.heads
    labels = labels_of(data.items, heads)
    if (labels.votes == labels.votes).any() or (labels.truth == labels.truth).any():
        return
    raise ConfigError(
        f"{manifest}: no utterance ({data.split}) has a label of what the model answers: "
        f"{', '.join((*heads.categories, *heads.dimensions))}."
    )


def settle_device(name: str) -> Literal["cpu", "cuda"]:
    """Return what ``--device`` means here; raises ``ConfigError`` where there is no CUDA."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device here; use --device cpu.")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def _provenance(request: EvaluationRequest, data: _Data, checkpoint: Checkpoint) -> Provenance:
    noise = ""
    if request.snrs:
        source = (
            f"sound files of {bare(request.noise)}"
            if request.noise
            else "white, pink and brown noise"
        )
        noise = f"{source}, at ratios that hold where there is speech"
        if any(item.mel is not None for item in data.items):
            noise += "; where only features are there, it was added to their energies"
    device = next(checkpoint.model.parameters()).device
    return Provenance(
        manifest=request.manifest.name,
        manifest_sha256=digest_of(request.manifest),
        split=data.split,
        items=len(data.items),
        speakers=len({(item.corpus, item.speaker or item.id) for item in data.items}),
        skipped=data.skipped,
        checkpoint=bare(request.checkpoint),
        weights_sha256=digest_of(checkpoint.directory / "model.safetensors"),
        calibrations={name: each.fitted_on for name, each in checkpoint.calibrations.items()},
        seed=request.seed,
        replicates=request.replicates,
        noise=noise,
        command=request.command,
        cpu=request.cpu,
        threads=torch.get_num_threads(),
        device=device_name(device.type),
        versions=packages(),
    )


def device_name(device: str) -> str:
    """Return what a report calls a device: the name of the GPU, or ``CPU``."""
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def digest_of(*paths: Path) -> str:
    """Return the first digits of a file's SHA-256, or of those of several, one a line.

    Raises ``ConfigError``.
    """
    found = [_sha256(path) for path in paths]
    if len(found) > 1:
        found = [hashlib.sha256("".join(f"{each}\n" for each in found).encode()).hexdigest()]
    return found[0][:_DIGITS]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None


def packages() -> dict[str, str]:
    """Return the versions of the packages at work."""
    return {name: version for name in _PACKAGES if (version := _version(name))}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
