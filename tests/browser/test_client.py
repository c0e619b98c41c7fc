"""The JavaScript client's book-keeping of sound, without a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")

SCRIPT = Path(__file__).with_name("sound.mjs")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_sound_is_lost_whatever_breaks(seed: int) -> None:
    """Random breaks and restarts: each frame is settled, or heard by the last server."""
    done = subprocess.run(
        ["node", str(SCRIPT), str(seed)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "500"


def test_what_is_said_to_a_server_that_loads_its_models_is_kept() -> None:
    """It is tried again every second, not ever more rarely, and then all is sent."""
    script = SCRIPT.with_name("loading.mjs")
    done = subprocess.run(
        ["node", str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {"waits": [1000] * 6, "loading": 6, "said": 800, "whole": True}


def test_what_a_server_cannot_tell_again_is_told() -> None:
    """Gaps in the numbers, but for what an overload stands for, and the server's own count."""
    script = SCRIPT.with_name("missed.mjs")
    done = subprocess.run(
        ["node", str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    told = [{"events": 2, "finals": 0}, {"events": 6, "finals": 1}]
    assert json.loads(done.stdout) == {"told": told, "stats": told[-1]}


@pytest.mark.parametrize("how", ["connect", "subscribe"])
def test_where_there_is_no_websocket_it_is_told(how: str) -> None:
    """Older versions of Node have none: an error says so at once, and nothing keeps running."""
    client = SCRIPT.parents[2] / "demo_client" / "streamser.js"
    lines = (
        "delete globalThis.WebSocket;",
        f"const client = await import({json.dumps(client.as_uri())});",
        f"try {{ client.{how}({{ url: 'ws://127.0.0.1:9' }}); }}",
        "catch (error) { console.log(error.message); }",
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-e", "\n".join(lines)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Node 22" in done.stdout
