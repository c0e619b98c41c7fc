"""What a command needs beyond the base install, told in one line where it is not there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from streamser.errors import ModelError

__all__ = ["needs_extra"]


@contextlib.contextmanager
def needs_extra(extra: str, doer: str) -> Iterator[None]:
    """Import something in this block; raise ``ModelError`` where it cannot be.

    ``extra`` is the package's extra that brings it, ``doer`` what needs it, such as
    "a training".
    """
    try:
        yield
    except (ImportError, OSError) as error:  # torch without its libraries is an OSError
        missing = getattr(error, "name", None) or error
        raise ModelError(
            f"{doer} needs what is not installed or cannot be loaded ({missing}): "
            f"run pip install 'streamser[{extra}]'."
        ) from None
