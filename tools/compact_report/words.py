"""Words alone: categories on GoEmotions and XED, dimensions on EmoBank, and floors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from streamser.taxonomy import DIMENSIONS
from streamser.training.augment.augmenter import SoundAlikes, vocabulary_of
from streamser.training.corpora.registry import read_emobank, read_goemotions
from streamser.training.evaluation.metrics import ECE, MACRO_F1, UAR
from streamser.training.manifest import Item
from tools.compact_report.bench import Bench
from tools.compact_report.figures import UNSURE_SHARE, figures, pearson_of
from tools.compact_report.records import Cell, Section, Table
from tools.compact_report.texts import word_answers

if TYPE_CHECKING:
    from tools.compact.word_figures import Form, WordFigures
    from tools.compact.word_texts import HeldOut, WordCorpora

__all__ = ["held_out", "words_alone"]

_F1: Final = 0.70
_PEARSON: Final = (0.75, 0.50, 0.45)
_FORMS: Final = {
    "written": "as written",
    "plain": "lower case, no punctuation",
    "noisy": "that, 10 % of words lost, 10 % swapped",
}


def words_alone(bench: Bench) -> Section:
    """Measure words without any voice."""
    # Brings in torch, which nothing else here needs.
    from tools.compact.word_figures import FORMS, rendered
    from tools.compact.word_texts import read_words

    corpora = read_words(bench.data / "text")
    held = held_out(bench, corpora.test)
    alikes = SoundAlikes(vocabulary_of(text.text for text in corpora.train))
    floors = _floors(bench, corpora, held, alikes)
    categories: list[tuple[Cell, ...]] = []
    ratings: list[tuple[Cell, ...]] = []
    for form in FORMS:
        floor = floors[form]
        for title, items, lowest, goal in (
            ("GoEmotions", held.goemotions, floor.goemotions, _F1),
            ("XED", held.xed, floor.xed, None),
        ):
            runs = word_answers(bench, items, rendered(items, form, alikes), title.lower())
            measures = {"F1": MACRO_F1, "UAR": UAR, "ECE": ECE, "unsure": UNSURE_SHARE}
            found = figures(runs, measures, bench.plan)
            aimed = found["F1"].aimed(goal if form == "written" else None, floor=lowest.macro_f1)
            uar = found["UAR"].aimed(None, floor=lowest.uar)
            categories.append((title, _FORMS[form], aimed, uar, found["ECE"], found["unsure"]))
        runs = word_answers(bench, held.emobank, rendered(held.emobank, form, alikes), "emobank")
        rated = figures(
            runs, {name: pearson_of(column) for column, name in enumerate(DIMENSIONS)}, bench.plan
        )
        goals: Sequence[float | None] = _PEARSON if form == "written" else (None,) * 3
        row = [
            rated[name].aimed(goal, floor=lowest)
            for name, goal, lowest in zip(DIMENSIONS, goals, floor.pearson, strict=True)
        ]
        ratings.append(("EmoBank", _FORMS[form], *row))
    return Section(
        title="Words alone",
        text=f"Test texts of GoEmotions ({len(held.goemotions)} comments whose labels are all of "
        f"one category), XED ({len(held.xed)} subtitle lines, split by a hash of the text) and "
        f"EmoBank ({len(held.emobank)} sentences); none of them was learnt from. Lost and swapped "
        "words imitate a recogniser. Each text is a cluster of its own in the intervals. Floors: "
        "TF-IDF of words and pairs + logistic regression or ridge, fitted in this run on the "
        "training texts of GoEmotions and EmoBank alone.",
        tables=(
            Table(
                "Categories",
                ("corpus", "form", "macro-F1", "UAR", "ECE", "unsure"),
                tuple(categories),
            ),
            Table(
                "Pearson's correlation with ratings",
                ("corpus", "form", *DIMENSIONS),
                tuple(ratings),
            ),
        ),
    )


def held_out(bench: Bench, test: HeldOut) -> HeldOut:
    """Return as many test texts as the plan asks for."""
    most = bench.plan.texts
    return type(test)(*(items[:most] for items in test))


def _floors(
    bench: Bench, corpora: WordCorpora, held: HeldOut, alikes: SoundAlikes
) -> dict[Form, WordFigures]:
    from tools.compact.word_figures import FORMS, bag_of_words, floors, judge

    root, most = bench.data / "text", bench.plan.texts
    if most is None:
        return floors(corpora, root, alikes)
    few = bag_of_words(
        _training(read_goemotions(root))[: 10 * most],
        _training(read_emobank(root))[: 10 * most],
        1.0,
        1.0,
    )
    return {form: judge(few, held, form, alikes) for form in FORMS}


def _training(items: Sequence[Item]) -> list[Item]:
    return [item for item in items if item.split == "train"]
