"""The end of a training: the best model as a checkpoint, calibrated, with its model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from streamser.emotion.calibration import Calibration
from streamser.emotion.fused.checkpoint import save_checkpoint
from streamser.emotion.fused.network import FusedModel
from streamser.training.batches import TextChoice, text_of
from streamser.training.checkpointing import Result, RunDirectory, tasks_of
from streamser.training.learner import task_weights
from streamser.training.manifest import Item
from streamser.training.predict import predict
from streamser.training.settings import TrainSettings
from streamser.training.sounds import Sounds
from streamser.training.validation import fit_calibration

__all__ = ["calibrate_on", "card_of", "finish"]

_SETS = {
    "audio": frozenset({"audio"}),
    "text": frozenset({"text"}),
    "audio+text": frozenset({"audio", "text"}),
}


def finish(
    run: RunDirectory,
    model: FusedModel,
    train: Sequence[Item],
    dev: Sequence[Item],
    settings: TrainSettings,
    result: Result,
    sounds: Sounds,
    *,
    calibrated: bool,
) -> None:
    """Save the checkpoint of a trained model; calibrations are fitted on the dev items."""
    calibrations = calibrate_on(model, dev, settings, sounds) if calibrated else {}
    card = card_of(settings, result, train, dev)
    save_checkpoint(run.model, model, calibrations=calibrations, card=card)


def calibrate_on(
    model: FusedModel, items: Sequence[Item], settings: TrainSettings, sounds: Sounds
) -> dict[str, Calibration]:
    """Fit a calibration for each set of modalities that the model takes and some items have."""
    text: TextChoice = "asr" if settings.data.text == "asr" else "gold"
    found = {}
    for name, modalities in _SETS.items():
        chosen = [item for item in items if modalities <= _modalities(model, item, text)]
        if chosen:
            answers = predict(model, chosen, modalities=modalities, text=text, sounds=sounds)
            found[name] = fit_calibration(answers, fitted_on=f"dev split, {name}")
    return found


def card_of(
    settings: TrainSettings, result: Result, train: Sequence[Item], dev: Sequence[Item]
) -> str:
    """Write the model card in Markdown: what it is, what it learnt from, how good, what for."""
    best = result.history[result.best_epoch - 1]
    heads = settings.model.heads
    modalities = " and ".join(
        word
        for word, part in (("voice", settings.model.acoustic), ("words", settings.model.text))
        if part is not None
    )
    figures = [("UAR", best.dev_uar)]
    figures += [
        (f"CCC {name}", value) for name, value in zip(heads.dimensions, best.dev_ccc, strict=True)
    ]
    lines = [
        "# Speech emotion from " + modalities,
        "",
        "A fused multi-task model of streamser, after Ispas, Deschamps-Berger & Devillers, "
        "arXiv 2401.00536.",
        "",
        f"- Categories: {', '.join(heads.categories) or 'none'}",
        f"- Dimensions, in [0, 1]: {', '.join(heads.dimensions) or 'none'}",
        f"- Trained for {result.epochs} epochs; these are the weights of epoch "
        f"{result.best_epoch}, the best by `run.select = {settings.run.select}` on the "
        "validation speakers",
        f"- Seed: {settings.run.seed}",
        "",
        "## Training data",
        "",
        f"Trained on {_counts(train)}; validated on {_counts(dev)}. "
        "The licences of the corpora hold for what was learnt from them.",
        "",
        "## Figures on the validation speakers",
        "",
        "These chose the epoch, so they flatter the model. Figures on test speakers come from "
        "`streamser evaluate`.",
        "",
        "| measure | value |",
        "|---|---|",
        *(f"| {name} | {'–' if value is None else f'{value:.3f}'} |" for name, value in figures),
        "",
        "## Intended use and limits",
        "",
        "For research, and for people who know that they are listened to and have agreed. It "
        "says how speech is likely to be *heard* by people like the raters of its corpora, not "
        "what somebody feels. Other languages, microphones, ages and natural instead of acted "
        "speech lower its figures, often to chance. Inferring emotions of people at work or in "
        "education is prohibited in the European Union (Regulation (EU) 2024/1689, Article "
        "5(1)(f)).",
        "",
        "## Settings",
        "",
        "Weights of the losses: "
        + ", ".join(
            f"{task} {weight:.2f}"
            for task, weight in zip(
                tasks_of(heads), task_weights(settings.loss, heads), strict=True
            )
        )
        + ".",
        "",
        "```json",
        msgspec.json.format(msgspec.json.encode(_public(settings)), indent=2).decode(),
        "```",
        "",
    ]
    return "\n".join(lines)


def _modalities(model: FusedModel, item: Item, text: TextChoice) -> frozenset[str]:
    hears = model.acoustic is not None and item.has_sound
    reads = model.text is not None and bool(text_of(item, text))
    return frozenset(name for name, has in (("audio", hears), ("text", reads)) if has)


def _public(settings: TrainSettings) -> TrainSettings:
    """Take out what tells of somebody's disk."""
    replace = msgspec.structs.replace
    return replace(
        settings,
        data=replace(settings.data, manifest=""),
        augment=replace(settings.augment, noise_folder="", room_folder=""),
    )


def _counts(items: Sequence[Item]) -> str:
    corpora = Counter(item.corpus for item in items)
    speakers = len({(item.corpus, item.speaker) for item in items})
    each = ", ".join(f"{count} of {name}" for name, count in sorted(corpora.items()))
    return f"{len(items)} utterances of {speakers} speakers ({each})"
