"""An evaluation as a record, as Markdown and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from streamser.text import printable
from streamser.training.evaluation.bootstrap import Estimate
from streamser.training.evaluation.scores import CategoryScores, GroupedScores, Scores, figures
from streamser.training.manifest import Item

if TYPE_CHECKING:
    from rich.table import Table

_FEW = 20
_DASH = "–"


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


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Say what was measured, by what and on what; files go by their names alone.

    Hashes are the first 16 hexadecimal digits of SHA-256: ``weights_sha256`` is that of the file
    of weights, or of the SHA-256 of several, one a line; empty where nobody knows the weights.
    ``origin`` says where a model is from that is no checkpoint, ``threads`` of ``None`` are those
    that a plug-in takes. ``taught`` counts utterances of what the model was taught, by corpus.
    ``calibrations`` maps each set of modalities to what its calibration was fitted on; ``told``:
    the answers are those of the program, whatever calibrates them. ``skipped`` counts unreadable
    clips.
    """

    manifest: str
    manifest_sha256: str
    split: str
    items: int
    speakers: int
    skipped: int
    checkpoint: str
    weights_sha256: str
    calibrations: dict[str, str]
    seed: int
    replicates: int
    noise: str
    command: str
    cpu: str
    threads: int | None
    device: str
    versions: dict[str, str]
    origin: str = ""
    told: bool = False
    taught: dict[str, int] = {}

    @property
    def taught_line(self) -> str:
        """Say how many utterances the model was taught; empty where none is known to be."""
        if not self.taught:
            return ""
        return (
            f"{sum(self.taught.values())} of {self.items} utterances are of what the model was"
            f" taught ({', '.join(self.taught)}): of voices and words that it does not know, it is"
            " right less often"
        )


class Entry(msgspec.Struct, frozen=True):
    """Hold what came out under one condition."""

    condition: Condition
    result: GroupedScores


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a whole evaluation; the first entry is the headline."""

    provenance: Provenance
    entries: tuple[Entry, ...]


def encode(evaluation: Evaluation) -> bytes:
    """Write an evaluation as JSON; figures that are not defined are ``null``."""
    return msgspec.json.format(msgspec.json.encode(evaluation), indent=2) + b"\n"


def plain(estimate: Estimate, *, percent: bool = False) -> str:
    """Write a figure with its interval: ``75.8 [73.1, 78.0]`` or ``0.748 [0.720, 0.771]``."""

    def write(value: float) -> str:
        return f"{100 * value:.1f}" if percent else f"{value:.3f}"

    if estimate.value is None:
        return _DASH
    if estimate.low is None or estimate.high is None:
        return write(estimate.value)
    return f"{write(estimate.value)} [{write(estimate.low)}, {write(estimate.high)}]"


def summary(evaluation: Evaluation) -> Table:
    """Return the headline figures of each condition as a table for the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heads, rows = _overview([(e.condition.title, e.result.overall) for e in evaluation.entries])
    table = Table(box=box.SIMPLE_HEAD)
    for head in heads:
        table.add_column(head, justify="left" if head == "condition" else "right")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def markdown(evaluation: Evaluation, plots: Sequence[tuple[str, str]] = ()) -> str:
    """Write an evaluation for people; ``plots`` are titles and file names of pictures."""
    headline = evaluation.entries[0]
    lines = [
        f"# {evaluation.provenance.checkpoint} on {evaluation.provenance.manifest}",
        "",
        *_preamble(evaluation.provenance, headline.result.overall),
        "",
        "## Conditions",
        "",
        *_table(*_overview([(e.condition.title, e.result.overall) for e in evaluation.entries])),
        "",
    ]
    for entry in evaluation.entries:
        # Noise is a row above; its every detail would bury the rest.
        if entry.condition.snr_db is None:
            lines += _details(entry)
    lines += [line for title, file in plots for line in (f"![{title}]({file})", "")]
    return "\n".join(lines).rstrip() + "\n"


def _preamble(provenance: Provenance, overall: Scores) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    lines = [
        f"- data: {provenance.manifest} (SHA-256 {provenance.manifest_sha256}), "
        f"{provenance.split}: {provenance.items} utterances, {provenance.speakers} speakers"
        + (f"; {provenance.skipped} unreadable, left out" if provenance.skipped else ""),
        f"- checkpoint: {provenance.checkpoint}{_origin(provenance)}",
        *(
            f"- calibration of {name}: {words or 'fitted on unnamed data'}"
            for name, words in provenance.calibrations.items()
        ),
        *([f"- **{provenance.taught_line}.**"] if provenance.taught else []),
        f"- command: `{provenance.command}`",
        f"- machine: {provenance.cpu}, {_threads(provenance.threads)}{provenance.device}",
        f"- versions: {versions}",
        f"- UAR, WAR and macro-F1 in percent. In brackets: 95 % intervals, percentiles of "
        f"{provenance.replicates} draws of speakers with replacement (seed {provenance.seed})."
        if provenance.replicates
        else f"- UAR, WAR and macro-F1 in percent; no intervals. Seed {provenance.seed}.",
    ]
    if provenance.replicates:
        lines.append(
            "- The interval of an ECE lies rather high: drawing speakers adds scatter, and ECE "
            "counts scatter as error."
        )
    if provenance.told:
        lines.append(
            "- Answers are measured as the program tells them, calibrated where the model is:"
            " calibrated and raw figures are equal."
        )
    elif not provenance.calibrations:
        lines.append("- The checkpoint holds no calibration: calibrated and raw figures are equal.")
    if provenance.noise:
        lines.append(f"- noise: {provenance.noise}")
    if provenance.replicates and overall.speakers < _FEW:
        lines.append(
            f"- **{overall.speakers} speakers only: the intervals are rough, and rather too "
            "narrow than too wide** (Cameron, Gelbach & Miller 2008)."
        )
    return lines


def _origin(provenance: Provenance) -> str:
    digest = provenance.weights_sha256
    told = [provenance.origin, f"weights SHA-256 {digest}" if digest else ""]
    known = [each for each in told if each]
    return f" ({'; '.join(known)})" if known else ""


def _threads(count: int | None) -> str:
    return "" if count is None else f"{count} thread{'s' if count > 1 else ''}, "


def _overview(named: Sequence[tuple[str, Scores]]) -> tuple[list[str], list[list[str]]]:
    tables = [figures(scores) for _, scores in named]
    names = list(dict.fromkeys(name for table in tables for name in table))
    rows = [
        [
            title,
            str(scores.items),
            str(scores.speakers),
            *(
                plain(table[name], percent=not name.startswith("CCC")) if name in table else _DASH
                for name in names
            ),
        ]
        for (title, scores), table in zip(named, tables, strict=True)
    ]
    return ["condition", "utterances", "speakers", *names], rows


def _details(entry: Entry) -> list[str]:
    result = entry.result
    overall = result.overall
    lines = [f"## {entry.condition.title[0].upper()}{entry.condition.title[1:]}", ""]
    if overall.classes is not None:
        lines += _confusion(result.categories, overall.classes)
        lines += _trust(overall.classes)
    if overall.dimensions:
        heads = ["dimension", "rated", "CCC", "MAE", "CCC, mapped", "MAE, mapped"]
        rows = [
            [
                name,
                str(each.rated),
                *map(plain, (each.ccc, each.mae, each.mapped_ccc, each.mapped_mae)),
            ]
            for name, each in overall.dimensions.items()
        ]
        lines += ["Dimensions on the scale of 0 to 1:", "", *_table(heads, rows), ""]
    if result.folds:
        rows = [
            [name, _fold(name, each.mean), _fold(name, each.sd), str(each.folds)]
            for name, each in result.folds.items()
        ]
        lines += ["Over folds:", "", *_table(["figure", "mean", "sd", "folds"], rows), ""]
    if len(result.corpora) > 1:
        lines += _groups("corpus", result.corpora)
    if len(result.speakers) > 1:
        lines += ["<details><summary>By speaker</summary>", ""]
        lines += [*_groups("speaker", result.speakers), "</details>", ""]
    return lines


def _confusion(categories: Sequence[str], classes: CategoryScores) -> list[str]:
    heads = ["true \\ answered", *categories, "support", "recall"]
    rows = [
        [
            name,
            *map(str, row),
            str(sum(row)),
            f"{100 * row[i] / sum(row):.1f}" if any(row) else _DASH,
        ]
        for i, (name, row) in enumerate(zip(categories, classes.confusion, strict=True))
    ]
    commonest = max(sum(row) for row in classes.confusion) / classes.labelled
    occurring = sum(any(row) for row in classes.confusion)
    return [
        *_table(heads, rows),
        "",
        f"Always the commonest category would be a WAR of {100 * commonest:.1f} and a UAR of "
        f"{100 / occurring:.1f}.",
        "",
    ]


def _trust(classes: CategoryScores) -> list[str]:
    kinds = (("raw", classes.raw), ("calibrated", classes.calibrated))
    rows = [
        [name, *(plain(getattr(each, figure)) for figure in each.__struct_fields__)]
        for name, each in kinds
    ]
    heads = ["probabilities", "NLL", "ECE", "Brier", "cross-entropy to votes", "KL to votes"]
    return [
        *_table(heads, rows),
        "",
        f"Named rather than called `unsure`: {plain(classes.coverage, percent=True)} % of the "
        f"labelled utterances; right among those: {plain(classes.precision, percent=True)} %.",
        "",
    ]


def _groups(kind: str, groups: dict[str, Scores]) -> list[str]:
    heads, rows = _overview(list(groups.items()))
    return [*_table([kind, *heads[1:]], rows), ""]


def _fold(name: str, value: float | None) -> str:
    return plain(Estimate(value), percent=not name.startswith("CCC"))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    body = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in body]
