"""Real-time speech-emotion analysis: sound in, typed emotion events out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamser.config import Settings, load_settings
    from streamser.events import decode_event, encode_event
    from streamser.export.frame import read_session
    from streamser.export.read import read_recording
    from streamser.pipeline.analyzer import Analyzer

__all__ = [
    "Analyzer",
    "Settings",
    "__version__",
    "decode_event",
    "encode_event",
    "load_settings",
    "read_recording",
    "read_session",
]

__version__ = "0.1.0"

_HOMES = {
    "Analyzer": "streamser.pipeline.analyzer",
    "Settings": "streamser.config",
    "load_settings": "streamser.config",
    "decode_event": "streamser.events",
    "encode_event": "streamser.events",
    "read_recording": "streamser.export.read",
    "read_session": "streamser.export.frame",
}


def __getattr__(name: str) -> Any:
    # Importing the package must stay cheap: nothing is loaded before it is asked for.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
