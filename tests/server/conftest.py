"""What tests of the server are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.guarding import BOTH, LISTEN, SEND


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    """Write a file of tokens."""
    path = tmp_path / "tokens.txt"
    path.write_text(
        f"# who  may  token\nmeeting send,listen {BOTH}\nphone send {SEND} # of the hall\n\n"
        f"display listen {LISTEN}\n"
    )
    return str(path)
