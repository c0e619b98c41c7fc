from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.S)
MOST_LINES = 180


def run_snippet(snippet: str, folder: Path) -> list[str]:
    """Run a snippet beside the bundled conversation; return its lines."""
    shutil.copy(ROOT / "streamser" / "assets" / "demo.flac", folder / "conversation.flac")
    run = subprocess.run(
        [sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_the_readme_decides_in_a_minute() -> None:
    """Whatever is longer stands in docs/."""
    assert len(README.splitlines()) <= MOST_LINES


def test_the_readme_shows_what_its_first_snippet_prints(tmp_path: Path) -> None:
    """When, and how it sounded; one line may differ where a machine computes otherwise."""
    (excerpt,) = re.findall(r"```text\n(.*?)```", README, re.S)
    told = {start: rest for start, *rest in map(str.split, run_snippet(SNIPPETS[0], tmp_path))}
    shown = {start: rest for start, *rest in map(str.split, excerpt.splitlines())}
    assert (len(told), len(shown)) == (24, 6)
    assert shown.keys() <= told.keys()
    assert sum(are_far(rest, told[start]) for start, rest in shown.items()) <= 1


def are_far(shown: list[str], told: list[str]) -> bool:
    """Return whether two lines differ in the category, or in a figure by more than .05."""
    figures = zip(shown[1:3], told[1:3], strict=True)
    return shown[0] != told[0] or any(abs(float(a) - float(b)) > 0.05 for a, b in figures)


def test_the_readme_hears_live_sound(tmp_path: Path) -> None:
    """Its second snippet tells the first utterance, and ends."""
    assert len(SNIPPETS) == 2
    (line,) = run_snippet(SNIPPETS[1], tmp_path)
    assert "begin the meeting" in line


def test_every_file_the_readme_points_to_exists() -> None:
    """Pictures and documents included."""
    for target in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", README):
        assert (ROOT / target).exists(), target


def test_the_figures_of_the_model_can_be_found_and_replaced() -> None:
    """They stand between two marks, as one table of three columns."""
    opening, end = "<!-- figures of the bundled model -->", "<!-- end of figures -->"
    rows = README.split(opening)[1].split(end)[0].strip().splitlines()
    assert len(rows) >= 3
    assert {row.count("|") for row in rows} == {4}


def test_importing_streamser_loads_nothing_heavy() -> None:
    """Neither torch nor transformers, nor anything that a command line would wait for."""
    code = "import sys, streamser; print(sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(re.findall(r"'([a-z_0-9]+)'", run.stdout))
    assert "streamser" in loaded
    assert not loaded & {"torch", "transformers", "numpy", "onnxruntime", "rich", "msgspec"}
