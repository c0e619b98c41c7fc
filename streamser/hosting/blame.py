"""What the models of a worker process are busy with, readable when the process is gone.

A board in shared memory with a place for each kind of models: no message could still be sent by a
process that is killed, or that hangs.
"""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.context import BaseContext
from typing import Any, Final, Literal

import msgspec

_ROOM: Final = 16 * 1024
_LENGTH: Final = 4

Bench = Literal["words", "emotion"]
_PLACES: Final[tuple[Bench, ...]] = ("words", "emotion")


class InHand(msgspec.Struct, frozen=True):
    """Hold the utterances that models are busy with, as session and number; and why they stopped.

    ``stuck`` is a line, where they did not answer in time.
    """

    utterances: tuple[tuple[str, int], ...] = ()
    stuck: str | None = None


class BlameBoard:
    """Note what models are busy with; each place is written by one thread of one process."""

    def __init__(self, context: BaseContext) -> None:
        self._memory: Any = context.RawArray("c", len(_PLACES) * _ROOM)

    def note(self, bench: Bench, in_hand: InHand) -> None:
        """Write down what is begun; nothing, once it is done."""
        data = msgspec.msgpack.encode(in_hand)
        if len(data) > _ROOM - _LENGTH:
            data = msgspec.msgpack.encode(InHand(in_hand.utterances[:64], in_hand.stuck))
        begin = _PLACES.index(bench) * _ROOM
        view = memoryview(self._memory).cast("B")
        # The length last: who reads half of it reads what was there before.
        view[begin : begin + _LENGTH] = bytes(_LENGTH)
        view[begin + _LENGTH : begin + _LENGTH + len(data)] = data
        view[begin : begin + _LENGTH] = len(data).to_bytes(_LENGTH, "big")

    def read(self) -> Sequence[InHand]:
        """Return what each kind of models was busy with, where that can be read."""
        view = memoryview(self._memory).cast("B")
        found = []
        for place in range(len(_PLACES)):
            begin = place * _ROOM
            length = int.from_bytes(view[begin : begin + _LENGTH], "big")
            if 0 < length <= _ROOM - _LENGTH:
                data = bytes(view[begin + _LENGTH : begin + _LENGTH + length])
                try:
                    found.append(msgspec.msgpack.decode(data, type=InHand))
                except msgspec.DecodeError:
                    continue
        return found
