"""How much is measured: all of it, or a little to see that it works."""

from __future__ import annotations

import msgspec

__all__ = ["Plan"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Say how many streams, draws and clips there are; ``None`` leaves nothing out.

    ``clips`` are those of a speaker, ``texts`` those of a corpus, ``mixed`` the utterances of a
    stream whose mixture is chosen.
    """

    stream_seeds: int = 5
    replicates: int = 1000
    mixed: int = 60
    speakers: int | None = None
    clips: int | None = None
    texts: int | None = None
    quick: bool = False

    @staticmethod
    def small() -> Plan:
        """Return the plan of ``--quick``."""
        return Plan(
            stream_seeds=1, replicates=50, mixed=13, speakers=2, clips=13, texts=60, quick=True
        )
