"""The errors a user can meet, each with one line that says what to do."""

from __future__ import annotations

__all__ = ["AudioError", "ConfigError", "ModelError", "StreamserError", "first_line"]


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
