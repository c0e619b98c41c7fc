"""The conditions that a model is tried under: what it gets to hear, to read, and how noisily."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from streamser.emotion.calibration import Calibration, calibration_of
from streamser.emotion.neural.network import FusedModel
from streamser.errors import ConfigError
from streamser.training.augment import degrade_at_snr
from streamser.training.inputs import Inputs
from streamser.training.items import Item
from streamser.training.predict import predict
from streamser.training.scores import Answers, judge
from streamser.training.sounds import Sounds

__all__ = ["Condition", "Trial", "plan_conditions", "try_condition"]

Words = Literal["gold", "asr"]


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """Say what a model gets: ``modalities`` is one of ``MODALITY_SETS``.

    ``text`` says whose words (``""`` without words); ``snr_db`` is the signal-to-noise ratio of
    noise that is added, ``None`` for none.
    """

    modalities: str
    text: Literal["gold", "asr", ""] = ""
    snr_db: float | None = None

    @property
    def title(self) -> str:
        """Return the condition in words."""
        parts = [self.modalities.replace("+", " + ")]
        if self.text:
            parts.append({"gold": "transcripts", "asr": "recognised words"}[self.text])
        if self.snr_db is not None:
            parts.append(f"{self.snr_db:g} dB SNR")
        return ", ".join(parts)

    def fits(self, item: Item) -> bool:
        """Tell whether an item has all that the condition gives."""
        words = {"gold": item.text, "asr": item.text_asr, "": ""}[self.text]
        return words is not None and ("audio" not in self.modalities or item.has_sound)


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
