"""A recording keeps what it can: events without the sound, and sound without the events."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser.cli.live.sinks import RecordSink
from tests.export.script import Script

if sys.platform == "win32":
    pytest.skip("limits of POSIX", allow_module_level=True)
else:
    import resource


def test_sound_goes_on_where_events_have_no_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It can be analysed again; one line says what is not whole. The limit plays a full disk."""
    script = Script()
    script.say(1000, 2000, "hello")
    recording = RecordSink(tmp_path / "kept")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        for event in script.close():
            recording.take(event)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    recording.hear(np.zeros(16_000, np.float32))
    recording.close()
    assert not recording.complete
    assert soundfile.info(tmp_path / "kept" / "audio.flac").frames == 16_000
    (line,) = capsys.readouterr().err.splitlines()
    assert "session.jsonl: File too large" in line
