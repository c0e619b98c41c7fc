"""How long a user waits for ``streamser --help``, and what is loaded when.

Nothing heavy stands at the head: what is loaded, and when, is what is measured here.
"""

from __future__ import annotations

import importlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from streamser.errors import StreamserError
from tools.bench.measure import resident_mib
from tools.isolated import Tell

__all__ = [
    "Loading",
    "StartupSection",
    "hear_session",
    "import_torch",
    "load_bundled",
    "measure_startup",
]

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


class Loading(msgspec.Struct, frozen=True):
    """Hold what loading something takes in a fresh process: seconds, and MiB more than before."""

    seconds: float
    mib: float


def measure_startup(launches: int, tell: Tell) -> StartupSection:
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


def load_bundled(model: str, tell: Tell) -> Loading:
    """Load the model that comes with the program, onnxruntime's import included."""

    def load() -> object:
        from streamser.emotion.choose import choose_model
        from streamser.settings import EmotionSettings

        return choose_model(EmotionSettings(model=model))

    return _loading(load)


def import_torch(name: str, tell: Tell) -> Loading:
    """Import torch, which no part of the program needs; raises ``StreamserError`` without it."""
    try:
        return _loading(lambda: importlib.import_module(name))
    except ImportError as error:
        raise StreamserError(f"{name} is not installed: {error}") from error


def hear_session(recording: str, tell: Tell) -> float:
    """Analyse a recording with words, of one speaker; return the most memory it took, in MiB."""
    from streamser import Analyzer, load_settings

    flags = {"emotion.model": "compact", "speakers.told_apart": "off"}
    settings = load_settings("embedded", flags=flags)
    with Analyzer(settings) as analyzer:
        return max(resident_mib() or 0.0 for _ in analyzer.stream(recording))


def _loading(load: Callable[[], object]) -> Loading:
    before = resident_mib() or 0.0
    began = time.perf_counter()
    kept = load()
    seconds = time.perf_counter() - began
    after = resident_mib() or 0.0
    del kept
    return Loading(round(seconds, 3), round(after - before, 1))


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
