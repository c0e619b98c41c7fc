"""How long a user waits for ``streamser --help``, and what ``import streamser`` loads."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from streamser.errors import StreamserError

__all__ = ["StartupSection", "measure_startup"]

_WATCHED = ("torch", "transformers", "numpy")
_IMPORT = (
    "import sys, time; began = time.perf_counter(); import streamser; "
    "took = time.perf_counter() - began; "
    f"print(took, *(name for name in {_WATCHED!r} if name in sys.modules))"
)


class StartupSection(msgspec.Struct, frozen=True, kw_only=True):
    """Hold medians over ``launches`` fresh processes each, in seconds.

    ``python_s`` is ``python -c pass``, the floor of ``help_s``. ``import_ms`` is told by the
    process itself; ``loaded_by_import`` names which of ``watched`` came with it.
    """

    launches: int
    help_s: float
    python_s: float
    import_ms: float
    watched: tuple[str, ...]
    loaded_by_import: tuple[str, ...]


def measure_startup(launches: int, tell: Callable[[str], None]) -> StartupSection:
    """Measure start-up; the three kinds of process take turns.

    Raises ``StreamserError`` where one of them fails.
    """
    tell(f"start-up: {launches} launches")
    asked, bare, imported = [], [], []
    loaded: tuple[str, ...] = ()
    for _ in range(launches):
        bare.append(_launch([sys.executable, "-c", "pass"])[0])
        asked.append(_launch([*_program(), "--help"])[0])
        took, *names = _launch([sys.executable, "-c", _IMPORT])[1].split()
        imported.append(float(took))
        loaded = tuple(names)
    return StartupSection(
        launches=launches,
        help_s=round(statistics.median(asked), 4),
        python_s=round(statistics.median(bare), 4),
        import_ms=round(statistics.median(imported) * 1000, 3),
        watched=_WATCHED,
        loaded_by_import=loaded,
    )


def _program() -> list[str]:
    for name in ("streamser", "streamser.exe"):
        script = Path(sys.executable).with_name(name)
        if script.is_file():
            return [str(script)]
    return [sys.executable, "-c", "from streamser.cli.main import main; main()"]


def _launch(command: Sequence[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode != 0:
        line = (done.stderr.strip() or "no message").splitlines()[-1]
        raise StreamserError(f"`{' '.join(command)}` failed: {line}", code="bench_failed")
    return took, done.stdout
