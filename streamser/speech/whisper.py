"""Whisper through faster-whisper and CTranslate2, batched over utterances of many streams.

faster-whisper itself batches only within one recording, so encoding and decoding are done
here with its parts: one window of 30 s per utterance, stacked, one prompt each. Greedy or
beam search at temperature 0; what Whisper repairs by trying again at higher temperatures is
left to ``streamser.speech.transcriber``, for a retry would take the time of the utterances behind.

On a processor only what was said is encoded, and remembered silence makes up the rest of the
window, see ``streamser.speech.whisper_encoder``.

Words and their times come out of the decoder's cross-attention; the texts of pieces are put
together.
"""

from __future__ import annotations

import logging
import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples
from streamser.errors import ConfigError, ModelError
from streamser.speech.hypothesis import is_unspaced, units
from streamser.speech.transcriber import Guess, LanguageMemory, Transcript, Word, known_language
from streamser.speech.whisper_encoder import (
    Encoded,
    LogMel,
    RememberingEncoder,
    complete,
    frames_needed,
    pad,
    read_encoder,
)
from streamser.speech.whisper_files import is_large, load_whisper, runtime_fault, short_name

logger = logging.getLogger(__name__)

_WINDOW = 30 * SAMPLE_RATE
_EARLIEST_CUT = 20 * SAMPLE_RATE
_MAX_LENGTH = 448
_TOGETHER: Final = 2
"""Windows that a processor decodes at once. Each takes 18 MB of attention with tiny.en, 37 with
base, and more of them at once are no cheaper."""

_FEWEST_FRAMES = 16
"""The alignment has nothing to align in less (its median filter is 7 encoder steps wide)."""
_SPOKEN_MARKS = frozenset("%&@#")
"""Punctuation by Unicode, but read out loud."""


class WhisperOptions(msgspec.Struct, frozen=True):
    """Say which Whisper runs, and how.

    ``model``: a directory in CTranslate2 form, a size of ``WHISPER_SIZES``, or a hub
    repository ``owner/name``. ``language``: a code such as ``"en"``, or ``None`` to detect it;
    what a clip says itself comes first. ``device``: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    ``compute_type``: CTranslate2's, such as ``"float32"``; ``"auto"``: int8 on a processor,
    float16 on CUDA. ``threads``: CPU threads, 0 for as many as help. ``offline`` forbids downloads.
    """

    model: str = "tiny.en"
    language: str | None = None
    device: str = "auto"
    compute_type: str = "auto"
    beam_size: int = 1
    word_times: bool = False
    threads: int = 0
    offline: bool = False


class _ClipPiece(msgspec.Struct, frozen=True, eq=False):
    """Hold at most 30 s of one clip; ``start`` is absolute."""

    clip: int
    start: int
    samples: Samples
    whole: Clip


class WhisperTranscriber:
    """Recognise batches of clips with a Whisper model.

    ``arithmetic`` is the number format it computes in, by CTranslate2's name, ``languages`` the
    codes of those it knows. Where the language of a session is not said, it is detected, see
    ``streamser.speech.transcriber``. Raises ``ModelError`` where the model is missing or cannot be
    run.
    """

    name: str
    arithmetic: str
    languages: frozenset[str]
    batches: bool

    def __init__(self, options: WhisperOptions) -> None:
        self.name = f"faster-whisper/{short_name(options.model)}"
        self._options = options
        self._model, location = load_whisper(
            options.model,
            device=options.device,
            compute_type=options.compute_type,
            threads=options.threads,
            offline=options.offline,
        )
        self.languages = frozenset(self._model.supported_languages)
        self._language = self._known(options.language)
        self._memory = LanguageMemory()
        self._extract = _extractor(self._model)
        self.arithmetic = str(self._model.model.compute_type)
        # A processor is hardly quicker with several at once: the first need not wait for the last.
        self.batches = self._model.model.device == "cuda"
        self._encoder = None if self.batches else _remembering(location)

    def transcribe(self, clips: Sequence[Clip]) -> list[Transcript]:
        """Recognise a batch of clips; one transcript per clip, in order.

        A clip over 30 s is cut at its quietest places, and its pieces are joined:
        ``avg_logprob`` is the mean over all tokens, ``no_speech`` the least of any piece.
        """
        pieces = [piece for number, clip in enumerate(clips) for piece in _pieces(number, clip)]
        if not pieces:
            return [Transcript("") for _ in clips]
        try:
            heard = self._hear(pieces)
        except RuntimeError as error:
            raise runtime_fault(error) from error
        return [
            _joined(clip, [heard[i] for i, piece in enumerate(pieces) if piece.clip == number])
            for number, clip in enumerate(clips)
        ]

    def forget(self, session_id: str) -> None:
        """Drop what was heard of a session's languages."""
        self._memory.forget(session_id)

    def _known(self, language: str | None) -> str | None:
        if language is None and self.languages == {"en"}:
            return "en"
        try:
            return known_language(language, self.languages, self.name)
        except ConfigError as error:
            raise ModelError(str(error), code=error.code) from None

    def _hear(self, pieces: Sequence[_ClipPiece]) -> list[_Decoded]:
        together = len(pieces) if self.batches else _TOGETHER
        groups = [pieces[at : at + together] for at in range(0, len(pieces), together)]
        encoded = [self._encode([self._features(each.samples) for each in g]) for g in groups]
        languages = self._languages(encoded, pieces)
        tokenizers = {language: self._tokenizer(language) for language in set(languages)}
        results, words = list[Any](), list[tuple[Word, ...]]()
        for group, windows in zip(groups, encoded, strict=True):
            spoken = languages[len(results) : len(results) + len(group)]
            found = self._decode(windows, [tokenizers[language] for language in spoken])
            results += found
            if self._options.word_times:
                spans = [Span(piece.start, len(piece.samples)) for piece in group]
                tokens = [list(result.sequences_ids[0]) for result in found]
                words += place_words(self._model, self._tokenizer, windows, spans, tokens, spoken)
        tokens = [list(result.sequences_ids[0]) for result in results]
        return [
            _Decoded(
                text=tokenizers[languages[i]].decode(tokens[i]).strip(),
                # The score is a mean over the tokens without <|endoftext|>, whose
                # log-probability it holds nevertheless.
                logprob=float(result.scores[0]) * len(tokens[i]),
                tokens=len(tokens[i]) + 1,
                no_speech=float(result.no_speech_prob),
                language=languages[i],
                words=words[i] if words else (),
            )
            for i, result in enumerate(results)
        ]

    def _encode(self, features: Sequence[LogMel]) -> Any:
        """Encode windows [mels, n] to [windows, steps, width]: at once on a GPU, else one by one.

        A GPU takes them in full, and so does a model that is too large to hold its encoder twice.
        On a processor the attention over a whole batch would outgrow the caches.
        """
        import ctranslate2

        model, most = self._model.model, int(self._extract.nb_max_frames)
        view = ctranslate2.StorageView.from_array
        if model.device == "cuda":
            return model.encode(view(np.stack([pad(each, most) for each in features])))
        parts: list[Encoded] = []
        for each in features:
            if self._encoder is None:
                encoded = model.encode(view(pad(each, most)[None]))
                parts.append(np.array(encoded.to(ctranslate2.DataType.float32))[0])
            else:
                window = pad(each, frames_needed(each.shape[1], most))
                parts.append(complete(self._encoder.encode(window), self._encoder.silent))
        return view(np.stack(parts))

    def _decode(self, windows: Any, tokenizers: Sequence[Any]) -> list[Any]:
        """Decode windows [windows, steps, width] in the language of each one's tokenizer."""
        from faster_whisper.transcribe import get_suppressed_tokens

        return list(
            self._model.model.generate(
                windows,
                [[*tokenizer.sot_sequence, tokenizer.no_timestamps] for tokenizer in tokenizers],
                beam_size=self._options.beam_size,
                max_length=_MAX_LENGTH,
                return_scores=True,
                return_no_speech_prob=True,
                suppress_blank=True,
                suppress_tokens=get_suppressed_tokens(tokenizers[0], [-1]),
            )
        )

    def _features(self, samples: Samples) -> LogMel:
        """Return the log-mel spectrogram [mels, frames] of the sound, with some 30 ms behind it."""
        extractor = self._extract
        # More than one transform's length of zeros, so that no window reflects off the end.
        features: LogMel = extractor(samples, padding=extractor.n_fft + extractor.hop_length)
        return features

    def _languages(self, encoded: Sequence[Any], pieces: Sequence[_ClipPiece]) -> list[str]:
        """Return the language of each piece: as said, or as likely after what came before.

        ``encoded`` are the windows of all, in groups.
        """
        # The pieces of one clip are one utterance: its first piece speaks for all.
        first = {piece.clip: i for i, piece in reversed(list(enumerate(pieces)))}
        said = {
            clip: self._known(pieces[i].whole.language) or self._language
            for clip, i in first.items()
        }
        if None in said.values():
            detect = self._model.model.detect_language
            chances = [chance for windows in encoded for chance in detect(windows)]
            guesses = {
                clip: _guess(pieces[i], chances[i])
                for clip, i in first.items()
                if said[clip] is None
            }
            # All are noted before any is judged: which clips come together is mere timing.
            for clip, guess in guesses.items():
                whole = pieces[first[clip]].whole
                if whole.final:
                    self._memory.note(whole.session_id, whole.utterance, guess)
            for clip, guess in guesses.items():
                whole = pieces[first[clip]].whole
                said[clip] = self._memory.judge(whole.session_id, whole.utterance, guess)
        return [said[piece.clip] or "en" for piece in pieces]

    def _tokenizer(self, language: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        return Tokenizer(
            self._model.hf_tokenizer,
            self._model.model.is_multilingual,
            task="transcribe",
            language=language,
        )


def _guess(piece: _ClipPiece, chances: Sequence[tuple[str, float]]) -> Guess:
    return Guess(
        len(piece.samples) / SAMPLE_RATE, {token.strip("<|>"): chance for token, chance in chances}
    )


class _Decoded(msgspec.Struct, frozen=True):
    """Hold what was heard in one piece; ``logprob`` is the sum over ``tokens`` tokens."""

    text: str
    logprob: float
    tokens: int
    no_speech: float
    language: str
    words: tuple[Word, ...]


def _remembering(location: Path) -> RememberingEncoder | None:
    """Return the encoder that remembers silence; ``None`` where full windows are to be encoded."""
    if is_large(location):
        return None
    try:
        return RememberingEncoder(read_encoder(location / "model.bin"))
    except ModelError as error:
        logger.warning("Every utterance is encoded in 30 s, which is slow: %s", error)
        return None


def _extractor(model: Any) -> Any:
    """Return the model's feature extractor, with as many mel bands as the model wants.

    Models of 128 bands (large-v3) converted without preprocessor_config.json would else be
    fed 80.
    """
    from faster_whisper.feature_extractor import FeatureExtractor

    bands = int(model.model.n_mels)
    extractor = model.feature_extractor
    if extractor.mel_filters.shape[0] == bands:
        return extractor
    return FeatureExtractor(feature_size=bands)


def _pieces(number: int, clip: Clip) -> Iterator[_ClipPiece]:
    """Cut a clip into pieces of at most 30 s, each cut at the quietest 100 ms of its last 10."""
    start, end = 0, len(clip.samples)
    while end - start > _WINDOW:
        cut = start + _quietest(clip.samples[start : start + _WINDOW])
        yield _ClipPiece(number, clip.start + start, clip.samples[start:cut], clip)
        start = cut
    if end > start:
        yield _ClipPiece(number, clip.start + start, clip.samples[start:], clip)


def _quietest(samples: Samples) -> int:
    """Return the middle of the quietest 100 ms of the part in which a piece may end."""
    width = SAMPLE_RATE // 10
    power = np.square(samples[_EARLIEST_CUT:], dtype=np.float64)
    sums = np.concatenate(([0.0], np.cumsum(power)))
    return _EARLIEST_CUT + int(np.argmin(sums[width:] - sums[:-width])) + width // 2


def _joined(clip: Clip, heard: Sequence[_Decoded]) -> Transcript:
    if not heard:
        return Transcript("")
    language = heard[0].language
    text = join_texts([piece.text for piece in heard])
    logprob = sum(piece.logprob for piece in heard) / sum(piece.tokens for piece in heard)
    return Transcript(
        text=text,
        words=tuple(word for piece in heard for word in piece.words),
        language=language,
        confidence=min(1.0, math.exp(logprob)) if text else None,
        no_speech=min(piece.no_speech for piece in heard),
        avg_logprob=logprob,
    )


class Span(msgspec.Struct, frozen=True):
    """Say where a piece of sound lies: its first sample, absolute, and how many it has."""

    start: int
    length: int


class Group(msgspec.Struct, frozen=True):
    """Hold some tokens' text, spaces included; ``start`` and ``end`` in seconds of the piece."""

    text: str
    start: float
    end: float
    probability: float


def place_words(
    model: Any,
    tokenizer_of: Callable[[str], Any],
    encoded: Any,
    spans: Sequence[Span],
    tokens: Sequence[Sequence[int]],
    languages: Sequence[str],
) -> list[tuple[Word, ...]]:
    """Place the words of pieces in time by the decoder's cross-attention.

    ``model`` is faster-whisper's, ``encoded`` its encoder's output for all pieces; one entry of
    ``spans``, ``tokens`` and ``languages`` for each.
    """
    hop = model.feature_extractor.hop_length
    frames = [max(_FEWEST_FRAMES, span.length // hop) for span in spans]
    placed: list[tuple[Word, ...]] = [()] * len(spans)
    for language in set(languages):
        # The whole batch is aligned for each language in it, since the encoder's output
        # cannot be taken apart; it is nearly always one language.
        tokenizer = tokenizer_of(language)
        text = [[token for token in row if token < tokenizer.eot] for row in tokens]
        alignments = model.find_alignment(tokenizer, text, encoded, frames)
        for i, alignment in enumerate(alignments):
            if languages[i] == language:
                placed[i] = tuple(group_words(map(_group, alignment), spans[i]))
    return placed


def group_words(groups: Iterator[Group] | Sequence[Group], span: Span) -> Iterator[Word]:
    """Join groups of tokens that are one word, and place it.

    A word ends where a group and a unit of the text (``hypothesis.units``) both end: "10" and
    "-year", "d" and "'avoir", "2" and ".5" are one word, in any script. Its times are those of
    its spoken parts, its confidence is the least of theirs: punctuation says neither when a
    word was spoken nor how sure it is.
    """
    groups = list(groups)
    text = "".join(group.text for group in groups)
    lead = len(text) - len(text.lstrip())
    ends = {lead + end for end in accumulate(map(len, units(text)))}
    at, parts = 0, list[Group]()
    for group in groups:
        at += len(group.text)
        parts.append(group)
        if len(text[:at].rstrip()) in ends and any(part.text.strip() for part in parts):
            yield _joined_word(parts, span)
            parts = []


def join_texts(texts: Sequence[str]) -> str:
    """Join the texts of pieces by spaces, or without where their scripts have none."""
    joined = ""
    for text in filter(None, texts):
        touching = is_unspaced(_last_letter(joined)) and is_unspaced(_last_letter(text[::-1]))
        joined += text if touching or not joined else f" {text}"
    return joined


def _joined_word(parts: Sequence[Group], span: Span) -> Word:
    spoken = [part for part in parts if any(map(_is_spoken, part.text))] or parts
    # Without audio to hold on to, the alignment begins one step before the first.
    first, last = (
        span.start + min(span.length, max(0, round(edge * SAMPLE_RATE)))
        for edge in (spoken[0].start, spoken[-1].end)
    )
    sure = min(part.probability for part in spoken)
    return Word("".join(part.text for part in parts).strip(), first, max(first, last), sure)


def _group(aligned: dict[str, Any]) -> Group:
    times = float(aligned["start"]), float(aligned["end"])
    return Group(aligned["word"], *times, float(aligned["probability"]))


def _is_spoken(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LNMS" or letter in _SPOKEN_MARKS


def _last_letter(text: str) -> str:
    return next((letter for letter in reversed(text) if _is_spoken(letter)), " ")
