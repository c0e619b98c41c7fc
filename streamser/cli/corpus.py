"""``streamser corpus``: from your own copy of a corpus to a manifest."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from streamser.cli.console import counted, tell, warn
from streamser.errors import ConfigError
from streamser.text import printable

if TYPE_CHECKING:
    from streamser.training.manifest import Item

app = typer.Typer(
    help="Turn your own copy of a corpus into a manifest, the table that trainings read.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Root = Annotated[Path, typer.Argument(metavar="ROOT", help="The top folder of your copy.")]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="The manifest to write.", readable=False),
]


class Choice(NamedTuple):
    """An option of a corpus: what it is for, and what may be chosen, the default first."""

    name: str
    help: str
    values: tuple[str, ...]


class Corpus(NamedTuple):
    """A corpus that can be read: its name on the command line, its help, its options."""

    name: str
    help: str
    choices: tuple[Choice, ...]


_CATEGORIES = Choice(
    "categories",
    "four: only utterances that are neutral, happy, sad or angry; all: the others too, without a"
    " category.",
    ("four", "all"),
)
CORPORA = (
    Corpus(
        "iemocap",
        "IEMOCAP: acted dialogues of ten actors.\n\nExcited counts as happy.",
        (
            Choice(
                "votes",
                "raters: their shares; summary: the corpus's label alone.",
                ("raters", "summary"),
            ),
            _CATEGORIES,
        ),
    ),
    Corpus(
        "msp-podcast",
        "MSP-Podcast: turns from podcasts, rated by many.",
        (
            Choice(
                "votes",
                "raters: their shares; consensus: the corpus's label alone.",
                ("raters", "consensus"),
            ),
            _CATEGORIES,
            Choice("test", "The test set to take.", ("test1", "test2", "test3", "all")),
        ),
    ),
    Corpus(
        "cremad",
        "CREMA-D: 91 actors, twelve sentences.\n\nRecordings, or ready-made spectrograms.",
        (
            Choice(
                "votes",
                "The raters who heard (voice), saw (face) or did both (av), or what the actor"
                " intended.",
                ("voice", "face", "av", "intended"),
            ),
            _CATEGORIES,
            Choice(
                "dimensions",
                "Which votes the proxies of the dimensions are from.",
                ("voice", "av", "none"),
            ),
        ),
    ),
    Corpus(
        "ravdess",
        "RAVDESS: 24 actors, two sentences.\n\nSpeech only, and all of it as a test set.",
        (
            Choice("calm", "Count calm as neutral, or leave it unlabelled.", ("neutral", "drop")),
            _CATEGORIES,
        ),
    ),
    Corpus("emodb", "Berlin EmoDB: ten German actors, ten sentences.", (_CATEGORIES,)),
    Corpus(
        "meld",
        "MELD: scenes of Friends, words and clips.\n\nWords alone where the clips are not there.",
        (
            Choice(
                "splits",
                "own: MELD's, in which the same actors speak in every split; none: no split, for"
                " folds by speaker.",
                ("own", "none"),
            ),
            _CATEGORIES,
        ),
    ),
    Corpus("emobank", "EmoBank: words with valence, arousal, dominance.", ()),
    Corpus("goemotions", "GoEmotions: comments with 27 emotions; words only.", (_CATEGORIES,)),
    Corpus("xed", "XED: film subtitles with eight emotions; words only.", (_CATEGORIES,)),
)


class SplitBy(StrEnum):
    """What is left out for the test."""

    SPEAKER = "speaker"
    SESSION = "session"
    GROUPS = "groups"


@app.callback()
def _corpus() -> None:
    """Turn your own copy of a corpus into a manifest, the table that trainings read."""


def _command_of(corpus: Corpus) -> Callable[..., None]:
    """Make the command that reads a corpus."""
    keyword = Parameter.KEYWORD_ONLY
    parameters = [
        Parameter("root", keyword, annotation=Root),
        Parameter("output", keyword, annotation=Output),
    ]
    for choice in corpus.choices:
        # An enum of its own for each: Typer shows its values, and refuses all others.
        values = StrEnum(choice.name, {each.upper(): each for each in choice.values})  # type: ignore[misc]
        option = typer.Option(f"--{choice.name}", help=choice.help)
        first = next(iter(values))
        parameters.append(
            Parameter(choice.name, keyword, default=first, annotation=Annotated[values, option])
        )

    def convert(root: Path, output: Path, **options: StrEnum) -> None:
        _convert(corpus.name, root, output, **{name: each.value for name, each in options.items()})

    # Typer reads a command's options from its signature.
    convert.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    convert.__annotations__ = {each.name: each.annotation for each in parameters}
    convert.__doc__ = corpus.help
    return convert


for _each in CORPORA:
    app.command(_each.name)(_command_of(_each))


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
        str | None,
        typer.Option(
            "--delimiter", metavar="SIGN", help="What is between cells. [, or a tab in .tsv]"
        ),
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
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Another seed, other pairs.")
    ] = 0,
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
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="N", help="Another seed, other groups.")
    ] = 0,
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

    items = read_corpus(name, root, **options)
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
