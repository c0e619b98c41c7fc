from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.S)


def test_the_readme_shows_both_ways_to_use_the_library() -> None:
    """The plain one and the one for event loops."""
    assert len(SNIPPETS) == 2
    assert "astream" in SNIPPETS[1]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["plain", "async"])
def test_a_snippet_runs_as_it_stands(snippet: str, tmp_path: Path) -> None:
    """A reader who copies it gets one line for each utterance."""
    shutil.copy(ROOT / "streamser" / "assets" / "demo.flac", tmp_path / "conversation.flac")
    run = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 24
    assert any(" angry" in line for line in lines)


def test_every_file_the_readme_points_to_exists() -> None:
    """Pictures and documents included."""
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_preset_is_in_the_readme_and_no_other() -> None:
    """The table of presets is true."""
    named = set(re.findall(r"^\| `([a-z-]+)` \|", README, re.M))
    assert named == {path.stem for path in (ROOT / "configs").glob("*.toml")}


def test_importing_streamser_loads_nothing_heavy() -> None:
    """Neither torch nor transformers, nor anything that a command line would wait for."""
    code = "import sys, streamser; print(sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(re.findall(r"'([a-z_0-9]+)'", run.stdout))
    assert "streamser" in loaded
    assert not loaded & {"torch", "transformers", "numpy", "onnxruntime", "rich", "msgspec"}
