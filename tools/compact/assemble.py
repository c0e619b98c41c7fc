"""Put the parts of the bundled model together, and calibrate what comes out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from msgspec.structs import replace

from streamser.emotion.calibration import Calibration, write_calibrations
from streamser.emotion.compact.bundle import ALONG, CALIBRATION, JUDGE, NORM, describe
from streamser.emotion.compact.layers import GRAPH
from streamser.emotion.compact.running import Norm
from streamser.emotion.compact.words import TOKENIZER, WORDS
from streamser.graphs import CONFIG
from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.training.evaluation.predictions import Predictions
from streamser.training.validation import fit_calibration
from tools.compact.export_judge import export_judge
from tools.compact.learn import ask
from tools.compact.network import Judge
from tools.compact.occasions import OccasionBatch, Occasions
from tools.compact.texts import EncodedTexts

__all__ = ["assemble", "calibrate"]

_SOURCES: Final = ("audio", "text", "audio+text")
PRECISION: Final = 0.8
"""How often what is named, and not ``unsure``, shall be right on the speakers calibrated on."""
LEAST_SURE: Final = 0.4
"""Below, nothing is named, though the speakers calibrated on were so clear that all was right."""


def calibrate(
    judge: Judge, occasions: Occasions, texts: EncodedTexts, batches: int
) -> dict[str, Calibration]:
    """Fit temperature, threshold and maps for each set of modalities, on validation speakers.

    ``batches`` is how many are drawn for it.
    """
    parts: dict[str, list[Predictions]] = {name: [] for name in _SOURCES}
    for number in range(batches):
        batch = occasions.draw()
        with torch.inference_mode():
            answer = ask(judge, batch, texts)
        found = _predictions(batch, answer.logits.numpy(), answer.dimensions.numpy(), number)
        for source, name in enumerate(_SOURCES):
            parts[name].append(found.select(batch.source == source))
    return _capped(
        {
            name: fit_calibration(
                Predictions.join(found),
                precision=PRECISION,
                fitted_on="validation speakers of CREMA-D and held-out texts, in drawn streams",
            )
            for name, found in parts.items()
        }
    )


def _capped(found: dict[str, Calibration]) -> dict[str, Calibration]:
    """Let made pairs teach no more certainty than voices and words alone have.

    Pairs that agree are right nearly always, for they were made so.
    """
    floored = {
        name: replace(each, unsure_below=max(each.unsure_below, LEAST_SURE))
        for name, each in found.items()
    }
    both, *alone = (floored[name] for name in ("audio+text", "audio", "text"))
    capped = replace(
        both,
        temperature=max(both.temperature, *(each.temperature for each in alone)),
        unsure_below=max(both.unsure_below, *(each.unsure_below for each in alone)),
    )
    return floored | {"audio+text": capped}


def assemble(
    directory: Path,
    judge: Judge,
    norm: Norm,
    directions: npt.NDArray[np.float32],
    parts: Path,
    calibrations: dict[str, Calibration],
    taught: dict[str, tuple[str, ...]],
) -> None:
    """Write a bundle's folder; ``parts`` is one that holds the exported layers and words.

    ``taught`` are the corpora that taught it, each with what was kept out.

    The description comes last: a folder without it is not a model.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CONFIG).unlink(missing_ok=True)
    export_judge(judge, directory / JUDGE)
    for name in (GRAPH, WORDS, TOKENIZER):
        shutil.copyfile(parts / name, directory / name)
    numbers = {name: getattr(norm, name).astype(np.float32) for name in Norm.__struct_fields__}
    numbers[ALONG] = directions
    np.savez(directory / NORM, **numbers)
    write_calibrations(directory / CALIBRATION, calibrations)
    text = msgspec.json.format(msgspec.json.encode(describe(directory, taught)), indent=2)
    (directory / CONFIG).write_bytes(text + b"\n")


def _predictions(
    batch: OccasionBatch, logits: np.ndarray, dimensions: np.ndarray, number: int
) -> Predictions:
    count = len(logits)
    votes = np.where(batch.categories.sum(axis=1, keepdims=True) > 0, batch.categories, np.nan)
    return Predictions(
        categories=CATEGORIES,
        names=DIMENSIONS,
        ids=tuple(f"{number}-{row}" for row in range(count)),
        speakers=("",) * count,
        corpora=("drawn",) * count,
        logits=logits.astype(np.float64),
        dimensions=dimensions.astype(np.float64),
        votes=votes.astype(np.float64),
        truth=batch.dimensions.astype(np.float64),
    )
