"""Whom a meeting bot hears: where each one's sound belongs in time, and what they are called."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import msgspec

from streamser.errors import ConfigError
from streamser.server.ingest.messages import BotSound
from streamser.text import read_name

LONGEST_GAP_S: Final = 120.0
"""A participant of whom nothing came for longer begins a new session; shorter is silence."""
_GAP_S: Final = 0.3
"""Bots stamp what they send when they come to it: less than this is their own jitter."""
_AHEAD_S: Final = 2.0
"""More sound than that beyond what the clock allows: then it is no clock."""
_PATIENCE_S: Final = 1.0
"""Sound that is old in a row before the clock is taken to have been set back."""
_LONGEST_ID: Final = 48
_KEPT: Final = 1_000


class Placement(msgspec.Struct, frozen=True):
    """Say where a piece belongs: behind so much silence (s), or, ``late``, nowhere any more.

    ``jumped``: the bot's clock has gone where no sound leads to; it is followed from here anew.
    """

    silence_s: float = 0.0
    late: bool = False
    jumped: bool = False


class ParticipantClock:
    """Lay the pieces of one participant's session one behind the other; pure.

    The sound so far, silence included, is never more than 0.3 s shorter than the bot's clock
    says, nor more than 2 s longer. What is of a time that is over (sent twice, or out of order)
    is left out, but no more than a second of it in a row. A gap of more than ``LONGEST_GAP_S`` is
    a jump.
    """

    def __init__(self) -> None:
        self._origin_s: float | None = None
        self._heard_s = 0.0
        self._last: BotSound | None = None
        self._late_s = 0.0
        self._counts = True

    @property
    def heard_s(self) -> float:
        """Return how long the sound is so far, silence included."""
        return self._heard_s

    def resume(self) -> None:
        """Note that the bot has connected anew: it may count its pieces from the beginning."""
        self._counts = False

    def place(self, sound: BotSound) -> Placement:
        """Return where the next piece belongs, and go on behind it."""
        placed = self._place(sound)
        if placed.late:
            return placed
        if placed.jumped or self._origin_s is None:
            self._origin_s = sound.start_s - self._heard_s
        self._heard_s += placed.silence_s + sound.seconds
        self._late_s, self._last, self._counts = 0.0, sound, True
        return placed

    def _place(self, sound: BotSound) -> Placement:
        if self._last is None or self._origin_s is None:
            return Placement()
        if self._is_old(sound, self._last):
            self._late_s += sound.seconds
            return Placement(late=True) if self._late_s <= _PATIENCE_S else Placement(jumped=True)
        behind_s = sound.start_s - self._origin_s - self._heard_s
        if not -_AHEAD_S <= behind_s <= LONGEST_GAP_S:
            return Placement(jumped=True)
        return Placement(silence_s=behind_s if behind_s > _GAP_S else 0.0)

    def _is_old(self, sound: BotSound, last: BotSound) -> bool:
        if self._counts and sound.number is not None and last.number is not None:
            return sound.number <= last.number
        # By their ends: of pieces that differ in length a later one may begin earlier.
        end, before = sound.start_s + sound.seconds, last.start_s + last.seconds
        # Several may be sent in one millisecond; the same sound twice is one that was sent twice.
        return end < before or (end == before and sound.data == last.data)


class Roster:
    """Keep what the participants of a meeting are called, no two of them alike; pure.

    Sessions of one name are one speaker in a meeting, and two people may be called ``iPhone``.
    Who comes back as another finds the name of who has left.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._wanted: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._names)

    def call(self, participant: str, name: str | None) -> str:
        """Return the name of a participant, who says to be called ``name``, if anything.

        One who has none is called by the id that the bot has for them.
        """
        known = self._names.get(participant)
        wanted = self._wanted.get(participant)
        # A name that cannot be one is as none.
        with suppress(ConfigError):
            wanted = wanted if name is None else read_name(name, "name")
        if known is not None and wanted == self._wanted.get(participant):
            return known
        if wanted is not None:
            self._wanted[participant] = wanted
        self._names.pop(participant, None)
        self._names[participant] = self._free(wanted or _nameless(participant))
        if len(self._names) > _KEPT:
            self.leave(next(iter(self._names)))
        return self._names[participant]

    def leave(self, participant: str) -> None:
        """Let a name go to whoever says to be called so next."""
        self._names.pop(participant, None)
        self._wanted.pop(participant, None)

    def _free(self, name: str) -> str:
        taken = set(self._names.values())
        if name not in taken:
            return name
        number = 2
        while (another := f"{name[:70]} ({number})") in taken:
            number += 1
        return another


def _nameless(participant: str) -> str:
    try:
        return read_name(f"participant {participant[:_LONGEST_ID]}", "name")
    except ConfigError:
        return "participant"
