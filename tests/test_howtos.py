"""The documents of docs/: their commands run, their links lead somewhere, nothing is left out."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest
import typer

from streamser.cli.main import app
from tests.cli.running import run
from tests.cli.test_train import TINY
from tests.training.corpora.made_up import lay_iemocap, lay_msp_podcast

DOCS = Path(__file__).parents[1] / "docs"
ROOT = DOCS.parent
MANUALS = (
    "../README.md",
    "getting-started.md",
    "listen.md",
    "settings.md",
    "server.md",
    "meeting-bots.md",
    "mcp.md",
    "agents.md",
    "cluster.md",
    "exports.md",
    "report.md",
    "loopback.md",
    "training.md",
    "corpora.md",
    "plugins.md",
)
PAGES = sorted(path.name for path in DOCS.glob("*.md"))


def commands(name: str) -> list[list[str]]:
    """Return the words of each streamser command in a document's shell blocks."""
    text = (DOCS / name).read_text(encoding="utf-8")
    found = []
    for kind, block in re.findall(r"```(sh|console)\n(.*?)```", text, re.S):
        for line in block.replace("|\n", "\n").splitlines():
            if kind == "console" and not line.startswith("$ "):
                continue
            words = shlex.split(line, comments=True)
            if "streamser" in words:
                own = words[words.index("streamser") + 1 :]
                found.append(list(takewhile(lambda word: word not in (">", "|", "&"), own)))
    return found


def headings(path: Path) -> set[str]:
    """Return the anchors of a document's headings."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", MANUALS)
def test_every_command_of_a_howto_can_be_typed(name: str) -> None:
    """Its options exist, and take what they are given."""
    typed = commands(name)
    assert typed
    for words in typed:
        command = typer.main.get_command(app)
        rest = words
        while hasattr(command, "commands") and rest and rest[0] in command.commands:
            command, rest = command.commands[rest[0]], rest[1:]
        alone = getattr(command, "invoke_without_command", False) and not rest
        assert alone or not hasattr(command, "commands"), words
        command.make_context("streamser", list(rest))


@pytest.mark.parametrize("name", PAGES)
def test_every_place_that_a_document_points_to_exists(name: str) -> None:
    """From where it stands: files, and headings of documents."""
    text = (DOCS / name).read_text(encoding="utf-8")
    for target, heading in re.findall(r"\]\((?!http|#)([^)#\s]+)(?:#([^)\s]+))?\)", text):
        assert (DOCS / target).exists(), target
        if heading and target.endswith(".md"):
            assert heading in headings(DOCS / target), (target, heading)


def test_the_index_leads_to_every_document() -> None:
    """Nothing is written that nobody finds."""
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([a-z-]+\.md)", index)) == set(PAGES) - {"README.md"}


def test_programs_that_read_documents_are_led_to_each_with_a_line_about_it() -> None:
    """``llms.txt``: a title, what it is, links by section (llmstxt.org); all lead somewhere."""
    title, empty, summary, *rest = (ROOT / "llms.txt").read_text("utf-8").splitlines()
    assert (title, empty, summary[:2]) == ("# streamser", "", "> ")
    listed = [line for line in rest if line.startswith("- ")]
    parts = [re.fullmatch(r"- \[([^]]+)\]\(([^)#]+)\): (\S.+)", line) for line in listed]
    assert all(parts), [line for line, part in zip(listed, parts, strict=True) if part is None]
    names = [part[2] for part in parts if part is not None]
    assert len(names) == len(set(names))
    assert {f"docs/{page}" for page in PAGES} <= set(names)
    for name in names:
        assert (ROOT / name).is_file(), name


def test_what_is_said_beside_others_is_what_the_readme_says() -> None:
    """The figures of our own; each source that is named is listed, and each listed is named."""
    text = (DOCS / "compared.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| streamser \| (UAR .*?) \|", text, re.M)
    figures = re.findall(r"\.\d{3}", row)
    assert len(figures) == 3
    assert all(re.search(rf"\| {re.escape(figure)} \[", readme) for figure in figures)
    claims, sources = text.split("## Sources")
    listed = set(re.findall(r"^- \[([A-Z]\d)\]", sources, re.M))
    named = set(re.findall(r"\b([HOP]\d)\b", claims))
    assert named == listed


def test_every_preset_is_in_the_tables_and_no_other() -> None:
    """Those of the program, and those of a training."""
    rows = re.findall(r"^\| `([a-z-]+)` \|", (DOCS / "settings.md").read_text("utf-8"), re.M)
    assert sorted(rows) == sorted(path.stem for path in (ROOT / "configs").glob("*.toml"))
    text = (DOCS / "training.md").read_text("utf-8")
    linked = re.findall(r"^\| \[`([a-z-]+)`\]", text, re.M)
    assert sorted(linked) == sorted(path.stem for path in (ROOT / "configs" / "train").glob("*"))


def test_the_map_of_the_house_names_what_is_there() -> None:
    """Files and packages, in the package or beside it; and each package is on a floor."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_*/]+(?:\.py|/))`", text))
    for name in named:
        assert any(any(where.glob(name)) for where in (ROOT / "streamser", ROOT)), name
    packages = {path.parent.name for path in (ROOT / "streamser").glob("*/__init__.py")}
    assert {f"{name}/" for name in packages} <= named


@pytest.mark.parametrize("corpus", ["IEMOCAP", "MSP-Podcast"])
def test_the_commands_for_a_corpus_lead_from_its_folder_to_figures(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On made-up trees, with a tiny model in place of the presets."""
    monkeypatch.chdir(_laid(tmp_path))
    typed = [words for words in _commands_for(corpus) if words[0] != "crossval"]
    assert {words[0] for words in typed} == {"corpus", "train", "evaluate"}
    for words in typed:
        _do(words, ("--bootstrap", "0", "--modality", "both") if words[0] == "evaluate" else ())
    out = "runs/fold1/evaluation" if corpus == "IEMOCAP" else "runs/msp/test2"
    assert "UAR" in (tmp_path / out / "evaluation.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["IEMOCAP", "MSP-Podcast"])
def test_the_cross_validations_of_a_corpus_run(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One system and one seed of each, on made-up trees."""
    monkeypatch.chdir(_laid(tmp_path))
    typed = _commands_for(corpus)
    _do(typed[0], ())
    for words in typed:
        if words[0] == "crossval":
            _do(words, ("--rows", "rmm", "--tasks", "both", "--seeds", "1", "--bootstrap", "100"))
            assert (tmp_path / words[words.index("--out") + 1] / "report.md").is_file()


def _laid(folder: Path) -> Path:
    """Lay both corpora, and settings of a training that ends at once."""
    lay_iemocap(folder / "IEMOCAP_full_release")
    lay_msp_podcast(folder / "MSP-Podcast")
    kinds = {"model.acoustic.kind": "compact", "model.text.kind": "compact"}
    tiny = kinds | dict(pair.split("=") for pair in TINY) | {"optimizer.epochs": "1"}
    lines = [f"{key} = {text if text.isdigit() else repr(text)}" for key, text in tiny.items()]
    (folder / "tiny.toml").write_text("\n".join(lines))
    return folder


def _commands_for(corpus: str) -> list[list[str]]:
    is_msp = corpus == "MSP-Podcast"
    return [
        words for words in commands("corpora.md") if any("msp" in each for each in words) == is_msp
    ]


def _do(words: list[str], more: tuple[str, ...]) -> None:
    asked = ["tiny.toml" if word in ("paper", "base") else word for word in words]
    result = run(*asked, *more)
    assert result.exit_code == 0, (words, result.stderr)
