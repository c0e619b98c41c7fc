"""A package of Whisper's weights in the place of the real one, or none at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from streamser.speech import whisper_files

__all__ = ["install_weights", "remove_weights"]

_NAME = "no_such_weights"


def remove_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no package of weights be found."""
    monkeypatch.setattr(whisper_files, "_MODULE", _NAME)


def install_weights(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch, *, published: bool = True
) -> Path:
    """Lay a model out as the package does; return its folder.

    ``published`` lets its bytes be those that are expected. Whoever imports it fails.
    """
    package = folder / _NAME
    shutil.copytree(model, package / "model")
    listed = package / "model" / "vocabulary.json"
    lines = "\n".join(json.loads(listed.read_text(encoding="utf-8")))
    listed.with_suffix(".txt").write_text(lines + "\n", encoding="utf-8")
    listed.unlink()
    (package / "__init__.py").write_text("raise RuntimeError('it is not to be imported')")
    sys.path_importer_cache.pop(str(folder), None)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(whisper_files, "_MODULE", _NAME)
    if published:
        found = hashlib.sha256((model / "model.bin").read_bytes()).hexdigest()
        monkeypatch.setattr(whisper_files, "_SHA256", found)
    return package / "model"
