"""What arithmetic a Whisper is the fastest in here, tried at the start."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from streamser.fastest import Trial, fastest, least_times, told

__all__ = ["candidates", "choose_compute_type"]

_WORTH_TRYING: Final = {
    "cpu": ("int8_float32", "float32", "bfloat16", "int16"),
    "cuda": ("float16", "int8_float16", "bfloat16"),
}
_MOST: Final = 3
_FAST_ENOUGH_S: Final = 0.05
_BUDGET_S: Final = 1.0 / _MOST
_ROUNDS: Final = 3
_PATIENCE_S: Final = 10.0
"""No further type is loaded that would end after this if it took as long as the first."""


def choose_compute_type(
    load: Callable[[str], Any], run: Callable[[Any], object], clock: Callable[[], float]
) -> tuple[Any, str]:
    """Load a model in its fastest compute type; return it, and a line on what was measured.

    ``load`` opens it in a type, ``run`` is what is timed, by ``clock`` in seconds. The favourite
    is what CTranslate2 takes by itself (``"auto"``); it stays unless another is clearly faster,
    and is tried alone where it is fast enough on a processor. Two models are in memory at most.
    Raises what ``load`` raises for ``"auto"``; a type that cannot be loaded is left out.
    """
    import ctranslate2

    began = clock()
    best = load("auto")
    first_s = clock() - began
    device, favourite = str(best.model.device), str(best.model.compute_type)
    trials = [Trial(favourite, _least(run, best, clock))]
    if device == "cpu" and (trials[0].seconds or 0.0) <= _FAST_ENOUGH_S:
        return best, f"{favourite}, which takes {told(trials)}"
    for kind in candidates(favourite, device, ctranslate2.get_supported_compute_types(device)):
        if clock() - began + first_s > _PATIENCE_S:
            trials.append(Trial(kind, why="no time left to try it; name it to have it"))
            continue
        try:
            tried = load(kind)
            trials.append(Trial(kind, _least(run, tried, clock)))
        except (RuntimeError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            trials.append(Trial(kind, why=reason))
            continue
        if fastest(trials) == kind:
            best = tried
        del tried
    return best, f"{best.model.compute_type}, the fastest of {told(trials)}"


def candidates(favourite: str, device: str, offered: Collection[str]) -> Iterator[str]:
    """Yield the types beside the favourite that are worth trying and offered, two at most."""
    others = [kind for kind in _WORTH_TRYING[device] if kind in offered and kind != favourite]
    yield from others[: _MOST - 1]


def _least(run: Callable[[Any], object], model: Any, clock: Callable[[], float]) -> float:
    ways = {"it": lambda: run(model)}
    return least_times(ways, clock=clock, budget_s=_BUDGET_S, rounds=_ROUNDS)["it"]
