"""What the programs of others answer: run in environments of their own, kept, and judged."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from streamser.audio.clip import SAMPLE_RATE
from streamser.errors import ConfigError, ModelError
from tools.speakers.meetings import Cell, Meeting
from tools.speakers.scoring import Figures, Told, figured

__all__ = ["AS_IT_COMES", "Answer", "KeptAnswers", "PeerJudged", "Setting", "asked", "judged"]

Setting: TypeAlias = Mapping[str, float]
AS_IT_COMES: Final = "as it comes"


class Answer(msgspec.Struct, frozen=True):
    """Hold who speaks when in a file, in seconds, as a program says with a setting, by its name."""

    setting: str
    file: str
    turns: tuple[tuple[float, float, str], ...]


class PeerJudged(msgspec.Struct, frozen=True):
    """Hold what a program told of one meeting, with one setting, at the meeting's end."""

    peer: str
    setting: str
    name: str
    cell: Cell
    figures: Figures


def asked(
    python: Path,
    script: Path,
    networks: Path,
    settings: Mapping[str, Setting],
    files: Sequence[Path],
) -> Iterator[Answer]:
    """Let a program hear files in its own environment; yields answers as they come.

    Raises ``ConfigError`` where it is not installed, ``ModelError`` where it fails or says what
    nobody understands.
    """
    command = [str(python), str(script), str(networks), json.dumps(settings), *map(str, files)]
    # A file, for a pipe that nobody reads would stop a program that warns a lot.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as complaints:
        try:
            running = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=complaints, encoding="utf-8"
            )
        except OSError as error:
            raise ConfigError(
                f"{python} cannot be run ({error.strerror}): run make bench-speakers-peers, or name"
                " the folder of environments with --places"
            ) from None
        assert running.stdout is not None
        with running:
            for line in running.stdout:
                yield parsed(line)
        if running.returncode:
            complaints.seek(0)
            trouble = complaints.read().strip().rpartition("\n")[2]
            raise ModelError(f"{script.stem} failed with {running.returncode}: {trouble[:300]}")


def parsed(line: str) -> Answer:
    """Read one line of a program's answers; raises ``ModelError`` for what is none."""
    try:
        answer = msgspec.json.decode(line, type=Answer)
    except msgspec.DecodeError as error:
        raise ModelError(f"not an answer: {line.strip()[:80]!r} ({error})") from None
    if any(start < 0 or end < start for start, end, _ in answer.turns):
        raise ModelError(f"{answer.file}: a turn that ends before it begins")
    return answer


def judged(peer: str, meeting: Meeting, answer: Answer) -> PeerJudged:
    """Compare what a program told with who spoke; two at once may both be named."""
    told = [
        Told(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE), label)
        for start, end, label in answer.turns
    ]
    return PeerJudged(peer, answer.setting, meeting.name, meeting.cell, figured(meeting, told))


class KeptAnswers:
    """Keep answers in a folder, a file each: to hear a meeting takes a while."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, peer: str, setting: str, name: str) -> Answer | None:
        """Return what was kept; ``None`` where nothing was."""
        file = self._file(peer, setting, name)
        return parsed(file.read_text(encoding="utf-8")) if file.exists() else None

    def write(self, peer: str, name: str, answer: Answer) -> None:
        """Keep an answer."""
        self._file(peer, answer.setting, name).write_bytes(msgspec.json.encode(answer))

    def _file(self, peer: str, setting: str, name: str) -> Path:
        return self._folder / f"{peer} {setting} {name}.json".replace(" ", "-")
