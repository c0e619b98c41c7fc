"""What the tests of exports share."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamser.export.read import read_recording
from streamser.export.records import Recording
from tests.cli.running import run
from tests.cli.sounds import spoken, write


@pytest.fixture(scope="session")
def demo_events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the events of the first utterances of the demonstration, with all readings."""
    folder = tmp_path_factory.mktemp("demo")
    sound = write(folder / "demo.wav", spoken(7.0))
    events = folder / "talk.jsonl"
    done = run(
        *("analyze", sound, "--asr", "whisper", "--partials", "--offline"),
        *("--set", "asr.word_times=true", "--speakers", "off"),
        *("--format", "csv", "--export", events),
    )
    assert done.exit_code == 0, done.stderr
    return events


@pytest.fixture(scope="session")
def demo(demo_events: Path) -> Recording:
    """Return what was read of the demonstration."""
    return read_recording(demo_events)
