"""Guards against invented text: recognisers write fluent nonsense over silence and noise.

The thresholds on no-speech probability, log-probability and compression ratio are those of
OpenAI's Whisper (Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak
Supervision", §4.5, and its ``transcribe``). None of the guards knows a language.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Sequence

import msgspec
import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples
from streamser.speech.transcriber import Transcript

__all__ = ["GuardLimits", "distrust", "guarded", "loudest_dbfs"]

_LOUDNESS_WINDOW = SAMPLE_RATE // 10


class GuardLimits(msgspec.Struct, frozen=True):
    """Say where distrust begins.

    ``min_dbfs``: RMS of the loudest 100 ms, in dB re full scale (a full-scale square wave is
    0 dB). Quiet speech into a poorly set microphone is around -50; 16-bit hiss is below -65.

    ``max_no_speech`` counts only together with a mean log-probability of the tokens below
    ``no_speech_logprob``, as in Whisper: its no-speech token alone fires on accents and music
    too, and text that the model is sure of overrules it. At Whisper's own -1.0 the rule only
    names the cause (silence rather than mumbling); a higher value makes it stricter.
    ``min_logprob`` is the mean below which text is doubted whatever the no-speech token says.

    ``max_compression`` is the ratio of the UTF-8 text to its zlib form. ``max_repeats`` is how
    often a run of 1 to ``max_ngram`` words may be said in a row: "no no no" is speech,
    "thank you thank you thank you thank you" over noise is not.

    The three rates bound what a mouth can do. Fast English is 5 words or 25 letters a second;
    letters are counted for scripts without spaces, and Han characters and kana apart, for
    each stands for a syllable or more and nobody speaks 15 syllables a second. A clip shorter
    than ``min_seconds`` is judged as if it lasted that long.
    """

    min_dbfs: float = -60.0
    max_no_speech: float = 0.6
    no_speech_logprob: float = -1.0
    min_logprob: float = -1.0
    max_compression: float = 2.4
    max_ngram: int = 5
    max_repeats: int = 3
    max_words_per_second: float = 10.0
    max_letters_per_second: float = 50.0
    max_ideographs_per_second: float = 15.0
    min_seconds: float = 0.3


_DEFAULTS = GuardLimits()


def guarded(transcript: Transcript, clip: Clip, limits: GuardLimits = _DEFAULTS) -> Transcript:
    """Return the transcript with ``distrust`` filled in."""
    return msgspec.structs.replace(transcript, distrust=distrust(transcript, clip, limits))


def distrust(transcript: Transcript, clip: Clip, limits: GuardLimits = _DEFAULTS) -> str:
    """Return why the text must not be believed, or an empty string.

    The first that applies of ``"too_quiet"``, ``"no_speech"``, ``"low_logprob"``,
    ``"repetitive"``, ``"too_fast"``. An empty text claims nothing and is never distrusted;
    what an engine does not report (``None``) is not held against it.
    """
    text = transcript.text.strip()
    if not text:
        return ""
    logprob = transcript.avg_logprob
    if loudest_dbfs(clip.samples) < limits.min_dbfs:
        return "too_quiet"
    if (
        transcript.no_speech is not None
        and transcript.no_speech > limits.max_no_speech
        and (logprob is None or logprob < limits.no_speech_logprob)
    ):
        return "no_speech"
    if logprob is not None and logprob < limits.min_logprob:
        return "low_logprob"
    if _repetitive(text, limits):
        return "repetitive"
    if _too_fast(text, len(clip.samples) / SAMPLE_RATE, limits):
        return "too_fast"
    return ""


def loudest_dbfs(samples: Samples) -> float:
    """Return the RMS of the loudest 100 ms (in steps of 50 ms) in dBFS; -inf for silence.

    Samples that are not finite count as silence.
    """
    power = np.square(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), dtype=np.float64)
    if not power.size:
        return float("-inf")
    sums = np.concatenate(([0.0], np.cumsum(power)))
    width = min(_LOUDNESS_WINDOW, power.size)
    starts = np.arange(0, power.size - width + 1, max(1, width // 2))
    loudest = float(np.max(sums[starts + width] - sums[starts])) / width
    return 10.0 * float(np.log10(loudest)) if loudest > 0.0 else float("-inf")


def _repetitive(text: str, limits: GuardLimits) -> bool:
    data = text.encode()
    if len(data) / len(zlib.compress(data)) > limits.max_compression:
        return True
    return _longest_run(_units(text), limits.max_ngram) > limits.max_repeats


def _units(text: str) -> list[str]:
    """Split text into what may repeat: words, or characters in scripts without spaces."""
    words = [word for word in map(_letters, text.casefold().split()) if word]
    letters = "".join(words)
    if any(map(_is_ideograph, letters)) or (letters and len(letters) > 20 * len(words)):
        return list(letters)
    return words


def _longest_run(units: Sequence[str], max_ngram: int) -> int:
    """Return how often the most repeated n-gram is said in a row."""
    longest = 0
    for n in range(1, max_ngram + 1):
        # A run of k n-grams is a stretch of (k - 1) * n units, each equal to the one n later.
        equal = 0
        for one, later in zip(units, units[n:], strict=False):
            equal = equal + 1 if one == later else 0
            longest = max(longest, equal // n + 1)
    return longest


def _too_fast(text: str, seconds: float, limits: GuardLimits) -> bool:
    seconds = max(seconds, limits.min_seconds)
    letters = _letters(text)
    ideographs = sum(map(_is_ideograph, letters))
    return (
        len(text.split()) > limits.max_words_per_second * seconds
        or len(letters) - ideographs > limits.max_letters_per_second * seconds
        or ideographs > limits.max_ideographs_per_second * seconds
    )


def _letters(text: str) -> str:
    return "".join(letter for letter in text if unicodedata.category(letter)[0] in "LNM")


def _is_ideograph(letter: str) -> bool:
    """Tell a Han character or kana, which stands for a syllable or more."""
    return "\u3040" <= letter <= "\u30ff" or "\u3400" <= letter <= "\u9fff"
