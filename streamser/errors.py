"""The errors a user can meet, each with one line that says what to do."""

from __future__ import annotations

__all__ = [
    "AudioError",
    "ConfigError",
    "ModelError",
    "StreamserError",
    "describe",
    "first_line",
]

_PLACES = 4


class StreamserError(Exception):
    """Tell a user in one line what went wrong and what to do about it.

    ``code`` is a stable snake_case word for programs (it is the ``code`` of error events);
    ``str(error)`` is the line for people.
    """

    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(" ".join(message.split()))
        if code is not None:
            self.code = code


class ConfigError(StreamserError):
    """Report a setting, flag or preset that cannot be used."""

    code = "invalid_config"


class AudioError(StreamserError):
    """Report a source of sound that cannot be opened or read on."""

    code = "invalid_audio"


class ModelError(StreamserError):
    """Report a model that is missing or cannot be run."""

    code = "model_unavailable"


def first_line(error: object) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def describe(error: BaseException) -> str:
    """Say in one line what failed and where, the innermost place first.

    Of errors that are not our own the message is left out: it may quote a token or a transcript.
    """
    import traceback
    from pathlib import Path

    kind = type(error).__name__
    if isinstance(error, StreamserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    frames = traceback.extract_tb(error.__traceback__)[-_PLACES:]
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames)]
    return f"{kind} at {' < '.join(places)}" if places else kind
