"""Where the agents beside this come from, what they hear, and how they tell."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

__all__ = ["FRAME", "MUTED_S", "PATIENCE_S", "RATE", "agent_of", "show", "utterances"]

RATE = 16_000
FRAME = RATE // 50
PATIENCE_S = 30
MUTED_S = 4 if "muted" in sys.argv else 0
"""How long a user who is muted between utterances sends nothing, as a last word asks for."""


def show(**told: Any) -> None:
    """Print one thing."""
    print(json.dumps(told), flush=True)


def agent_of(document: str, number: str) -> Any:
    """Return ``agent`` of a document's Python snippet, which is run as it stands there."""
    snippets = re.findall(r"```python\n(.*?)```", Path(document).read_text("utf-8"), re.S)
    made: dict[str, Any] = {}
    exec(compile(snippets[int(number)], document, "exec"), made)
    return made["agent"]


def utterances(sound: str, spans: str) -> list[bytes]:
    """Cut the utterances at ``begin-end`` in ms out of raw s16le, each with a second of silence."""
    whole = Path(sound).read_bytes()
    found = []
    for span in spans.split(","):
        begin, end = (2 * RATE * int(place) // 1000 for place in span.split("-"))
        found.append(whole[begin:end] + bytes(2 * RATE))
    return found
