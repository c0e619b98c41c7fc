"""The systems that the paper's Table 2 compares, made from one training's settings."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from streamser.errors import ConfigError
from streamser.training.settings import TrainSettings

__all__ = [
    "PAPER",
    "PAPER_ROWS",
    "ROWS",
    "TASKS",
    "PaperRow",
    "Row",
    "System",
    "systems",
    "title_of",
]

TASKS: Final = ("both", "category", "dimension")


class Row(msgspec.Struct, frozen=True):
    """Name one row of the grid, and say in words what it adds."""

    name: str
    title: str


ROWS: Final = (
    Row("baseline", "baseline"),
    Row("self-attention", "+ self-attention"),
    Row("cross-attention", "+ cross-attention"),
    Row("bridge-tokens", "+ bridge tokens"),
    Row("rmm", "+ RMM"),
    Row("same-kv", "bridge tokens, K = V"),
    Row("concat", "refined means, concatenated"),
    Row("voice", "voice only"),
    Row("words", "words only"),
)
"""The paper's five rows, and four that it lacks (paper §4, Table 2)."""

PAPER_ROWS: Final = ("baseline", "self-attention", "cross-attention", "bridge-tokens", "rmm")


class PaperRow(msgspec.Struct, frozen=True):
    """Hold what the paper reports for a row: percent and CCC, ``None`` where it has no figure."""

    uar: float | None = None
    war: float | None = None
    valence: float | None = None
    arousal: float | None = None


PAPER: Final = {
    ("baseline", "both"): PaperRow(69.43, 67.22, 0.637, 0.674),
    ("baseline", "category"): PaperRow(67.12, 65.5),
    ("baseline", "dimension"): PaperRow(None, None, 0.617, 0.675),
    ("self-attention", "both"): PaperRow(73.92, 73.01, 0.737, 0.676),
    ("self-attention", "category"): PaperRow(74.17, 72.9),
    ("self-attention", "dimension"): PaperRow(None, None, 0.711, 0.687),
    ("cross-attention", "both"): PaperRow(74.68, 74.69, 0.738, 0.685),
    ("cross-attention", "category"): PaperRow(74.29, 73.6),
    ("cross-attention", "dimension"): PaperRow(None, None, 0.718, 0.686),
    ("bridge-tokens", "both"): PaperRow(75.71, 74.60, 0.748, 0.677),
    ("bridge-tokens", "category"): PaperRow(74.02, 73.05),
    ("bridge-tokens", "dimension"): PaperRow(None, None, 0.714, 0.698),
    ("rmm", "both"): PaperRow(75.79, 74.38, 0.744, 0.679),
}
"""Table 2 of arXiv 2401.00536: HuBERT-large and DeBERTaV3-large on IEMOCAP, 10 folds."""


class System(msgspec.Struct, frozen=True):
    """Hold one system of the grid: a row, its task, and the settings that train it."""

    row: str
    task: str
    settings: TrainSettings

    @property
    def name(self) -> str:
        """Return a name that can stand in a path, such as ``bridge-tokens.both``."""
        return f"{self.row}.{self.task}"

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return what the system takes in: ``audio``, ``text`` or both."""
        model = self.settings.model
        found = (("audio", model.acoustic), ("text", model.text))
        return tuple(name for name, part in found if part is not None)


def title_of(row: str) -> str:
    """Return the words for a row's name."""
    return next(known.title for known in ROWS if known.name == row)


def systems(settings: TrainSettings, rows: tuple[str, ...], tasks: tuple[str, ...]) -> list[System]:
    """Make the systems of some rows and tasks; each differs from ``settings`` in its row alone.

    Every row but ``rmm`` trains without Random Modality Masking. ``rmm`` is ``bridge-tokens``
    with it. The rows that the paper lacks are made for both tasks together alone, where those
    are asked for. Raises ``ConfigError`` for a row or task that there is not, or where the
    settings lack what a row needs.
    """
    if not rows or not tasks:
        raise ConfigError("no row or no task of the grid is named.")
    for asked, known, what in (
        (rows, tuple(row.name for row in ROWS), "row"),
        (tasks, TASKS, "task"),
    ):
        for name in asked:
            if name not in known:
                raise ConfigError(f"no {what} is called {name!r}; there are {', '.join(known)}.")
    return [
        System(row, task, _for_task(_for_row(settings, row), task))
        for row in rows
        for task in tasks
        if row in PAPER_ROWS or task == "both" or "both" not in tasks
    ]


def _for_row(settings: TrainSettings, row: str) -> TrainSettings:
    model, fusion = settings.model, settings.model.fusion
    if row != "words" and model.acoustic is None:
        raise ConfigError(f"the row {row!r} needs model.acoustic.")
    if row != "voice" and model.text is None:
        raise ConfigError(f"the row {row!r} needs model.text.")
    refinement = max(1, fusion.refinement)
    masking = replace(settings.masking, mode="none")
    tokens = fusion.bridge_tokens
    if row in ("bridge-tokens", "rmm", "same-kv") and not tokens:
        raise ConfigError(f"the row {row!r} needs model.fusion.bridge_tokens above 0.")
    match row:
        case "baseline":
            fusion = replace(fusion, mode="mixed_kv", refinement=0, cross_attention=False)
        case "self-attention" | "voice" | "words":
            fusion = replace(fusion, mode="mixed_kv", refinement=refinement, cross_attention=False)
        case "cross-attention":
            fusion = replace(
                fusion,
                mode="mixed_kv",
                refinement=refinement,
                cross_attention=True,
                bridge_tokens=0,
            )
        case "bridge-tokens" | "rmm":
            fusion = replace(fusion, mode="mixed_kv", refinement=refinement, cross_attention=True)
        case "same-kv":
            fusion = replace(fusion, mode="same_kv", refinement=refinement, cross_attention=True)
        case "concat":
            fusion = replace(fusion, mode="concat", refinement=refinement, cross_attention=False)
    if row == "rmm":
        masking = replace(masking, mode="epoch")
    if row == "voice":
        model = replace(model, text=None)
    if row == "words":
        model = replace(model, acoustic=None)
    return replace(settings, model=replace(model, fusion=fusion), masking=masking)


def _for_task(settings: TrainSettings, task: str) -> TrainSettings:
    heads = settings.model.heads
    if task != "dimension" and not heads.categories:
        raise ConfigError(f"the task {task!r} needs model.heads.categories.")
    if task != "category" and not heads.dimensions:
        raise ConfigError(f"the task {task!r} needs model.heads.dimensions.")
    match task:
        case "category":
            heads = replace(heads, dimensions=())
        case "dimension":
            heads = replace(heads, categories=())
    return replace(settings, model=replace(settings.model, heads=heads))
