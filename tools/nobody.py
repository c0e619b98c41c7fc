"""Sounds in which nobody speaks: synthesised from a seed, and made from recorded noises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from streamser.audio.clip import SAMPLE_RATE, Samples

__all__ = ["RECORDED", "SYNTHETIC", "sound_of", "stretches"]

_Array: TypeAlias = npt.NDArray[np.float64]
_Maker: TypeAlias = Callable[[np.random.Generator, int], _Array]

_LEVELS_DBFS: Final = (-50.0, -40.0, -30.0, -22.0, -16.0)
"""From a quiet room to what is close to the microphone; each stretch has one of them."""
_STRETCH_S: Final = 20
_SEMITONE: Final = 2 ** (1 / 12)


def sound_of(kind: str, seconds: int, seed: int, data: Path | None = None) -> Samples:
    """Return so many seconds of a kind of sound, in stretches of 20 s of different levels.

    ``kind`` is one of ``SYNTHETIC``, or, with the folder of recordings, of ``RECORDED``. The
    same seed gives the same samples.
    """
    kinds = (*SYNTHETIC, *RECORDED)
    rng = np.random.default_rng([seed, kinds.index(kind)])
    pieces = []
    for number, length in enumerate(stretches(seconds)):
        if kind in RECORDED:
            if data is None:
                raise ValueError(f"{kind} is made from recordings: name their folder")
            raw = _recorded(data, RECORDED[kind], rng, length)
        else:
            raw = SYNTHETIC[kind](rng, length)
        pieces.append(_at_level(raw, kind, _LEVELS_DBFS[number % len(_LEVELS_DBFS)]))
    return np.concatenate(pieces).astype(np.float32)


def stretches(seconds: int) -> Iterator[int]:
    """Yield the lengths, in samples, of the stretches that make up so many seconds."""
    for begin in range(0, seconds, _STRETCH_S):
        yield min(_STRETCH_S, seconds - begin) * SAMPLE_RATE


def _at_level(raw: _Array, kind: str, dbfs: float) -> _Array:
    if kind == "silence":
        return raw
    rms = float(np.sqrt(np.mean(raw * raw))) or 1.0
    clipped: _Array = np.clip(raw * (10 ** (dbfs / 20) / rms), -1.0, 1.0)
    return clipped


def _shaped(rng: np.random.Generator, size: int, gain: Callable[[_Array], _Array]) -> _Array:
    """Return noise with a gain over frequency in Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(size))
    frequencies: _Array = np.asarray(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), np.float64)
    noise: _Array = np.fft.irfft(spectrum * gain(frequencies), size)
    return noise / max(1e-9, float(np.std(noise)))


def _pink(frequencies: _Array) -> _Array:
    pink: _Array = 1 / np.sqrt(np.maximum(frequencies, 40.0))
    return pink


def _band(low: float, high: float) -> Callable[[_Array], _Array]:
    """Return a band's gain, with soft edges."""

    def gain(frequencies: _Array) -> _Array:
        rise = 1 / (1 + (low / np.maximum(frequencies, 1.0)) ** 6)
        fall = 1 / (1 + (frequencies / high) ** 6)
        shaped: _Array = rise * fall
        return shaped

    return gain


def _office(rng: np.random.Generator, size: int) -> _Array:
    """Make air and machines far away, now and then a thud, a creak or a click."""
    bed = _shaped(rng, size, _pink)
    for at in rng.integers(0, size, max(1, size // (2 * SAMPLE_RATE))):
        length = int(rng.integers(SAMPLE_RATE // 50, SAMPLE_RATE // 3))
        low = float(rng.choice([80.0, 300.0, 1500.0]))
        event = _shaped(rng, length, _band(low, 3 * low)) * np.geomspace(1, 1e-3, length)
        end = min(size, int(at) + length)
        bed[int(at) : end] += float(rng.uniform(1, 6)) * event[: end - int(at)]
    return bed


def _hum(rng: np.random.Generator, size: int) -> _Array:
    """Make a mains hum with its harmonics, or a fan."""
    time = np.arange(size) / SAMPLE_RATE
    mains = float(rng.choice([50.0, 60.0]))
    sway = 1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.1, 1.0) * time)
    hum = sum(
        rng.uniform(0.2, 1.0) / n * np.sin(2 * np.pi * n * mains * time + rng.uniform(0, 6))
        for n in range(1, 12)
    )
    fan = _shaped(rng, size, _band(float(rng.uniform(60, 200)), float(rng.uniform(500, 2500))))
    both: _Array = sway * (hum + float(rng.uniform(0, 1.5)) * fan)
    return both


def _tones(rng: np.random.Generator, size: int) -> _Array:
    """Make notes and chords with overtones, attack and decay, as of an instrument."""
    music = np.zeros(size)
    root, at = float(rng.uniform(110, 330)), 0
    while at < size:
        length = min(size - at, int(rng.uniform(0.15, 1.2) * SAMPLE_RATE))
        time = np.arange(length) / SAMPLE_RATE
        envelope = np.minimum(1, time / 0.02) * np.exp(-time * rng.uniform(0.5, 4))
        for step in rng.choice([0, 2, 4, 5, 7, 9, 12], int(rng.integers(1, 4)), replace=False):
            pitch = root * _SEMITONE ** int(step)
            sway = 1 + 0.004 * np.sin(2 * np.pi * 5.5 * time)
            for n in range(1, 7):
                wave = np.sin(2 * np.pi * n * pitch * np.cumsum(sway) / SAMPLE_RATE)
                music[at : at + length] += envelope * wave / n**1.3
        at += length if rng.random() < 0.8 else 2 * length
    return music


def _typing(rng: np.random.Generator, size: int) -> _Array:
    """Make keys pressed and let go, in bursts, in a quiet room."""
    sound = 0.01 * _shaped(rng, size, _pink)
    at = 0
    while at < size:
        for key, loud in ((at, 1.0), (at + int(rng.uniform(0.06, 0.12) * SAMPLE_RATE), 0.4)):
            length = min(int(rng.uniform(0.008, 0.03) * SAMPLE_RATE), size - key)
            if length > 16:
                click = _shaped(rng, length, _band(float(rng.uniform(700, 2000)), 6000))
                sound[key : key + length] += loud * click * np.geomspace(1, 1e-2, length)
        pause = rng.uniform(0.08, 0.3) if rng.random() < 0.9 else rng.uniform(0.5, 2.0)
        at += int(pause * SAMPLE_RATE)
    return sound


def _breath(rng: np.random.Generator, size: int) -> _Array:
    """Make somebody who breathes into the microphone, and does not speak."""
    sound = 0.01 * _shaped(rng, size, _pink)
    at = 0
    while at < size:
        for low, high, longest in ((700.0, 4000.0, 1.6), (300.0, 2200.0, 2.2)):
            length = min(int(rng.uniform(0.6, longest) * SAMPLE_RATE), size - at)
            if length <= 16:
                break
            rise = np.sin(np.pi * np.linspace(0, 1, length)) ** rng.uniform(0.7, 2)
            sound[at : at + length] += rise * _shaped(rng, length, _band(low, high))
            at += length + int(rng.uniform(0.05, 0.4) * SAMPLE_RATE)
        at += int(rng.uniform(0.3, 1.5) * SAMPLE_RATE)
    return sound


def _silence(rng: np.random.Generator, size: int) -> _Array:
    """Make digital silence, the last bit's dither, or the hiss of an open line."""
    level = float(rng.choice([0.0, 2.0**-16, 10 ** (-75 / 20), 10 ** (-62 / 20)]))
    return level * rng.standard_normal(size)


SYNTHETIC: Final[dict[str, _Maker]] = {
    "office": _office,
    "hum": _hum,
    "tones": _tones,
    "typing": _typing,
    "breath": _breath,
    "silence": _silence,
}
"""Kinds of sound that need nothing but a seed."""

RECORDED: Final = {
    "recorded office": ("office_ambience",),
    "recorded noise": ("noise1", "noise2", "noise3", "noise4", "noise5"),
}
"""Kinds made from recordings ``noise_rir/audio/*.flac``, by the names of their files."""


def _recorded(data: Path, names: tuple[str, ...], rng: np.random.Generator, size: int) -> _Array:
    """Return a stretch of one of the recordings, begun anywhere and repeated if it must be."""
    path = data / "noise_rir" / "audio" / f"{rng.choice(names)}.flac"
    samples, rate = soundfile.read(path, dtype="float64")
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    begin = int(rng.integers(len(samples)))
    looped: _Array = np.resize(np.roll(samples, -begin), size)
    return looped
