"""The sound of a session, as text that a page can hold."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Final

import msgspec

from streamser.errors import StreamserError

__all__ = ["Clip", "read_clip"]

_KINDS: Final = {
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".mp4": "audio/mp4",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".webm": "audio/webm",
}
_MOST_BYTES: Final = 100_000_000


class Clip(msgspec.Struct, frozen=True):
    """Hold sound for the page: as a ``data:`` address, and whose clock it has.

    ``session_id`` ``None``: that of the whole report.
    """

    label: str
    uri: str
    session_id: str | None = None


def read_clip(path: Path, label: str, session_id: str | None = None) -> Clip:
    """Read a file as it is; raise ``StreamserError`` for what browsers do not play, or is big."""
    kind = _KINDS.get(path.suffix.lower())
    advice = f"turn it into MP3 (ffmpeg -i {path.name} -b:a 48k {path.stem}.mp3) and name that."
    if kind is None:
        raise StreamserError(
            f"{path}: browsers do not play such files; {advice}", code="unsupported_audio"
        )
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise StreamserError(
                f"{path}: {size // 1_000_000} MB are too much for a page; {advice}",
                code="audio_too_big",
            )
        data = path.read_bytes()
    except OSError as error:
        why = error.strerror or error
        raise StreamserError(f"{path}: {why}.", code="file_not_found") from None
    return Clip(label, f"data:{kind};base64,{b64encode(data).decode()}", session_id)
