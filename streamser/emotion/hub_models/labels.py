"""From a model's own labels to our categories and dimensions, always by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.emotion.hub_models.registry import HubModel
from streamser.errors import ModelError
from streamser.taxonomy import CATEGORIES, GOEMOTIONS, Dimensions, alias_table, place_label

Floats = npt.NDArray[np.float64]

_CERTAIN_OF_NOTHING: Final = 1e-12


class HubPart(msgspec.Struct, frozen=True):
    """Hold what one model says of one clip.

    ``scores`` are probabilities of ``CATEGORIES`` that sum to 1, ``None`` where the model knows
    none; ``outside`` in [0, 1] is the share of what it holds likely that is none of them.
    """

    modality: str
    scores: tuple[float, ...] | None = None
    outside: float = 0.0
    dimensions: Dimensions = Dimensions()


class Places(msgspec.Struct, frozen=True):
    """Say where each of a model's outputs belongs: an index of ``CATEGORIES``, -1 for none.

    ``multi_label``: the outputs are independent probabilities, not shares of one.
    """

    of: tuple[int, ...]
    multi_label: bool = False

    def gather(self, likely: Floats) -> tuple[tuple[float, ...], float]:
        """Bring probabilities [labels] to scores of ``CATEGORIES`` and what is outside them.

        Shares of one category add up; of independent probabilities the highest counts.
        """
        places = np.array(self.of)
        bins = [likely[places == index] for index in (*range(len(CATEGORIES)), -1)]
        join = np.max if self.multi_label else np.sum
        *scores, outside = (float(join(found)) if len(found) else 0.0 for found in bins)
        inside = sum(scores)
        total = inside + outside
        if inside <= _CERTAIN_OF_NOTHING:
            return (1.0 / len(CATEGORIES),) * len(CATEGORIES), 1.0 if total > 0.0 else 0.0
        return tuple(score / inside for score in scores), outside / total


def read_labels(ready: HubModel, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a model's outputs in the order of its configuration's ``id2label``.

    They must be those the model is known by, in any order and case: another set means another
    model. Raises ``ModelError`` for that, for a gap in the numbers, for names that no alias knows
    (with the table of those that do), and where ``label2id`` says something else.
    """
    listed = config.get("id2label")
    try:
        numbered = {int(key): str(name).strip() for key, name in dict(listed or {}).items()}
    except (TypeError, ValueError):
        raise ModelError(f"{ready.name}: the id2label of its config.json is no list.") from None
    if not numbered or sorted(numbered) != list(range(len(numbered))):
        raise ModelError(
            f"{ready.name}: its config.json names no labels (id2label), and by their position"
            " alone nobody knows what the outputs mean."
        )
    names = tuple(numbered[index] for index in range(len(numbered)))
    _check_names(ready, names)
    _check_numbers(ready, names, config.get("label2id"))
    return names


def place_labels(ready: HubModel, names: Sequence[str]) -> Places:
    """Place each label of a model of categories; raises ``ModelError`` for an unknown one."""
    return Places(tuple(_place(ready, name) for name in names), ready.multi_label)


def place_dimensions(names: Sequence[str], values: Sequence[float]) -> Dimensions:
    """Map values of about 0 to 1 to dimensions in [-1, 1]; what lies beyond is cut off."""
    found = {
        name.casefold(): 2.0 * min(1.0, max(0.0, value)) - 1.0
        for name, value in zip(names, values, strict=True)
    }
    return Dimensions(**found)


def _check_names(ready: HubModel, names: Sequence[str]) -> None:
    wanted = {name.casefold() for name in ready.labels or ready.dimensions}
    found = {name.casefold() for name in names}
    if ready.labels:
        for name in names:
            if name.casefold() not in wanted:
                _place(ready, name)
    if found != wanted or len(names) != len(wanted):
        raise ModelError(
            f"{ready.name}: its config.json has the labels {', '.join(names)}, where the model"
            f" is known to have {', '.join(ready.labels or ready.dimensions)}."
        )


def _check_numbers(ready: HubModel, names: Sequence[str], numbers: object) -> None:
    if not isinstance(numbers, Mapping) or not numbers:
        return
    for index, name in enumerate(names):
        if str(numbers.get(name)) != str(index):
            raise ModelError(
                f"{ready.name}: in its config.json id2label says that output {index} is {name},"
                f" label2id that {name} is {numbers.get(name)}; one of them is wrong."
            )


def _place(ready: HubModel, name: str) -> int:
    try:
        if not ready.multi_label:
            category = place_label(name)
        elif name.casefold() in ready.labels:
            category = GOEMOTIONS.get(name.casefold())
        else:
            raise KeyError(name)
    except KeyError:
        raise ModelError(
            f"{ready.name}: no category is known by its label {name!r}; known are {alias_table()}."
        ) from None
    return -1 if category is None else CATEGORIES.index(category)
