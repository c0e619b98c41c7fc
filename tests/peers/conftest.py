from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tests.cli.running import DEMO, start
from tests.peers.peer import TOKEN

SECONDS = 17.9
"""Five utterances of the bundled conversation; the sixth has not begun."""


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Serve with everything on board, and give the place as ``host:port``."""
    # No utterance may end by itself that a client has to end.
    with serving("asr.word_times=true", "endpointing.no_sound_ms=30000") as place:
        yield place


@pytest.fixture(scope="session")
def hasty() -> Iterator[str]:
    """Serve likewise, and send those away who say nothing for two seconds."""
    with serving("server.idle_s=2") as place:
        yield place


@contextmanager
def serving(*settings: str) -> Iterator[str]:
    """Serve with these settings, and see that the server ends well."""
    child = start(
        *("serve", "--port", "0", "--config", "embedded"),
        *(word for setting in settings for word in ("--set", setting)),
        env=os.environ | {"STREAMSER_TOKENS": f"peers send {TOKEN}"},
    )
    assert child.stderr is not None
    told = []
    for line in child.stderr:
        told.append(line)
        if match := re.match(r"Serving http://(\S+)/ ", line):
            break
    else:
        pytest.fail(f"the server did not come up: {''.join(told)}")
    try:
        yield match[1]
    finally:
        child.terminate()
        rest = child.communicate(timeout=60)[1]
    assert child.returncode == 0
    assert "Traceback" not in rest


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Give the demo's first utterances as raw s16le of a rate in Hz, silence behind them."""
    folder = tmp_path_factory.mktemp("sound")

    def write(rate: int) -> Path:
        path = folder / f"{rate}.raw"
        if not path.exists():
            own, frames = 16_000, round(SECONDS * 16_000)
            samples, own = soundfile.read(DEMO, frames=frames, dtype="float32")
            padded = np.concatenate([samples, np.zeros(3 * own // 2, np.float32)])
            path.write_bytes(np.rint(soxr.resample(padded, own, rate) * 32_767).astype("<i2"))
        return path

    return write


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the whole conversation as raw s16le at 16 kHz."""
    samples, rate = soundfile.read(DEMO, dtype="int16")
    assert rate == 16_000
    path: Path = tmp_path_factory.mktemp("talk") / "talk.raw"
    path.write_bytes(samples.astype("<i2").tobytes())
    return path
