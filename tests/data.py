"""Find the real recordings that the repository does not carry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["shared_data"]


def shared_data(part: str = "") -> Path:
    """Return the folder of real recordings, or skip the test and say why.

    Looks in ``$STREAMSER_DATA``, then in ``../shared/data`` beside the checkout.
    """
    root = os.environ.get("STREAMSER_DATA")
    folder = Path(root) if root else Path(__file__).parents[2] / "shared" / "data"
    if not (folder / part).exists():
        pytest.skip(f"real recordings not found: set STREAMSER_DATA (looked for {part or 'it'})")
    return folder / part
