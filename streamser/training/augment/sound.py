"""The variations of recordings, mono float32 at 16 kHz in and out, and what they are made with.

A ``Variation`` is drawn first, from recordings of noises and rooms or synthetic ones, and then
applied to a recording (here) or to its features (``mel``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.errors import AudioError, ConfigError
from streamser.training.augment import bands
from streamser.training.settings import AugmentSettings

Colour = Literal["white", "pink", "brown"]

_BLOCK = 256


class Variation(NamedTuple):
    """Hold what happens to a sound, in the order of the way from a mouth to a file.

    ``speed`` above 1 is faster and higher; ``room`` a response from its direct sound on;
    ``snr_db`` the noise after it; ``responses`` those of microphone and line.
    """

    speed: float = 1.0
    room: Samples | None = None
    snr_db: float | None = None
    responses: tuple[bands.Response, ...] = ()
    gain_db: float = 0.0


def draw_variation(
    settings: AugmentSettings, rooms: tuple[SoundFile, ...], rng: np.random.Generator
) -> Variation:
    """Draw what happens to the next clip; what a setting of 0 switches off draws nothing."""

    def happens(probability: float) -> bool:
        return probability > 0 and bool(rng.random() < probability)

    speed = rng.uniform(1 - settings.speed, 1 + settings.speed) if settings.speed else 1.0
    room = draw_room(rooms, rng) if happens(settings.room) else None
    snr_db = rng.uniform(*settings.snr_db) if happens(settings.noise) else None
    responses: list[bands.Response] = []
    if happens(settings.band):
        responses.append(bands.draw_equaliser(rng))
    if happens(settings.telephone):
        responses.append(bands.Telephone(narrow=bool(rng.random() < 0.5)))
    gain_db = rng.uniform(-settings.gain_db, settings.gain_db) if settings.gain_db else 0.0
    return Variation(speed, room, snr_db, tuple(responses), gain_db)


def vary_sound(
    samples: Samples,
    variation: Variation,
    noises: tuple[SoundFile, ...],
    rng: np.random.Generator,
) -> Samples:
    """Apply a variation; the very same array where it changes nothing, else a new one.

    The length stays unless the speed changes. Where the result would leave [-1, 1], all of it
    is made quieter; it is never clipped. An empty or silent clip stays as it is.
    """
    if not samples.any():
        return samples
    varied = samples
    if variation.speed != 1:
        varied = change_speed(varied, variation.speed)
    if variation.room is not None:
        varied = reverberate(varied, variation.room)
    if variation.snr_db is not None:
        noise = noise_piece(noises, len(varied), rng)
        varied = add_noise(varied, noise, variation.snr_db)
    for response in variation.responses:
        varied = bands.filter_sound(varied, response)
    if variation.gain_db:
        varied = varied * np.float32(10 ** (variation.gain_db / 20))
    return samples if varied is samples else to_full_scale(varied)


def change_speed(samples: Samples, factor: float) -> Samples:
    """Play ``factor`` times as fast: length / factor, every frequency × factor."""
    import soxr

    length = max(1, round(len(samples) / factor))
    resampled = soxr.resample(samples, factor, 1.0)[:length]
    changed: Samples = np.pad(resampled, (0, length - len(resampled)))
    return changed


def reverberate(samples: Samples, response: Samples) -> Samples:
    """Put a voice into a room: same length, same energy, direct sound where it was.

    What would ring on after the end of the clip is left out.
    """
    from scipy import signal

    wet: Samples = signal.fftconvolve(samples, response)[: len(samples)]
    energy = np.sum(np.square(wet, dtype=np.float64))
    if energy == 0:
        return samples
    scale = np.sqrt(np.sum(np.square(samples, dtype=np.float64)) / energy)
    return wet * np.float32(scale)


def add_noise(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Add a noise of the same length, so loud that the ratio holds where there is speech.

    Powers are those of blocks of 16 ms (see ``noise_scale``). The sum may leave [-1, 1].
    """
    scale = noise_scale(_block_powers(samples), _block_powers(noise), snr_db)
    return samples + np.float32(np.sqrt(scale)) * noise


def _block_powers(samples: Samples) -> npt.NDArray[np.float64]:
    """Return the mean square of each block of 256 samples; the last is filled with zeros."""
    blocks = np.pad(samples, (0, -len(samples) % _BLOCK)).reshape(-1, _BLOCK)
    powers: npt.NDArray[np.float64] = np.square(blocks, dtype=np.float64).mean(axis=1)
    return powers


# ITU-T P.56: what lies this far below the active level is not speech.
_MARGIN_DB = 15.9
# Noise that pauses while there is speech counts as at least this share of its mean power.
_LEAST_SHARE = 0.1


def active(powers: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Say which frames hold speech, from their powers [T]; none where all is silent.

    The active level is the mean power of the frames that are less than 15.9 dB below it
    (ITU-T P.56, on frames instead of an envelope): the fixed point from all frames upwards.
    """
    chosen: npt.NDArray[np.bool_] = powers > 0
    while chosen.any():
        kept = powers > powers[chosen].mean() * 10 ** (-_MARGIN_DB / 10)
        if kept.sum() >= chosen.sum():
            break
        chosen = kept
    return chosen


def noise_scale(
    speech: npt.NDArray[np.floating], noise: npt.NDArray[np.floating], snr_db: float
) -> float:
    """Return what a noise's power must be multiplied with, from the powers of both by frame [T].

    The ratio holds between the means over the frames with speech. A noise that is more than
    10 dB below its own mean there is taken as 10 dB below it. 0 where one of both is silent:
    there is nothing that a ratio could refer to.
    """
    heard = active(speech)
    if not heard.any() or not noise.any():
        return 0.0
    level = max(noise[heard].mean(), _LEAST_SHARE * noise.mean())
    return float(speech[heard].mean() / level * 10 ** (-snr_db / 10))


def to_full_scale(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Make a clip quieter as a whole where it would leave [-1, 1]; nothing is ever clipped."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples if peak <= 1 else samples / np.float32(peak)


_SUFFIXES = {".wav", ".flac"}


class SoundFile(NamedTuple):
    """Name one file: its rate in Hz and its length in frames at that rate."""

    path: Path
    rate: int
    frames: int

    @property
    def length(self) -> int:
        """Return its length in samples at 16 kHz."""
        return max(1, round(self.frames * SAMPLE_RATE / self.rate))


def list_recordings(folder: Path, what: str) -> tuple[SoundFile, ...]:
    """List the WAV and FLAC files below a folder by name, without those that cannot be opened.

    ``what`` names the folder's purpose in the message of the ``ConfigError`` that is raised
    where there is no such folder or nothing in it can be read.
    """
    import soundfile

    if not folder.is_dir():
        raise ConfigError(f"no folder of {what} at {folder}: give one that exists, or none")
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            continue
        try:
            info = soundfile.info(path)
        except (soundfile.LibsndfileError, OSError):
            continue
        if info.frames > 0 and info.samplerate > 0:
            found.append(SoundFile(path, info.samplerate, info.frames))
    if not found:
        raise ConfigError(f"no readable WAV or FLAC file below {folder}: put {what} there")
    return tuple(found)


def read_recording(recording: SoundFile, start: int = 0, length: int | None = None) -> Samples:
    """Read ``length`` samples from ``start`` on, both at 16 kHz; the mean of all channels.

    May give a few samples less or more, by rounding and at the end of the file. Raises
    ``AudioError`` where the file cannot be decoded any more.
    """
    import soundfile
    import soxr

    path, rate, frames = recording
    begin = min(start * rate // SAMPLE_RATE, frames - 1)
    count = -1 if length is None else -(-length * rate // SAMPLE_RATE) + 1
    try:
        with soundfile.SoundFile(path) as file:
            file.seek(begin)
            read = file.read(count, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"cannot read {path} any more: {error}") from error
    mono = read.mean(axis=1, dtype=np.float32)
    samples: Samples = mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE)
    return np.nan_to_num(samples, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


_SLOPE: Final = {"white": 0, "pink": 1, "brown": 2}

# Below this pink and brown are flat: their power would else lie where no microphone hears it.
_FLAT_BELOW_HZ = 50.0
# A noise that is silent at the drawn place is searched for sound no further than this.
_SEARCHED = 60 * SAMPLE_RATE


def list_noises(folder: Path | None) -> tuple[SoundFile, ...]:
    """List a folder's noises; none means synthetic ones. Raises ``ConfigError``."""
    return () if folder is None else list_recordings(folder, "noises")


def coloured_noise(colour: Colour, length: int, rng: np.random.Generator) -> Samples:
    """Make Gaussian noise whose power falls as 1, 1/f or 1/f² above 50 Hz; its power is 1."""
    white = rng.standard_normal(length, dtype=np.float32)
    if colour == "white":
        return white
    from scipy import fft

    size = fft.next_fast_len(max(length, 2), real=True)
    spectrum = fft.rfft(white, size)
    hertz = np.linspace(0, SAMPLE_RATE / 2, len(spectrum), dtype=np.float32)
    spectrum *= np.maximum(hertz, _FLAT_BELOW_HZ) ** np.float32(-_SLOPE[colour] / 2)
    shaped = fft.irfft(spectrum, size)[:length]
    noise: Samples = shaped / np.sqrt(np.mean(shaped**2) + np.float32(1e-30))
    return noise


def noise_piece(noises: tuple[SoundFile, ...], length: int, rng: np.random.Generator) -> Samples:
    """Return ``length`` samples of a noise drawn at random, from a random place.

    Files shorter than that are looped. Where the place is digital silence, the piece begins at
    the file's loudest sample instead. A file of silence, and no files at all, mean noise of a
    random colour, whose power is 1. Raises ``AudioError`` where a file has become unreadable.
    """
    colours: tuple[Colour, ...] = get_args(Colour)
    colour = colours[rng.integers(len(colours))]
    if not noises:
        return coloured_noise(colour, length, rng)
    noise = noises[rng.integers(len(noises))]
    start = int(rng.integers(noise.length))
    piece = _piece(noise, start, length)
    if piece.any():
        return piece
    searched = read_recording(noise, 0, _SEARCHED)
    if not searched.any():
        return coloured_noise(colour, length, rng)
    return np.resize(np.roll(searched, -int(np.abs(searched).argmax())), length)


def _piece(noise: SoundFile, start: int, length: int) -> Samples:
    """Read from ``start`` on and over the end back to the beginning as often as it takes."""
    if length >= noise.length:
        return np.resize(np.roll(read_recording(noise), -start), length)
    first = read_recording(noise, start, min(length, noise.length - start))[:length]
    if len(first) == length:
        return first
    rest = read_recording(noise, 0, length - len(first))
    return np.resize(np.concatenate([first, rest]), length)


_LONGEST = 2 * SAMPLE_RATE
# An office to a hall, spoken to from near to a few metres; first echo after 0.7 to 2.7 m more.
_REVERBERATION_S = (0.15, 1.0)
_DIRECT_TO_REVERBERANT_DB = (-3.0, 12.0)
_FIRST_ECHO_S = (0.002, 0.008)


def list_rooms(folder: Path | None) -> tuple[SoundFile, ...]:
    """List a folder's responses; none means synthetic ones. Raises ``ConfigError``."""
    return () if folder is None else list_recordings(folder, "room responses")


def draw_room(rooms: tuple[SoundFile, ...], rng: np.random.Generator) -> Samples:
    """Draw a response of 2 s at most whose first sample, the direct sound, is 1.

    The direct sound of a recorded response is its largest sample; what comes before is left
    out. Synthetic ones are an exponentially decaying noise (reverberation time 0.15 to 1 s)
    behind the direct sound. Raises ``AudioError`` where a file has become unreadable.
    """
    if rooms:
        return _from_direct(read_recording(rooms[rng.integers(len(rooms))], 0, 2 * _LONGEST))
    seconds = float(np.exp(rng.uniform(*np.log(_REVERBERATION_S))))
    ratio_db = rng.uniform(*_DIRECT_TO_REVERBERANT_DB)
    silent = round(rng.uniform(*_FIRST_ECHO_S) * SAMPLE_RATE)
    length = round(seconds * SAMPLE_RATE)
    time = np.arange(length, dtype=np.float32) / np.float32(SAMPLE_RATE)
    tail = rng.standard_normal(length, dtype=np.float32)
    # 60 dB of power in the reverberation time is a factor of 1000 in amplitude.
    tail *= np.exp(time * np.float32(-np.log(1000) / seconds))
    tail[:silent] = 0
    tail *= np.float32(10 ** (-ratio_db / 20)) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return tail


def _from_direct(response: Samples) -> Samples:
    # A recorder's offset, summed over seconds of response, would outweigh the room.
    level = response - response.mean() if len(response) > SAMPLE_RATE // 10 else response
    if not level.any():
        return np.ones(1, dtype=np.float32)
    direct = int(np.abs(level).argmax())
    cut: Samples = level[direct : direct + _LONGEST] / level[direct]
    return cut


def band_decay(response: Samples, grid: bands.MelGrid = bands.MEL) -> npt.NDArray[np.float64]:
    """Return what comes 0, 1, 2 … frames late in each band, as power gains [K, bands].

    What comes between two frames is shared by both: windows of two frames whose squares sum to
    1. A response of one sample gives ones.
    """
    from scipy import fft

    hop = grid.hop
    length = hop * (2 + len(response) // hop)
    padded = np.pad(response, (hop, length - len(response)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop]
    sine = np.sin(np.pi * np.arange(2 * hop) / (2 * hop)).astype(np.float32)
    spectrum = fft.rfft(windows * sine, grid.window, axis=1)
    return bands.band_gain(np.square(spectrum.real) + np.square(spectrum.imag), grid)
