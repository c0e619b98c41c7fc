"""Make the bundled demo recording: a meeting of three synthetic speakers, 90 seconds long.

Every sound in it comes from this script: flite 2.2 speaks the lines (Debian/Ubuntu package
``flite``), seeded noise is the room. Flite and its CMU Arctic voices slt, awb and rms are
© 1999–2016 Carnegie Mellon University under its free, BSD-like licence: "free of charge, to use
and distribute this software and its documentation without restriction". What they say is ours.

    python scripts/make_demo.py            write streamser/assets/demo.flac and demo.json
    python scripts/make_demo.py --check    show what Whisper tiny.en and VADER make of it

The same versions of flite and libsndfile give the same file again, byte for byte.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples, to_ms, to_samples
from streamser.bench.word_errors import bare_words, word_errors
from streamser.errors import ModelError
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber

__all__ = ["Dialogue", "Utterance", "hear", "main"]

_OUT = Path(__file__).parents[1] / "streamser" / "assets" / "demo.flac"
_NO_FLITE = (
    "make_demo: the synthesiser 'flite' is not installed: try 'apt-get install flite' "
    "(macOS: 'brew install flite')"
)
_ROOM_DBFS = -65.0
_ROOM_SEED = 20
_LEAD_MS, _TAIL_MS = 500, 1000
_FIXED_PITCH_SHARE = 0.35
"""How far, in octaves, a style moves a voice whose F0 flite fixes, against the others."""
_FINE = 8
"""The oversampling at which linear interpolation between samples cannot be heard."""


class Style(msgspec.Struct, frozen=True):
    """Say how an emotion sounds, relative to the voice's own manner.

    ``pitch`` multiplies the voice's mean F0, ``pitch_range`` its deviation, ``stretch`` its
    durations; ``level`` is the RMS of the speech in dBFS, ``effort`` the dB of :func:`strain`,
    ``fall`` the semitones by which the voice sinks from the first word to the last.
    """

    pitch: float
    pitch_range: float
    stretch: float
    level: float
    effort: float
    fall: float


class Voice(msgspec.Struct, frozen=True):
    """Name a flite voice; its F0 mean and deviation in Hz are ``None`` where flite fixes them."""

    name: str
    pitch: float | None = None
    pitch_range: float | None = None


class Line(msgspec.Struct, frozen=True):
    """Hold one line of the play and the pause after it."""

    speaker: str
    style: str
    text: str
    pause_ms: int


class Utterance(msgspec.Struct, frozen=True):
    """Tell who says what, how and when; the times are those of the speech itself."""

    speaker: str
    voice: str
    style: str
    text: str
    start_ms: int
    end_ms: int


class Dialogue(msgspec.Struct, frozen=True):
    """Hold the truth about the recording, as ``demo.json`` has it."""

    synthesiser: str
    sample_rate: int
    duration_ms: int
    utterances: tuple[Utterance, ...]


_STYLES = {
    "neutral": Style(pitch=1.0, pitch_range=1.0, stretch=1.0, level=-25, effort=0, fall=0),
    "happy": Style(pitch=1.28, pitch_range=2.5, stretch=0.92, level=-20.5, effort=5, fall=-0.5),
    "sad": Style(pitch=0.82, pitch_range=0.4, stretch=1.2, level=-31, effort=-2, fall=1.5),
    "angry": Style(pitch=1.45, pitch_range=2.0, stretch=0.87, level=-17, effort=8, fall=0),
}
_CAST = {
    "Anna": Voice("slt", pitch=180, pitch_range=19),
    "Ben": Voice("awb", pitch=129, pitch_range=16),
    "Carl": Voice("rms"),
}
# The lines are those, of some hundred tried, that a small recogniser hears well from these voices.
# The first are neutral and from everybody, because a listener must learn first what neutral
# sounds like. Then good news, a quarrel that swells, grief, and peace at last: the mood turns.
_PLAY = (
    Line(
        "Carl", "neutral", "Let us begin the meeting. We have three items on the list today.", 900
    ),
    Line("Ben", "neutral", "We finished the second part of the project last week.", 800),
    Line("Carl", "neutral", "What happened at the office this week?", 800),
    Line("Anna", "neutral", "The new system came in on Friday, and it works.", 750),
    Line("Carl", "neutral", "What is the next item on the list?", 850),
    Line(
        "Anna", "happy", "I have wonderful news. We won the prize, and everyone is so happy.", 850
    ),
    Line("Ben", "happy", "That is wonderful! Thank you, thank you so much.", 750),
    Line("Anna", "happy", "I love this team. It is a joy to work with you.", 1000),
    Line("Carl", "neutral", "The second item is the money for the new building.", 850),
    Line("Anna", "angry", "The money is lost again. This is unacceptable!", 750),
    Line("Ben", "angry", "This is an insult! I'm sick of your stupid lies.", 700),
    Line("Anna", "angry", "This is a terrible crime. You lied to me, and I am furious.", 700),
    Line("Ben", "angry", "Stop it! You never listen to me, and I hate that.", 850),
    Line("Carl", "neutral", "Please stop. We will take a short break.", 1200),
    Line("Anna", "sad", "I feel so lonely. My old friend died on Sunday.", 1100),
    Line("Ben", "sad", "I am so sorry. I feel sad for you, and I miss her too.", 1000),
    Line("Anna", "sad", "I lost a good friend. I feel sad and alone, and I miss her.", 1000),
    Line("Ben", "sad", "I am sorry. That was terrible and unfair.", 950),
    Line("Anna", "sad", "I was angry and unfair. I am so sorry.", 950),
    Line("Carl", "neutral", "You can take a week off. We will do the rest.", 900),
    Line("Anna", "happy", "Thank you so much. I love you all, and I feel better.", 800),
    Line("Ben", "happy", "We all love you, and you are our best friend.", 750),
    Line("Carl", "happy", "I am so happy that we are all friends again.", 800),
    Line("Anna", "happy", "This is a wonderful day. We all love this team.", 0),
)


def speak(line: Line) -> Samples:
    """Have flite speak a line; return it without the silence around it, at its style's level."""
    import soundfile

    voice, style = _CAST[line.speaker], _STYLES[line.style]
    controls = {"duration_stretch": style.stretch}
    shift = 1.0
    if voice.pitch is not None and voice.pitch_range is not None:
        controls["int_f0_target_mean"] = voice.pitch * style.pitch
        controls["int_f0_target_stddev"] = voice.pitch_range * style.pitch_range
    else:
        shift = style.pitch**_FIXED_PITCH_SHARE
        controls["duration_stretch"] *= shift
    flags = [flag for name, value in controls.items() for flag in ("--setf", f"{name}={value:g}")]
    with tempfile.TemporaryDirectory() as folder:
        wav = str(Path(folder) / "line.wav")
        subprocess.run(
            ["flite", "-voice", voice.name, *flags, "-t", line.text, "-o", wav], check=True
        )
        samples, rate = soundfile.read(wav, dtype="float32")
    if rate != SAMPLE_RATE:
        raise ValueError(f"flite's voice {voice.name} speaks at {rate} Hz, not {SAMPLE_RATE}")
    loudness = frame_levels(samples)
    loud = np.flatnonzero(loudness > loudness.max() - 40)
    frame = to_samples(10)
    speech = bend(samples[loud[0] * frame : (loud[-1] + 1) * frame], shift, style.fall)
    speech = strain(speech, style.effort)
    loudness = frame_levels(speech)
    active = loudness[loudness > loudness.max() - 30]
    gain = style.level - 10 * np.log10(np.mean(10 ** (active / 10)))
    return limit(np.asarray(speech * 10 ** (gain / 20), np.float32))


def limit(speech: Samples) -> Samples:
    """Round off what is beyond half of full scale, so that a shout does not clip."""
    beyond = np.maximum(np.abs(speech) - 0.5, 0)
    rounded = np.minimum(np.abs(speech), 0.5) + 0.45 * np.tanh(beyond / 0.45)
    return np.asarray(np.copysign(rounded, speech), np.float32)


def bend(speech: Samples, shift: float, fall: float) -> Samples:
    """Multiply the pitch by ``shift``, and let it sink by ``fall`` semitones around that.

    Plays faster or slower, as a tape does, so that formants move along: for small steps only.
    """
    import soxr

    if shift == 1 and fall == 0:
        return speech
    fine = soxr.resample(speech, 1, _FINE, quality="VHQ")
    length = round(len(speech) / shift)
    tempo = 2 ** (np.linspace(fall / 2, -fall / 2, length) / 12)
    places = np.cumsum(tempo) * (len(fine) / tempo.sum())
    return np.asarray(np.interp(places, np.arange(len(fine)), fine), np.float32)


def strain(speech: Samples, effort: float) -> Samples:
    """Raise all above 1 kHz by ``effort`` dB, fading in from 300 Hz: a strained voice is bright.

    Removes the mean as well, which flite's voices have.
    """
    spectrum = np.fft.rfft(speech)
    hertz = np.fft.rfftfreq(len(speech), 1 / SAMPLE_RATE)
    octaves = np.log2(np.clip(hertz, 300, 1000) / 300) / np.log2(1000 / 300)
    spectrum[0] = 0
    strained = np.fft.irfft(spectrum * 10 ** (effort * octaves / 20), len(speech))
    return np.asarray(strained, np.float32)


def frame_levels(samples: Samples) -> Samples:
    """Return the RMS of each whole 10 ms in dBFS."""
    frame = to_samples(10)
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    return np.asarray(10 * np.log10(power + 1e-12), np.float32)


def perform() -> tuple[Samples, Dialogue]:
    """Speak the whole play in a quiet room; return the sound and the truth about it."""
    pieces = [np.zeros(to_samples(_LEAD_MS), np.float32)]
    utterances = []
    position = len(pieces[0])
    for line in _PLAY:
        speech = speak(line)
        utterances.append(
            Utterance(
                speaker=line.speaker,
                voice=f"flite/{_CAST[line.speaker].name}",
                style=line.style,
                text=line.text,
                start_ms=to_ms(position),
                end_ms=to_ms(position + len(speech)),
            )
        )
        pieces += [speech, np.zeros(to_samples(line.pause_ms), np.float32)]
        position += len(speech) + len(pieces[-1])
    pieces.append(np.zeros(to_samples(_TAIL_MS), np.float32))
    dry = np.concatenate(pieces)
    noise = np.random.default_rng(_ROOM_SEED).standard_normal(len(dry))
    sound = (dry + noise * 10 ** (_ROOM_DBFS / 20)).astype(np.float32)
    dialogue = Dialogue(
        synthesiser=flite_version(),
        sample_rate=SAMPLE_RATE,
        duration_ms=to_ms(len(sound)),
        utterances=tuple(utterances),
    )
    return sound, dialogue


def flite_version() -> str:
    """Return the version flite reports, such as ``"flite-2.2-current"``."""
    said = subprocess.run(["flite", "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"flite-\d\S*", said.stdout + said.stderr)
    return found.group() if found else "flite"


def hear(sound: Samples, utterances: Sequence[Utterance]) -> list[str]:
    """Return what Whisper tiny.en hears in each, with the 200 ms before it and 160 after.

    That is what a segmenter hands on. Raises ``ModelError`` without the extra ``words``.
    """
    whisper = WhisperTranscriber(WhisperOptions(model="tiny.en", compute_type="int8", offline=True))
    clips = []
    for number, utterance in enumerate(utterances):
        start = to_samples(utterance.start_ms - 200)
        piece = sound[start : to_samples(utterance.end_ms + 160)]
        clips.append(Clip("demo", number, start, piece, final=True))
    return [transcript.text for transcript in whisper.transcribe(clips)]


def check(recording: Path) -> None:
    """Print what recogniser and lexicon make of a recording, one utterance a line."""
    import soundfile
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    sound, _ = soundfile.read(recording, dtype="float32")
    dialogue = msgspec.json.decode(recording.with_suffix(".json").read_bytes(), type=Dialogue)
    lexicon = SentimentIntensityAnalyzer()
    errors = words = 0
    print("intended | recognised | VADER compound | seconds")
    for utterance, heard in zip(dialogue.utterances, hear(sound, dialogue.utterances), strict=True):
        truth = bare_words(utterance.text)
        errors, words = errors + word_errors(truth, bare_words(heard)), words + len(truth)
        valence = lexicon.polarity_scores(heard)["compound"]
        when = f"{utterance.start_ms / 1000:.2f}–{utterance.end_ms / 1000:.2f}"
        print(f"{utterance.style}: {utterance.text} | {heard} | {valence:+.2f} | {when}")
    print(f"word error rate {errors / words:.1%} ({errors} of {words} words)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the recording, or check it; return the exit status."""
    parser = argparse.ArgumentParser(description="Make the bundled demo recording with flite.")
    parser.add_argument("--out", type=Path, default=_OUT, help="where the FLAC goes")
    parser.add_argument("--check", action="store_true", help="only say what is heard in it")
    options = parser.parse_args(arguments)
    if options.check:
        if not options.out.exists():
            print(f"make_demo: no recording at {options.out}: run without --check", file=sys.stderr)
            return 1
        try:
            check(options.out)
        except ModelError as error:
            print(f"make_demo: {error}", file=sys.stderr)
            return 1
        return 0
    if shutil.which("flite") is None:
        print(_NO_FLITE, file=sys.stderr)
        return 1
    import soundfile

    sound, dialogue = perform()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(options.out, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    truth = msgspec.json.format(msgspec.json.encode(dialogue), indent=2)
    options.out.with_suffix(".json").write_bytes(truth + b"\n")
    print(f"{options.out}: {dialogue.duration_ms / 1000:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
