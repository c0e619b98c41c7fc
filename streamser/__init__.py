"""Real-time speech-emotion analysis: sound in, typed emotion events out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamser.events import decode_event, encode_event
    from streamser.export.read import read_recording, read_session
    from streamser.runtime.analyzer import Analyzer
    from streamser.settings import Settings
    from streamser.settings_loader import load_settings

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
    "Analyzer": "streamser.runtime.analyzer",
    "Settings": "streamser.settings",
    "load_settings": "streamser.settings_loader",
    "decode_event": "streamser.events",
    "encode_event": "streamser.events",
    "read_recording": "streamser.export.read",
    "read_session": "streamser.export.read",
}


def __getattr__(name: str) -> Any:
    # Importing the package must stay cheap: nothing is loaded before it is asked for.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
