"""Learn where voices lie, and how people and moods move them: ``python -m tools.speakers.space``.

    python -m tools.speakers.space --data DIR [--keep FILE] [--out DIR]

The 72 actors of CREMA-D's train and dev splits (DIR/cremad_mel, spectrograms) are made audible
again and described by the bundled embedder, clean and in a room with noise (DIR/noise_rir). Of
these come the middle of all voices, the directions in which people differ most beside what one
person's moods do, how much, and the direction in which voices become lively. OUT gets space.npz;
``--keep`` keeps what the embedder said. Ten minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import BadZipFile

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.clip import Samples
from streamser.cli.console import mend_streams, tell
from streamser.errors import ConfigError, StreamserError
from streamser.graphs import CONFIG, fingerprint, read_parts
from streamser.speech.campplus import DIRECTORY, load_campplus
from streamser.speech.clustering import Numbers
from streamser.speech.diarisation import WINDOW
from streamser.speech.speakers import SPACE, Voice
from streamser.training.augment.sound import (
    Variation,
    draw_room,
    list_noises,
    list_rooms,
    vary_sound,
)
from streamser.training.sounds import Frames, read_archive
from tools.speakers.meetings import NOISE_DB
from tools.speakers.voices import FRAME, loud

__all__ = ["Heard", "Learnt", "audible", "learn", "main", "read_clips", "read_heard"]

KEPT: Final = 80
"""Directions that are kept; docs/speakers.md says what others did."""
SHRINKAGE: Final = 0.85
"""Share of the scatter within people that is taken as the same in all directions."""

RIDGE: Final = 30.0
"""How far the direction of liveliness is kept short: the weight of its square."""
AROUSAL: Final = {
    "anger": 1.0,
    "fear": 1.0,
    "happiness": 1.0,
    "disgust": 0.4,
    "neutral": 0.0,
    "sadness": -0.6,
}
"""How aroused whoever acts an emotion is: roughly what ratings of the words say."""
_CLIPS: Final = 3
"""Of each actor and emotion."""
_BANDS: Final = 128
_FFT: Final = 1024
_HOP: Final = 256
_ROUNDS: Final = 32
_RANGE_DB: Final = 80.0


class Learnt(NamedTuple):
    """Hold what ``VoiceSpace`` does: a middle [D], directions [D, d], [d] and [D]."""

    mean: Numbers
    directions: Numbers
    spread: Numbers
    lively: Numbers


def learn(
    voices: Numbers,
    people: npt.NDArray[np.str_],
    sounds: npt.NDArray[np.str_],
    arousal: Numbers,
    kept: int = KEPT,
    shrinkage: float = SHRINKAGE,
) -> Learnt:
    """Learn from voices [n, D]: whose each is, in what sound, and how aroused.

    What a sound (clean, a room) does to all alike is taken out, for a meeting has one. The scatter
    within people becomes 1 in every direction; they are in order of the scatter between people,
    which is freed of what chance adds to means (the moments of a two-covariance model). Liveliness
    is a ridge regression to arousal.
    """
    centred = voices.copy()
    for sound in np.unique(sounds):
        centred[sounds == sound] -= centred[sounds == sound].mean(axis=0)
    names = np.unique(people)
    means = np.stack([centred[people == name].mean(axis=0) for name in names])
    rest = centred - means[np.searchsorted(names, people)]
    free = len(voices) - len(names)
    within = rest.T @ rest / free
    between = means.T @ means / len(names) - within * len(names) / free
    size = voices.shape[1]
    within = (1 - shrinkage) * within + shrinkage * np.trace(within) / size * np.eye(size)
    variances, axes = np.linalg.eigh(within)
    whitening = axes / np.sqrt(variances)
    spread, turned = np.linalg.eigh(whitening.T @ between @ whitening)
    order = np.argsort(-spread)[:kept]
    scatter = centred.T @ centred + RIDGE * np.eye(size)
    return Learnt(
        voices.mean(axis=0),
        whitening @ turned[:, order],
        np.maximum(spread[order], 1e-6),
        np.linalg.solve(scatter, centred.T @ (arousal - arousal.mean())),
    )


class Heard(NamedTuple):
    """Hold what the embedder said: voices [n, D], whose, in which sound, and how aroused, [n]."""

    voices: npt.NDArray[np.float32]
    people: npt.NDArray[np.str_]
    sounds: npt.NDArray[np.str_]
    arousal: Numbers


def audible(levels: Frames, rng: np.random.Generator) -> Samples:
    """Make sound of a spectrogram: uint8 [n, 128], 80 dB in 255 steps, 16 ms a frame.

    Power in bands to power in lines by multiplicative updates (Lee and Seung, *Algorithms for
    Non-negative Matrix Factorization*, NIPS 2000); phases by the fast Griffin-Lim algorithm
    (Perraudin et al., WASPAA 2013).
    """
    import torch

    bands = 10 ** ((levels.astype(np.float64).T / 255 - 1) * _RANGE_DB / 10)
    power, filters = torch.from_numpy(bands).float(), torch.from_numpy(_slaney()).float()
    lines = torch.clamp(torch.linalg.pinv(filters) @ power, min=1e-9)
    for _ in range(20):
        lines *= filters.T @ (power / (filters @ lines + 1e-10)) / (filters.sum(0)[:, None] + 1e-10)
    size, window = torch.sqrt(lines), torch.hann_window(_FFT, dtype=torch.float32)
    turns = torch.from_numpy(rng.uniform(0, 2 * np.pi, tuple(size.shape))).float()
    phases, before = torch.polar(torch.ones_like(turns), turns), torch.zeros(1)
    length = _HOP * (size.shape[1] - 1)
    for _ in range(_ROUNDS):
        sound = torch.istft(size * phases, _FFT, _HOP, window=window, length=length)
        again = torch.stft(sound, _FFT, _HOP, window=window, return_complex=True)
        faster = again - before * (0.99 / 1.99)
        before, phases = again, faster / (faster.abs() + 1e-9)
    made = torch.istft(size * phases, _FFT, _HOP, window=window, length=length).numpy()
    scaled: Samples = (made * (0.5 / max(float(np.abs(made).max()), 1e-9))).astype(np.float32)
    return scaled


def _slaney() -> Numbers:
    """Return Slaney's filters of equal area over 0-8 kHz, [128, 513]."""
    hertz = np.linspace(0, 8000, _FFT // 2 + 1)
    edges = _hertz(np.linspace(0, 15 + np.log(8) / (np.log(6.4) / 27), _BANDS + 2))
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (hertz - low) / (centre - low), (high - hertz) / (high - centre)
    filters: Numbers = np.maximum(0.0, np.minimum(rising, falling)) * 2 / (high - low)
    return filters


def _hertz(mel: Numbers) -> Numbers:
    found: Numbers = np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
    return found


def _begun(sound: Samples) -> slice:
    """Return where the first 1.5 s of the speech in a clip are."""
    speech = np.flatnonzero(loud(sound))
    first = int(speech[0]) * FRAME if len(speech) else 0
    start = max(0, min(first, len(sound) - WINDOW))
    return slice(start, start + WINDOW)


def read_clips(data: Path) -> tuple[list[dict[str, str]], Frames]:
    """Read of whom and of what CREMA-D's clips of train and dev are, and all spectrograms.

    Raises ``ConfigError`` where ``data`` lacks them.
    """
    folder = data / "cremad_mel"
    try:
        with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] in ("train", "dev")]
    except OSError as error:
        raise ConfigError(f"--data {data}: no cremad_mel/labels.csv ({error.strerror})") from None
    archive = read_archive(folder / "cremad_logmel128_dt_u8.npz").wide
    if archive is None:
        raise ConfigError(f"--data {data}: cremad_mel has no spectrograms of 128 bands")
    return rows, archive


def read_heard(path: Path) -> Heard:
    """Read what ``--keep`` has kept; raises ``ConfigError`` where it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return Heard(**{name: kept[name] for name in Heard._fields})
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise ConfigError(f"{path} is no file of tools.speakers.space --keep: {error}") from None


def _described(data: Path, seed: int) -> Heard:
    rows, archive = read_clips(data)
    rng = np.random.default_rng(seed)
    kinds: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        kinds.setdefault((row["speaker"], row["emotion"]), []).append(row)
    chosen = [
        kinds[key][index]
        for key in sorted(kinds)
        for index in rng.permutation(len(kinds[key]))[:_CLIPS]
    ]
    audio = data / "noise_rir" / "audio"
    noises = tuple(each for each in list_noises(audio) if not each.path.name.startswith("rir"))
    rooms = tuple(each for each in list_rooms(audio) if each.path.name.startswith("rir"))
    embedder = load_campplus()
    voices: list[Voice] = []
    told: list[tuple[str, str]] = []
    arousal: list[float] = []
    for number, row in enumerate(chosen, 1):
        offset, count = int(row["offset"]), int(row["n_frames"])
        clean = audible(archive[offset : offset + count], rng)
        room = Variation(room=draw_room(rooms, rng), snr_db=NOISE_DB)
        noisy = vary_sound(clean, room, noises, rng).astype(np.float32)
        for name, sound in (("clean", clean), ("room", noisy)):
            voices += embedder.embed([sound[_begun(clean)]])
            told.append((row["speaker"], name))
            arousal.append(AROUSAL[row["emotion"]])
        if number % 100 == 0:
            tell(f"{number} of {len(chosen)} clips")
    people, sounds = (np.array(column) for column in zip(*told, strict=True))
    return Heard(np.stack(voices), people, sounds, np.array(arousal))


def main(arguments: Sequence[str] | None = None) -> int:
    """Learn and write; return the exit code."""
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m tools.speakers.space")
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--keep", type=Path, metavar="FILE.npz", help="what the embedder said")
    parser.add_argument("--out", type=Path, default=DIRECTORY, help="folder of the embedder")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        if options.keep is not None and options.keep.exists():
            heard = read_heard(options.keep)
        else:
            heard = _described(options.data, options.seed)
            if options.keep is not None:
                np.savez(options.keep, **heard._asdict())
        learnt = learn(heard.voices.astype(np.float64), *heard[1:])
        half = {name: each.astype(np.float16) for name, each in learnt._asdict().items()}
        np.savez(options.out / SPACE, **half)
        _note(options.out)
    except StreamserError as error:
        print(f"streamser: {error}", file=sys.stderr)
        return 1
    return 0


def _note(folder: Path) -> None:
    """Write what the space hashes to beside what the embedder does."""
    found = read_parts(folder)
    found.parts[SPACE] = fingerprint(folder / SPACE)
    noted = msgspec.json.format(msgspec.json.encode(found), indent=2)
    (folder / CONFIG).write_bytes(noted + b"\n")


if __name__ == "__main__":
    sys.exit(main())
