"""The JavaScript client's book-keeping of sound, without a browser."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

SCRIPT = Path(__file__).with_name("sound.mjs")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_sound_is_lost_whatever_breaks(seed: int) -> None:
    """Random breaks and restarts: each frame is settled, or heard by the last server."""
    done = subprocess.run(
        ["node", str(SCRIPT), str(seed)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "500"
