"""``streamser corpus``: from your own copy of a corpus to a manifest."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamser.cli.talk import counted, tell, warn
from streamser.errors import ConfigError
from streamser.visible import printable

if TYPE_CHECKING:
    from streamser.training.manifest import Item

__all__ = ["app"]

app = typer.Typer(
    help="Turn your own copy of a corpus into a manifest, the table that trainings read.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Kept(StrEnum):
    """Which utterances are kept."""

    FOUR = "four"
    ALL = "all"


class CremadVotes(StrEnum):
    """Whose judgement is CREMA-D's label."""

    VOICE = "voice"
    FACE = "face"
    AV = "av"
    INTENDED = "intended"


class CremadProxies(StrEnum):
    """What CREMA-D's dimensions are inferred from."""

    VOICE = "voice"
    AV = "av"
    NONE = "none"


class IemocapVotes(StrEnum):
    """What IEMOCAP's label is made of."""

    RATERS = "raters"
    SUMMARY = "summary"


class MspVotes(StrEnum):
    """What MSP-Podcast's label is made of."""

    RATERS = "raters"
    CONSENSUS = "consensus"


class MspTest(StrEnum):
    """Which of MSP-Podcast's test sets is the test set."""

    TEST1 = "test1"
    TEST2 = "test2"
    TEST3 = "test3"
    ALL = "all"


class Calm(StrEnum):
    """What RAVDESS's calm is."""

    NEUTRAL = "neutral"
    DROP = "drop"


class MeldSplits(StrEnum):
    """Whether MELD keeps its own splits."""

    OWN = "own"
    NONE = "none"


class SplitBy(StrEnum):
    """What is left out for the test."""

    SPEAKER = "speaker"
    SESSION = "session"
    GROUPS = "groups"


Root = Annotated[Path, typer.Argument(metavar="ROOT", help="The top folder of your copy.")]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="The manifest to write.", readable=False),
]
Categories = Annotated[
    Kept,
    typer.Option(
        "--categories",
        help="four: only utterances that are neutral, happy, sad or angry; all: the others too, "
        "without a category.",
    ),
]


@app.callback()
def _corpus() -> None:
    """Turn your own copy of a corpus into a manifest, the table that trainings read."""


@app.command()
def iemocap(
    root: Root,
    output: Output,
    votes: Annotated[
        IemocapVotes,
        typer.Option("--votes", help="raters: their shares; summary: the corpus's label alone."),
    ] = IemocapVotes.RATERS,
    categories: Categories = Kept.FOUR,
) -> None:
    """IEMOCAP: acted dialogues of ten actors.

    Excited counts as happy.
    """
    _convert("iemocap", root, output, votes=votes, categories=categories)


@app.command("msp-podcast")
def msp_podcast(
    root: Root,
    output: Output,
    votes: Annotated[
        MspVotes,
        typer.Option("--votes", help="raters: their shares; consensus: the corpus's label alone."),
    ] = MspVotes.RATERS,
    categories: Categories = Kept.FOUR,
    test: Annotated[MspTest, typer.Option("--test", help="The test set to take.")] = MspTest.TEST1,
) -> None:
    """MSP-Podcast: turns from podcasts, rated by many."""
    _convert("msp-podcast", root, output, votes=votes, categories=categories, test=test)


@app.command()
def cremad(
    root: Root,
    output: Output,
    votes: Annotated[
        CremadVotes,
        typer.Option(
            "--votes",
            help="The raters who heard (voice), saw (face) or did both (av), or what the actor "
            "intended.",
        ),
    ] = CremadVotes.VOICE,
    categories: Categories = Kept.FOUR,
    dimensions: Annotated[
        CremadProxies,
        typer.Option("--dimensions", help="Which votes the proxies of the dimensions are from."),
    ] = CremadProxies.VOICE,
) -> None:
    """CREMA-D: 91 actors, twelve sentences.

    Recordings, or ready-made spectrograms.
    """
    _convert("cremad", root, output, votes=votes, categories=categories, dimensions=dimensions)


@app.command()
def ravdess(
    root: Root,
    output: Output,
    calm: Annotated[
        Calm, typer.Option("--calm", help="Count calm as neutral, or leave it unlabelled.")
    ] = Calm.NEUTRAL,
    categories: Categories = Kept.FOUR,
) -> None:
    """RAVDESS: 24 actors, two sentences.

    Speech only, and all of it as a test set.
    """
    _convert("ravdess", root, output, calm=calm, categories=categories)


@app.command()
def emodb(root: Root, output: Output, categories: Categories = Kept.FOUR) -> None:
    """Berlin EmoDB: ten German actors, ten sentences."""
    _convert("emodb", root, output, categories=categories)


@app.command()
def meld(
    root: Root,
    output: Output,
    splits: Annotated[
        MeldSplits,
        typer.Option(
            "--splits",
            help="own: MELD's, in which the same actors speak in every split; none: no split, "
            "for folds by speaker.",
        ),
    ] = MeldSplits.OWN,
    categories: Categories = Kept.FOUR,
) -> None:
    """MELD: scenes of Friends, words and clips.

    Words alone where the clips are not there.
    """
    _convert("meld", root, output, splits=splits, categories=categories)


@app.command()
def emobank(root: Root, output: Output) -> None:
    """EmoBank: words with valence, arousal, dominance."""
    _convert("emobank", root, output)


@app.command()
def goemotions(root: Root, output: Output, categories: Categories = Kept.FOUR) -> None:
    """GoEmotions: comments with 27 emotions; words only."""
    _convert("goemotions", root, output, categories=categories)


@app.command()
def xed(root: Root, output: Output, categories: Categories = Kept.FOUR) -> None:
    """XED: film subtitles with eight emotions; words only."""
    _convert("xed", root, output, categories=categories)


@app.command("csv")
def table(
    file: Annotated[Path, typer.Argument(metavar="TABLE", help="A CSV or TSV with a header.")],
    output: Output,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="OURS=THEIRS",
            help="Where a column of the manifest comes from, such as text=sentence; "
            "category=COLUMN for label names; repeat.",
        ),
    ] = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", metavar="NAME", help="What the corpus is called.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option("--scale", metavar="LOW:HIGH", help="The scale of the ratings.")
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option("--delimiter", help="What is between cells. [, or a tab in .tsv]")
    ] = None,
) -> None:
    """Any other table: name its columns."""
    pairs = [pair.partition("=") for pair in columns or ()]
    wrong = next((ours + sign + theirs for ours, sign, theirs in pairs if not theirs), None)
    if wrong is not None:
        raise ConfigError(f"--map {wrong}: write OURS=THEIRS, such as text=sentence.")
    _convert(
        "csv",
        file,
        output,
        columns={ours: theirs for ours, _, theirs in pairs},
        corpus=corpus,
        scale=scale,
        delimiter=delimiter,
    )


@app.command()
def pair(
    voices: Annotated[Path, typer.Argument(metavar="VOICES", help="A manifest with sound.")],
    words: Annotated[list[Path], typer.Argument(metavar="WORDS...", help="Manifests with text.")],
    output: Output,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, other pairs.")] = 0,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, metavar="N", help="Texts for each voice.")
    ] = 1,
) -> None:
    """Join voices with words of the same category.

    Neither a speaker nor a text is in two splits. Voices need a split; words without one get
    it by a hash. What this makes too easy is told in streamser/training/folds.py.
    """
    from streamser.training.folds import pair as paired
    from streamser.training.manifest import read_manifest, write_manifest

    texts = [item for path in words for item in read_manifest(path)]
    items = paired(read_manifest(voices), texts, seed=seed, repeats=repeats)
    write_manifest(items, output)
    _tell_of(items, output)


@app.command()
def split(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="What to part.")],
    output: Output,
    by: Annotated[
        SplitBy, typer.Option("--by", help="What is left out for the test: see crossval.")
    ] = SplitBy.GROUPS,
    groups: Annotated[
        int, typer.Option("--groups", min=3, metavar="K", help="Groups of speakers.")
    ] = 5,
    fold: Annotated[
        str | None, typer.Option("--fold", metavar="NAME", help="Which fold. [the first]")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, other groups.")] = 0,
) -> None:
    """Part speakers into train, dev and test.

    For corpora that have no splits of their own; no speaker is in two.
    """
    from streamser.training.folds import folds
    from streamser.training.manifest import read_manifest, write_manifest

    made = {
        each.name: each for each in folds(read_manifest(manifest), by.value, k=groups, seed=seed)
    }
    chosen = made.get(fold) if fold is not None else next(iter(made.values()))
    if chosen is None:
        raise ConfigError(f"--fold {fold}: there is no such fold; there are {', '.join(made)}.")
    items = chosen.as_splits()
    write_manifest(items, output)
    _tell_of(items, output)


@app.command()
def show(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="What to look at.")],
) -> None:
    """Count what is in a manifest.

    By corpus and split; missing files are named.
    """
    from streamser.training.manifest import read_manifest

    items = read_manifest(manifest)
    _print_counts(items)
    _warn_of_missing(items)


def _convert(name: str, root: Path, output: Path, **options: Any) -> None:
    from streamser.training.corpora.registry import read_corpus
    from streamser.training.manifest import write_manifest

    plain = {
        key: value.value if isinstance(value, StrEnum) else value for key, value in options.items()
    }
    items = read_corpus(name, root, **plain)
    write_manifest(items, output)
    _tell_of(items, output)
    _warn_of_missing(items)


def _tell_of(items: Sequence[Item], output: Path) -> None:
    from streamser.taxonomy import CATEGORIES

    found = Counter(item.category for item in items)
    kinds = ", ".join(f"{found[name]} {name}" for name in CATEGORIES)
    speakers = len({(item.corpus, item.speaker) for item in items if item.has_sound})
    voices = f" of {counted(speakers, 'speaker')}" if speakers else ""
    tell(
        f"{output}: {counted(len(items), 'utterance')}{voices}: {kinds}, "
        f"{found[None]} without a category."
    )


def _warn_of_missing(items: Sequence[Item]) -> None:
    from streamser.training.manifest import missing_files

    missing = missing_files(items)
    if missing:
        warn(f"{counted(len(missing), 'file')} missing, such as {missing[0]}.")


def _print_counts(items: Sequence[Item]) -> None:
    import math

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from streamser.taxonomy import CATEGORIES, DIMENSIONS

    heads = ("corpus", "split", "utterances", "speakers", "sound", "words")
    parts: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        parts.setdefault((item.corpus, item.split), []).append(item)
    table = Table(box=box.SIMPLE_HEAD)
    for place, head in enumerate((*heads, *CATEGORIES, "no category", *DIMENSIONS)):
        table.add_column(head, justify="left" if place < 2 else "right", overflow="fold")
    for (corpus, split), part in parts.items():
        found = Counter(item.category for item in part)
        numbers = (
            len(part),
            len({item.speaker for item in part}),
            sum(item.has_sound for item in part),
            sum(item.text is not None for item in part),
            *(found[name] for name in (*CATEGORIES, None)),
            *(
                sum(not math.isnan(item.dimensions[place]) for item in part)
                for place in range(len(DIMENSIONS))
            ),
        )
        table.add_row(Text(printable(corpus)), Text(printable(split or "–")), *map(str, numbers))
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
