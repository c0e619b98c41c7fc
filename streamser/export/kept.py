"""Names of the files that a server keeps of its sessions: when, which meeting, who, which."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

__all__ = ["began_at", "kept_stem", "safe_part"]

_LONGEST_BYTES: Final = 80
"""Of a name in a file's name: systems take 255 bytes in all."""
_STEM: Final = re.compile(r"(\d{8}T\d{6}Z)_(?:.+_)?sess_[0-9a-z]+(?:\.|$)")
"""Many a recorder begins names with the time: only those of a session are ours."""
_TIME: Final = "%Y%m%dT%H%M%SZ"


def kept_stem(unix_s: float, meeting: str | None, speaker: str | None, session_id: str) -> str:
    """Return ``TIME_MEETING_SPEAKER_SESSION`` without what is not known; the time is UTC."""
    time = datetime.fromtimestamp(unix_s, UTC).strftime(_TIME)
    parts = [safe_part(name) for name in (meeting, speaker) if name]
    return "_".join([time, *(part for part in parts if part), session_id])


def safe_part(name: str) -> str:
    """Return a name as part of a file's name anywhere: letters, digits, hyphens; may be empty.

    Different names can become the same part.
    """
    kept = re.sub(r"[\W_]+", "-", name).strip("-")
    return kept.encode()[:_LONGEST_BYTES].decode(errors="ignore").strip("-")


def began_at(path: Path) -> float | None:
    """Return when the session of a kept file began, s since 1970; ``None`` for other files."""
    found = _STEM.match(path.name)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
