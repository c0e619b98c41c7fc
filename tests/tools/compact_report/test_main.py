from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from tests.data import shared_data
from tools.compact_report.__main__ import main
from tools.compact_report.sections import SECTIONS


def run(folder: Path, data: Path, models: tuple[Path, ...], *more: str) -> tuple[int, Path, Path]:
    """Run the command; return its exit code and the places of its reports."""
    out, figures = folder / "report.md", folder / "report.json"
    named = [word for model in models for word in ("--model", str(model))]
    code = main(["--data", str(data), *named, "--out", str(out), "--json", str(figures), *more])
    return code, out, figures


def test_a_quick_run_writes_every_section_and_all_its_figures(
    tmp_path: Path, made_data: Path, made_models: tuple[Path, Path]
) -> None:
    """Both reports say the same; two models are two seeds."""
    code, out, figures = run(tmp_path, made_data, made_models, "--quick")
    assert code == 0
    text, found = out.read_text(), msgspec.json.decode(figures.read_bytes())
    assert list(found["sections"]) == list(SECTIONS)
    for section in found["sections"].values():
        assert f"## {section['title']}" in text
        assert section["tables"]
        assert all(
            len(row) == len(table["heads"]) for table in section["tables"] for row in table["rows"]
        )
    assert not re.search(r"\bnan\b", text)
    assert "mean over 2 seeds" in text
    assert [model["name"] for model in found["provenance"]["models"]] == ["seed1", "seed2"]
    assert str(made_data.parent) not in text


@pytest.mark.parametrize(
    ("part", "complaint"),
    [
        ("data", "is no folder"),
        ("model", "config.json cannot be read"),
        ("section", "did you mean 'voice'"),
        ("corpus", "has no cremad_mel"),
        ("out", "cannot be written"),
    ],
)
def test_whatever_is_amiss_takes_one_line(
    part: str,
    complaint: str,
    tmp_path: Path,
    made_data: Path,
    made_models: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 1, no traceback."""
    data = {"data": tmp_path / "none", "corpus": tmp_path}.get(part, made_data)
    model = tmp_path if part == "model" else made_models[0]
    out = tmp_path
    if part == "out":
        out = tmp_path / "file"
        out.write_text("in the way")
    only = "voise" if part == "section" else "voice"
    code, _, _ = run(out, data, (model,), "--quick", "--only", only)
    assert code == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert complaint in said[0]


def test_real_corpora_are_read(tmp_path: Path, made_models: tuple[Path, Path]) -> None:
    """A few clips of each."""
    code, out, _ = run(
        tmp_path, shared_data(), made_models[:1], "--quick", "--only", "proxies,groups"
    )
    assert code == 0
    assert "| RAVDESS | female |" in out.read_text()
