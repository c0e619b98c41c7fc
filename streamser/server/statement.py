"""What a server tells people before their microphone opens: what it keeps, who answers for it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import msgspec

from streamser.settings import ServerSettings

__all__ = ["Kept", "in_files", "state", "to_plugin"]


class Kept(msgspec.Struct, frozen=True):
    """Say in a sentence each what becomes of words and readings, and how long they stay."""

    what: str
    how_long: str


def in_files(formats: Sequence[str], days: int | None) -> Kept:
    """Say that the events of sessions are kept in files of the server."""
    kinds = ", ".join(dict.fromkeys(("jsonl", *formats)))
    return Kept(
        f"This server writes words and readings, with your name and the meeting's, into files on"
        f" its own disk ({kinds}).",
        "They stay until its operator removes them."
        if days is None
        else f"It removes them {days} {'day' if days == 1 else 'days'} after a session began.",
    )


def to_plugin(name: str) -> Kept:
    """Say that a plug-in gets all events."""
    return Kept(
        f"This server hands words and readings to its extension “{name}”.",
        "What that keeps, where and how long, is up to that: ask its operator.",
    )


def state(own: ServerSettings, kept: Sequence[Kept]) -> str:
    """Return the points of the page on what is kept, and on the operator, as HTML."""
    memory = "in the server’s memory until newer ones take their place or it stops"
    points = [
        (
            "No sound is stored",
            f"by the server itself. Words and readings stay {memory}, and in this page until you"
            " leave it.",
        )
    ]
    points += [("What is kept:", f"{each.what} {each.how_long}") for each in kept]
    points += [
        (title, text)
        for title, text in (
            ("What it is for:", own.purpose),
            ("Who is responsible:", own.responsible),
            ("Whom to ask:", own.contact),
        )
        if text
    ]
    return "\n          ".join(
        f"<li><strong>{escape(title)}</strong> {escape(text)}</li>" for title, text in points
    )
