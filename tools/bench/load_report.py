"""The report of ``python -m tools.bench load``, and what it makes of each step; pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from streamser.errors import ConfigError
from streamser.machine import Machine
from tools.bench.load_figures import Figures, Hangover
from tools.bench.load_server import Use

__all__ = ["LATE_MS", "LoadReport", "Step", "Verdict", "judge", "largest_held", "read_report"]

LATE_MS = 20.0
"""A generator whose sends are later than this (p99) has no say against a server."""


class Verdict(msgspec.Struct, frozen=True):
    """Say whether a server held a step; ``None``: it was not judged, and ``why``."""

    held: bool | None
    why: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what so many streams gave.

    ``relative_cost`` is the processor time a stream costs, over that in the step of the fewest
    streams. ``generator_cores`` is what the generator itself used.
    """

    streams: int
    figures: Figures
    use: Use
    relative_cost: float | None = None
    generator_cores: float
    verdict: Verdict


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a whole run: one configuration under more and more streams.

    What is measured is said by the settings, as ``streamser serve`` takes them::

        python -m tools.bench load --emotion-only
        python -m tools.bench load --config embedded --bound 900
        python -m tools.bench load --asr whisper --asr-model DIR --set asr.threads=2
        python -m tools.bench load --emotion-only --model CHECKPOINT --set emotion.device=cuda
        python -m tools.bench load --emotion-only --set worker.max_batch=16 --cores 0,1
        python -m tools.bench load --server wss://host --token TOKEN

    Each is a report of its own; ``--join a.json,b.json --plot F.png`` draws several together.
    DIR is a CTranslate2 model as faster-whisper wants it; one with random weights costs what a
    trained one of its size does per step of the decoder, though not the same number of steps.

    ``settings`` are those that are not the default, by dotted key; ``label`` names the
    configuration in plots. ``cores`` are those the server was kept to, ``generator_cores``
    those of the generator; ``None``: neither was kept to any. ``relative_to`` is the number of
    streams whose cost is 1.
    """

    label: str
    command: str
    seed: int
    machine: Machine
    server: str
    models: dict[str, str | None]
    settings: dict[str, str]
    cores: tuple[int, ...] | None
    generator_cores: tuple[int, ...] | None
    sound: str
    lap_s: float
    speech_share: float
    block_ms: int
    warm_s: float
    seconds: float
    bound_ms: float
    late_limit_ms: float
    hangover: Hangover
    definitions: tuple[str, ...]
    percentiles: str
    steps: tuple[Step, ...]
    largest_held: int | None
    relative_to: int | None
    stopped: str


def judge(figures: Figures, bound_ms: float) -> Verdict:
    """Judge a step by what was lost and by p95 beyond the hangover, in ms.

    A generator that was late itself excuses the server: its lateness only adds to what it
    measures, so a step that held holds all the same, and one that did not is not judged.
    """
    late = figures.late_ms
    beyond = figures.emotion_beyond
    fault = None
    if figures.losses:
        fault = ", ".join(figures.losses)
    elif beyond is not None and beyond.p95 > bound_ms:
        fault = f"p95 {beyond.p95:.0f} ms > {bound_ms:g} ms"
    excused = late is None or late.p99 > LATE_MS
    if fault is not None and excused:
        own = "unknown" if late is None else f"p99 {late.p99:.0f} ms"
        return Verdict(None, f"not judged ({fault}): the generator was late itself, {own}")
    if fault is not None:
        return Verdict(False, fault)
    if beyond is None:
        return Verdict(None, "not judged: no utterance ended in it; measure longer (--seconds)")
    return Verdict(True, "held, though the generator was late" if excused else "held")


def largest_held(steps: Sequence[Step]) -> int | None:
    """Return the largest number of streams that was held."""
    return max((step.streams for step in steps if step.verdict.held), default=None)


def read_report(file: Path) -> LoadReport:
    """Read a report that was written as JSON; raises ``ConfigError`` for anything else."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=LoadReport)
    except OSError as error:
        raise ConfigError(f"--join {file}: {error.strerror}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--join {file}: it is no report of bench load ({error}).") from None
