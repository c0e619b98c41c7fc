"""What one stream was shown, and when; pure."""

from __future__ import annotations

import msgspec

from tools.bench_peers.conversation import Utterance

__all__ = ["Read", "Shown", "StreamLog"]


class Read(msgspec.Struct, frozen=True):
    """Hold a reading of the voice: when it came, and the moment of the stream it speaks of, in s.

    ``final`` is the one of a whole utterance. ``beyond_s`` is how long after the silence that ends
    an utterance it came, ``None`` where a pause did not end it.
    """

    at: float
    lag_s: float
    final: bool
    beyond_s: float | None = None


class Shown(msgspec.Struct, frozen=True):
    """Hold the whole text of a stream from some moment on (``time.monotonic``, s).

    ``settled`` is what the server itself holds for final; ``open`` follows it and may change.
    """

    at: float
    settled: str
    open: str


class StreamLog(msgspec.Struct):
    """Hold one stream: what was said, when it began (``time.monotonic``, s), what was shown.

    ``late_s`` is how late the generator itself was at most. ``updates`` counts the changes of the
    text, ``readings`` those of the voice. ``fault`` says how the stream broke, if it did.
    """

    utterances: tuple[Utterance, ...] = ()
    began: float = 0.0
    late_s: float = 0.0
    shown: list[Shown] = []
    readings: list[Read] = []
    fault: str | None = None

    def show(self, at: float, settled: str, open_text: str) -> None:
        """Note a text, where it is another than before."""
        last = self.shown[-1] if self.shown else Shown(at, "", "")
        if (settled, open_text) != (last.settled, last.open):
            self.shown.append(Shown(at, settled, open_text))
