"""Lay out a corpus on disk as its authors do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["lay", "sounds"]


def lay(root: Path, files: Mapping[str, str], encoding: str = "utf-8") -> Path:
    """Write text files under a folder, by their paths in it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding=encoding)
    return root


def sounds(root: Path, *names: str) -> Path:
    """Put empty files where recordings would be; readers only look at their names."""
    return lay(root, dict.fromkeys(names, ""))
