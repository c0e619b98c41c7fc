"""A conversation as a source of sound: as fast as it is read, or paced in real time."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator

from streamser.audio.source import Frames, Gap
from tools.bench.conversation import Conversation

__all__ = ["BLOCK_MS", "Playback"]

BLOCK_MS = 20


class Playback:
    """Play the first ``seconds`` of a conversation in blocks of 20 ms; an ``AudioSource``.

    After so many ``turns``, if they are given, silence follows.

    A ``paced`` playback yields each block when its last sample would have been heard, or at
    once if the reader is late, like a sound card with a long buffer.
    """

    channels = 1

    def __init__(
        self,
        conversation: Conversation,
        seconds: float,
        *,
        paced: bool,
        turns: int | None = None,
    ) -> None:
        self.name = conversation.name
        self.rate = conversation.rate
        self.live = paced
        self._conversation = conversation
        self._turns = turns
        self._total = round(seconds * conversation.rate)
        self.duration: float | None = self._total / conversation.rate
        self._block = conversation.rate * BLOCK_MS // 1000
        self._begun: float | None = None
        self._stopped = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()

    def chunks(self) -> Iterator[Frames | Gap]:
        """Yield the sound in order; called once."""
        self._begun = time.monotonic()
        position = 0
        blocks = self._conversation.blocks(self._block, total=self._total, turns=self._turns)
        for block in blocks:
            position += len(block)
            if self.live:
                self._wait_until(self._begun + position / self.rate)
            if self._stopped:
                return
            yield block[:, None]

    def stop(self) -> None:
        """Make ``chunks`` end at once, even while it waits for its time."""
        self._stopped = True
        self._wake.put(None)

    def due(self, second: float) -> float:
        """Return the time (``time.monotonic``) at which a second of the sound was due.

        That is when the block that holds it was complete, whether or not anybody took it in
        time. Raises ``ValueError`` before the first block was asked for.
        """
        if self._begun is None:
            raise ValueError("nothing has been played yet")
        # A sample on the border is the first of the next block, or the end of this one: the
        # stretch up to it has been heard when this one is complete.
        blocks = -(-round(second * self.rate) // self._block)
        return self._begun + blocks * self._block / self.rate

    def _wait_until(self, deadline: float) -> None:
        while not self._stopped and (left := deadline - time.monotonic()) > 0:
            try:
                self._wake.get(timeout=left)
            except queue.Empty:
                return
