"""pocketsphinx with the model in its package: no download, real partials, modest accuracy.

Clips of one utterance share their beginning, so a decoder is only ever fed what is new. An
utterance is never closed to get its final text: closing cannot be undone, a speculative
final may still be followed by a longer clip, and the passes that closing would add cost up to
half a second without being better (see ``_PARAMETERS``).

What a session hears must not depend on others, nor on how its sound was chopped into clips. A
decoder is lent to one session at a time; before every utterance all that it has learnt is
replaced by the cepstral mean of the utterance's first second and of the session so far. So a
session that lost its decoder gets the same text from another.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples
from streamser.errors import ModelError
from streamser.speech.transcriber import Transcript, Word

__all__ = ["SphinxTranscriber"]

# Chosen on 29 short clips of 14 speakers with transcripts (250 words, 92 s), by word error rate
# (WER) and processor time per second of sound (RTF). What closing an utterance adds, with the
# default passes: 0.1 s at the median, 0.4 s at the 95th percentile, WER .508 -> .524. Active
# HMMs, with the means below: 30,000 (default) WER .348, RTF .36; 10,000 .348, .25; 5,000 .348,
# .21; 3,000 .356, .15 (two words in 250 for a third of the time). At 5,000: topn=2 WER .404;
# pl_window=0 .348, a third slower. Without the means below, WER rose from .508 to .576 with
# ds=2, .560 with lw=8, .536 with topn=2.
# With the means, at 3,000, against .356 in steps of half a second: 2,000 active HMMs .388, 1,000
# .416, topn=3 .368, topn=2 .412, ds=2 .408, pl_window=0 .380; against .348 at once: wbeam and
# lponlybeam of 1e-20 .360, pl_weight=5 .380 (steps mattered then, see ``_PIECE``).
# ``scripts/evaluate_sphinx.py`` measures it again.
_PARAMETERS: Final[dict[str, Any]] = {
    "samprate": float(SAMPLE_RATE),
    "loglevel": "FATAL",
    "fwdflat": False,
    "bestpath": False,
    "maxhmmpf": 3_000,
    # All senones in every frame (True) is more work for the same WER.
    # What an earlier utterance leaves behind shifts the scores of all paths alike: words and
    # their times are the same whatever a decoder did before (its acoustic scores are not).
    "compallsen": False,
}

_FRAME = SAMPLE_RATE // 100

_PIECE = _FRAME
"""Samples per call. pocketsphinx moves its running mean only between calls, so with more than
one frame a call the text of utterances beyond 3 s would depend on how they were chopped."""

_FIRST_PIECE = 512
"""Samples of an utterance's first call, which must hold a whole window (410 samples)."""

_HEAD = SAMPLE_RATE
"""Samples from whose cepstral mean decoding starts; before them there is no partial.

The model expects the microphone's colour taken off by that mean, and its own first guess (40,
3, -1, 0, …) is far from most microphones'. On the clips above, WER was .52 with that guess,
.46 with the running mean of the speaker's earlier clips, .36 with the first second weighed
against it as below, .37 with the mean of the whole utterance, which cannot be known."""

_GUESS_FRAMES = 30
"""Weight, in frames of 10 ms, of the model's own guess of the mean at a session's start."""

_HISTORY_FRAMES = 100
"""Weight of the mean of the session so far."""

_PRIOR_FRAMES = 500
"""Weight that pocketsphinx gives to a mean that it is set to (CMN_WIN in its cmn.h)."""

_CEPSTRA = 13

_Mean = npt.NDArray[np.float64]


class _Voice(msgspec.Struct, eq=False):
    """Hold what is kept of a session: its utterance and the cepstral means around it."""

    utterance: int
    before: _Mean
    """Of the session before this utterance."""
    weight: int
    """Of ``before``, in frames."""
    after: _Mean | None = None
    """Of the session with it, once a final clip of it was heard and its decoder was closed."""


class _Seat(msgspec.Struct, eq=False):
    """Hold a decoder and what it has been fed: samples of one utterance of one session."""

    decoder: Any
    session_id: str | None = None
    utterance: int = 0
    fed: int = 0
    head: int = 0
    """Samples that the cepstral mean was taken from."""
    final: bool = False
    """Whether all that was fed is a final clip."""
    open: bool = False


class SphinxTranscriber:
    """Recognise English with pocketsphinx, going on where the last clip of an utterance ended.

    ``max_decoders`` bounds memory; with more live sessions than decoders, the one whose turn
    is longest ago decodes its utterance from the start when it comes back. Raises
    ``ModelError`` where pocketsphinx is not installed or its model cannot be read.
    """

    name = "pocketsphinx/en-us"
    batches = False

    def __init__(self, max_decoders: int = 4) -> None:
        self._max_decoders = max(1, max_decoders)
        self._voices: dict[str, _Voice] = {}
        # Least recently used first.
        self._seats: list[_Seat] = [_Seat(_new_decoder())]
        self._ear = _new_ear()
        self._guess = _mean(self._ear)

    def transcribe(self, clips: Sequence[Clip]) -> list[Transcript]:
        """Recognise clips one after another; a longer clip of an utterance costs what is new."""
        return [self._recognise(clip) for clip in clips]

    def forget(self, session_id: str) -> None:
        """Drop a session's state; its decoder is free for the next."""
        self._voices.pop(session_id, None)
        for seat in self._seats:
            if seat.session_id == session_id:
                _close(seat)
                seat.session_id = None
                self._seats.remove(seat)
                self._seats.insert(0, seat)
                return

    def _recognise(self, clip: Clip) -> Transcript:
        head = min(_HEAD, len(clip.samples))
        if not clip.samples.size or (head < _HEAD and not clip.final):
            return Transcript("", language="en")
        seat = self._seat(clip.session_id)
        goes_on = seat.open and seat.utterance == clip.utterance and seat.head == head
        if not goes_on or seat.fed > len(clip.samples):
            self._begin(seat, clip, head)
        try:
            _feed(seat.decoder, clip.samples[seat.fed :], first=seat.fed == 0)
        except RuntimeError:
            # How much was taken is not known: begin anew next time.
            _close(seat)
            raise
        seat.fed, seat.final = len(clip.samples), clip.final
        words = _words(seat.decoder, clip)
        return Transcript(text=" ".join(word.text for word in words), words=words, language="en")

    def _seat(self, session_id: str) -> _Seat:
        """Return the session's decoder, a free or new one, or the least recently used."""
        seat = next((seat for seat in self._seats if seat.session_id == session_id), None)
        if seat is None:
            seat = next((seat for seat in self._seats if seat.session_id is None), None)
        if seat is None and len(self._seats) < self._max_decoders:
            seat = _Seat(_new_decoder())
            self._seats.append(seat)
        if seat is None:
            seat = self._seats[0]
            self._leave(seat)
        seat.session_id = session_id
        self._seats.remove(seat)
        self._seats.append(seat)
        return seat

    def _leave(self, seat: _Seat) -> None:
        """Close what a decoder has open and note what its session has learnt by it.

        Only a finished utterance counts: how much of an unfinished one was heard is chance.
        """
        is_open = seat.open
        _close(seat)
        voice = self._voices.get(seat.session_id or "")
        if is_open and seat.final and voice is not None and voice.utterance == seat.utterance:
            voice.after = _mean(seat.decoder)

    def _begin(self, seat: _Seat, clip: Clip, head: int) -> None:
        self._leave(seat)
        voice = self._voices.get(clip.session_id)
        if voice is None:
            voice = _Voice(clip.utterance, self._guess, _GUESS_FRAMES)
            self._voices[clip.session_id] = voice
        elif voice.utterance != clip.utterance and voice.after is not None:
            voice.before, voice.weight = voice.after, _HISTORY_FRAMES
        voice.utterance, voice.after = clip.utterance, None
        frames = head // _FRAME
        total = voice.before * voice.weight
        if frames:
            total = total + frames * _mean_of(self._ear, clip.samples[:head], frames)
        _start(seat.decoder, total / (voice.weight + frames))
        seat.utterance, seat.fed, seat.head, seat.open = clip.utterance, 0, head, True


def _new_decoder() -> Any:
    return _open_decoder(_PARAMETERS)


def _new_ear() -> Any:
    """Return a decoder that knows one word: a front end, for pocketsphinx sells none alone.

    Even an utterance that is not searched is searched when it is closed: with the whole
    vocabulary that takes as long as decoding it, with one word 1 % of that.
    """
    ear = _open_decoder({**_PARAMETERS, "lm": None})
    ear.add_jsgf_string("ear", "#JSGF V1.0; grammar ear; public <word> = a;")
    ear.activate_search("ear")
    return ear


def _open_decoder(parameters: dict[str, Any]) -> Any:
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise ModelError(
            "pocketsphinx is not installed: run pip install pocketsphinx"
            " (there is no wheel for Python 3.14 and later)"
        ) from error
    try:
        return Decoder(**parameters)
    except RuntimeError as error:
        raise ModelError(
            f"pocketsphinx cannot read its model ({error}):"
            " run pip install --force-reinstall pocketsphinx"
        ) from error


def _close(seat: _Seat) -> None:
    if seat.open:
        seat.decoder.end_utt()
        seat.open = False


def _start(decoder: Any, mean: _Mean) -> None:
    # A new front end forgets the noise that it has heard.
    decoder.reinit_feat()
    decoder.set_cmn(",".join(f"{value:.6g}" for value in mean))
    decoder.start_utt()


def _mean(decoder: Any) -> _Mean:
    return np.array([float(value) for value in decoder.get_cmn().split(",")])


def _mean_of(decoder: Any, samples: Samples, frames: int) -> _Mean:
    """Return the cepstral mean of at most 3 s of sound, by the decoder's front end alone."""
    _start(decoder, np.zeros(_CEPSTRA))
    decoder.process_raw(_pcm(samples), True, False)
    decoder.end_utt()
    # It mixes what it hears with the mean that it was set to.
    return _mean(decoder) * (_PRIOR_FRAMES + frames) / frames


def _pcm(samples: Samples) -> bytes:
    return (np.clip(samples, -1.0, 1.0) * 32767).round().astype("<i2").tobytes()


def _feed(decoder: Any, samples: Samples, *, first: bool) -> None:
    pcm = _pcm(samples)
    start = 0
    stop = 2 * (_FIRST_PIECE if first else _PIECE)
    while start < len(pcm):
        decoder.process_raw(pcm[start:stop], False, False)
        start, stop = stop, stop + 2 * _PIECE
        # Lets go of the interpreter's lock, so that audio and events of other threads move on.
        time.sleep(0)


def _words(decoder: Any, clip: Clip) -> tuple[Word, ...]:
    """Return the words of the best path so far, without silences, noises and variant marks."""
    if decoder.hyp() is None:
        return ()
    words = []
    for segment in decoder.seg() or ():
        text = segment.word.partition("(")[0].strip().lower()
        if text and text[0] not in "<[+":
            start = clip.start + segment.start_frame * _FRAME
            end = clip.start + (segment.end_frame + 1) * _FRAME
            words.append(Word(text, min(start, clip.end), min(end, clip.end)))
    return tuple(words)
