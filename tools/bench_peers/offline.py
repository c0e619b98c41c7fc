"""The same conversations as files, by ``streamser analyze``: what live words are held against."""

from __future__ import annotations

import csv
import io
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import soundfile

from streamser.audio.clip import SAMPLE_RATE
from tools.bench_peers.conversation import Conversation
from tools.bench_peers.errors import BenchError
from tools.bench_peers.words import align, spoken_words

__all__ = ["Offline", "analyzed", "errors_in"]


class Offline(msgspec.Struct, frozen=True, kw_only=True):
    """Hold words wrong and said for each conversation, and how many times real time it took."""

    errors: tuple[int, ...]
    said: tuple[int, ...]
    times_real: float

    def wer(self, streams: int) -> float | None:
        """Return the word error rate of the first so many; ``None`` where they are not all here."""
        if streams > len(self.said):
            return None
        return round(sum(self.errors[:streams]) / sum(self.said[:streams]), 4)


def analyzed(conversations: Sequence[Conversation], arguments: str) -> Offline:
    """Read conversations as files, with the settings that the server has.

    Raises ``BenchError`` where ``streamser analyze`` fails.
    """
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as folder:
        paths = [Path(folder) / f"{number}.wav" for number in range(len(conversations))]
        for path, conversation in zip(paths, conversations, strict=True):
            soundfile.write(path, np.frombuffer(conversation.pcm, "<i2"), SAMPLE_RATE)
        began = time.monotonic()
        command = [sys.executable, "-m", "streamser", "analyze", *shlex.split(arguments)]
        done = subprocess.run(
            [*command, "--format", "csv", *map(str, paths)],
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.monotonic() - began
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        raise BenchError(f"streamser analyze: {' '.join(last) or 'it said nothing'}")
    found = [
        errors_in(done.stdout, str(path), conversation)
        for path, conversation in zip(paths, conversations, strict=True)
    ]
    return Offline(
        errors=tuple(found),
        said=tuple(_said(each) for each in conversations),
        times_real=round(sum(each.seconds for each in conversations) / took, 2),
    )


def errors_in(table: str, file: str, conversation: Conversation) -> int:
    """Count the words of one conversation that are wrong in the table of all."""
    rows = csv.DictReader(io.StringIO(table))
    heard = " ".join(row["transcript"] for row in rows if row["file"] == file)
    truth = [word for each in conversation.utterances for word in each.words]
    return align(truth, spoken_words(heard)).errors


def _said(conversation: Conversation) -> int:
    return sum(len(each.words) for each in conversation.utterances)
