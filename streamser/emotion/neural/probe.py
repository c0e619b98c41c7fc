"""Trying a model out at the start: which number format, and every shape that will come."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import nn

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.calibration import Calibration, probabilities
from streamser.emotion.model import Segment
from streamser.emotion.neural.formats import CANDIDATES, Format
from streamser.errors import ModelError
from streamser.machine import KeptChoices, Trial, cpu_name, fastest, least_times, told

if TYPE_CHECKING:
    from streamser.emotion.neural.fused import FusedEmotionModel, FusedFinding

__all__ = ["BOUND", "check_runs", "choose_format", "identify", "keep_format", "warm_shapes"]

_FAULTS: Final = (ModelError, RuntimeError, AttributeError, TypeError)
"""What an encoder raises that reaches into layers which are no longer what it knows."""

BOUND: Final = 0.02
"""How far a probability, or a dimension in 0..1, may be from float32's."""

_FAST_ENOUGH_S: Final = 0.05
"""A processor that answers within this in float32 has nothing to gain."""
_BUDGET_S: Final = 1.0
_PATIENCE_S: Final = 10.0
"""After this no further format is tried: large models take long to convert."""
_ROUNDS: Final = 5
_SECONDS: Final = (2.0, 0.7)
_WORDS: Final = "I did not expect that you would say so"
_FINGERS: Final = 64
"""Values of every tensor that tell one model from another."""


def choose_format(model: FusedEmotionModel, clock: Callable[[], float]) -> str:
    """Put a model into the fastest format of its device; return a line on what was measured.

    A format is left out where it does not run, where what it says of the probe, two sounds with
    and without words, is further than ``BOUND`` from float32, and where those before it took
    more than 10 s to convert and to run. The favourite, float32 on
    a processor and bfloat16 on CUDA, stays unless another is clearly faster. A processor that
    is fast enough in float32 tries nothing. ``clock`` counts seconds.
    """
    probe = [Segment(samples=_sound(_SECONDS[0]), text=_WORDS)]
    also = [Segment(samples=_sound(_SECONDS[1]), text=None)]
    began = clock()
    formats = model.formats
    kinds = CANDIDATES[formats.device]

    def answer(format: Format) -> list[FusedFinding]:
        formats.use(format)
        return model.extract(probe)

    formats.use("float32")
    expected = [*model.extract(probe), *model.extract(also)]
    if formats.device == "cpu":
        alone = least_times(
            {"float32": lambda: answer("float32")}, clock=clock, budget_s=_BUDGET_S, rounds=3
        )
        if alone["float32"] <= _FAST_ENOUGH_S:
            return f"float32, which takes {told([Trial('float32', alone['float32'])])}"
    why: dict[Format, str] = {}
    for format in kinds:
        if format not in (kinds[0], "float32") and clock() - began > _PATIENCE_S:
            why[format] = "no time left to try it; name it to have it"
            continue
        try:
            found = [*answer(format), *model.extract(also)]
        except _FAULTS as error:
            why[format] = _first_line(error)
            continue
        apart = _distance(found, expected)
        if apart > BOUND:
            why[format] = f"{apart:.2g} from float32, at most {BOUND:g} is allowed"
    ways: dict[str, Callable[[], object]] = {
        format: lambda format=format: answer(format)  # type: ignore[misc]
        for format in kinds
        if format not in why
    }
    taken = least_times(ways, clock=clock, budget_s=_BUDGET_S, rounds=_ROUNDS)
    trials = [Trial(format, taken.get(format), why.get(format, "")) for format in kinds]
    best = fastest(trials)
    formats.use(next(format for format in kinds if format == best))
    return f"{best}, the fastest of {told(trials)}"


def keep_format(
    model: FusedEmotionModel, identity: str, kept: KeptChoices, clock: Callable[[], float]
) -> str:
    """Put a model into the format that was once chosen for it here; return a line on that.

    Where none was, it is chosen (``choose_format``) and kept by ``identity``, torch's version
    and the device: the same sound gets the same reading at every start, however busy the machine
    was at the first.
    """
    formats = model.formats
    device = torch.cuda.get_device_name() if formats.device == "cuda" else cpu_name()
    key = f"{identity} in torch {torch.__version__} on {device}"
    before = _known(kept.find(key), formats.device)
    if before is not None:
        formats.use(before)
        return f"{before}, as chosen here before ({kept.path})"
    line = choose_format(model, clock)
    standing = _known(kept.keep(key, formats.format), formats.device)
    if standing is None or standing == formats.format:
        return line
    formats.use(standing)
    return f"{standing}, as another process has chosen ({kept.path})"


def _known(name: str | None, device: str) -> Format | None:
    return next((format for format in CANDIDATES[device] if format == name), None)


def identify(model: nn.Module) -> str:
    """Return a fingerprint of a model: names, shapes and some values of all its weights."""
    digest = hashlib.sha256()
    for name, weights in model.state_dict().items():
        some = weights.detach().flatten()[:_FINGERS].float().cpu().numpy()
        digest.update(f"{name} {tuple(weights.shape)}".encode() + some.tobytes())
    return digest.hexdigest()[:16]


def check_runs(model: FusedEmotionModel) -> None:
    """Answer once; raise ``ModelError`` where the model cannot in the format that it is in."""
    try:
        model.extract([Segment(samples=_sound(_SECONDS[1]), text=_WORDS)])
    except _FAULTS as error:
        raise ModelError(
            f"{model.name} cannot compute in {model.formats.format} ({_first_line(error)}):"
            " choose another emotion.precision"
        ) from error


def warm_shapes(model: FusedEmotionModel) -> None:
    """Answer once in every shape of up to 8 clips of up to 12 s, so that none is new later."""
    for seconds in (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0):
        spoken = Segment(samples=_sound(seconds), text=_WORDS)
        for clips in (1, 2, 4, 8):
            model.extract([spoken] * clips)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _distance(found: list[FusedFinding], expected: list[FusedFinding]) -> float:
    plain = Calibration()
    apart = 0.0
    for one, other in zip(found, expected, strict=True):
        if one.logits:
            likely, wanted = (probabilities(np.array(x.logits), plain) for x in (one, other))
            apart = max(apart, float(np.abs(likely - wanted).max()))
        if one.dimensions:
            apart = max(apart, float(np.abs(np.subtract(one.dimensions, other.dimensions)).max()))
    return apart


def _sound(seconds: float) -> Samples:
    """Make syllables of a buzzing voice, 4 a second, with breath: what is loud in speech."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * time)) / SAMPLE_RATE
    voice = sum(np.sin(2 * np.pi * n * pitch) / n for n in range(1, 20))
    breath = np.random.default_rng(0).standard_normal(len(time))
    syllables = np.sin(2 * np.pi * 2 * time) ** 2
    sound: Samples = (0.1 * syllables * (voice + 0.3 * breath)).astype(np.float32)
    return sound
