"""Whisper through faster-whisper and CTranslate2, batched over utterances of many streams.

faster-whisper itself batches only within one recording, so encoding and decoding are done
here with its parts: one padded 30 s window per utterance, stacked, one prompt each. Greedy or
beam search at temperature 0; what Whisper repairs by trying again at higher temperatures is
left to ``streamser.speech.guards``, for a retry would take the time of the utterances behind.

Partials may be encoded in less than 30 s (``partial_context``): the encoder takes any number of
frames up to its 3000, at a cost that grows with them. It has learnt from windows of 30 s alone,
and with much less of them it may mishear, or repeat itself; the same is known of ``audio_ctx`` in
whisper.cpp and reported for CTranslate2 (OpenNMT/CTranslate2, issue 2100, windows of 1 to 3.5 s).
So the window is no shorter than 5 s, and has a second of silence at its end.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples
from streamser.cores import core_count
from streamser.errors import ConfigError, ModelError
from streamser.speech.languages import Guess, LanguageMemory, known_language
from streamser.speech.transcriber import Transcript, Word
from streamser.speech.whisper_compute import choose_compute_type
from streamser.speech.whisper_files import existing_directory, locate_whisper
from streamser.speech.whisper_words import Span, join_texts, place_words
from streamser.telemetry import forbid_telemetry

__all__ = ["WhisperOptions", "WhisperTranscriber"]

logger = logging.getLogger(__name__)

_WINDOW = 30 * SAMPLE_RATE
_EARLIEST_CUT = 20 * SAMPLE_RATE
_MAX_LENGTH = 448
_CONTEXT = 5 * SAMPLE_RATE
"""Short windows are whole multiples of this, so that clips of one length share a batch."""
_MARGIN = SAMPLE_RATE
_TRIAL_TOKENS = 8

_Features = npt.NDArray[np.float32]


class WhisperOptions(msgspec.Struct, frozen=True):
    """Say which Whisper runs, and how.

    ``model``: a directory in CTranslate2 form, a size of ``WHISPER_SIZES``, or a hub
    repository ``owner/name``. ``language``: a code such as ``"en"``, or ``None`` to detect it;
    what a clip says itself comes first. ``device``: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    ``compute_type``: CTranslate2's, such as ``"int8"``; ``"auto"`` is the fastest by a short
    trial, see ``choose_compute_type``. ``partial_context``: ``"full"``, or ``"short"`` for
    partials in windows no longer than they need, see above. ``threads``: CPU threads, 0 for up
    to four. ``offline`` forbids downloads.
    """

    model: str = "base"
    language: str | None = None
    device: str = "auto"
    compute_type: str = "auto"
    partial_context: str = "full"
    beam_size: int = 1
    word_times: bool = False
    threads: int = 0
    offline: bool = False


class _Piece(msgspec.Struct, frozen=True, eq=False):
    """Hold at most 30 s of one clip; ``start`` is absolute."""

    clip: int
    start: int
    samples: Samples
    whole: Clip


class WhisperTranscriber:
    """Recognise batches of clips with a Whisper model.

    ``languages`` are the codes of those it knows. Where the language of a session is not said,
    it is detected, see ``streamser.speech.languages``. Raises ``ModelError`` where the model is
    missing or cannot be run.
    """

    name: str
    languages: frozenset[str]
    batches = True

    def __init__(self, options: WhisperOptions) -> None:
        self.name = f"faster-whisper/{_short_name(options.model)}"
        self._options = options
        self._model = _load(options)
        self.languages = frozenset(self._model.supported_languages)
        self._language = self._known(options.language)
        self._memory = LanguageMemory()
        self._extract = _extractor(self._model)

    def transcribe(self, clips: Sequence[Clip]) -> list[Transcript]:
        """Recognise a batch of clips; one transcript per clip, in order.

        A clip over 30 s is cut at its quietest places, and its pieces are joined:
        ``avg_logprob`` is the mean over all tokens, ``no_speech`` the least of any piece.
        """
        pieces = [piece for number, clip in enumerate(clips) for piece in _pieces(number, clip)]
        if not pieces:
            return [Transcript("") for _ in clips]
        contexts = [self._context(clips[piece.clip]) for piece in pieces]
        heard: dict[int, _Heard] = {}
        try:
            for frames in sorted(set(contexts)):
                places = [i for i, context in enumerate(contexts) if context == frames]
                found = self._hear([pieces[i] for i in places], frames)
                heard.update(zip(places, found, strict=True))
        except RuntimeError as error:
            raise _runtime_fault(error) from error
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

    def _context(self, clip: Clip) -> int:
        """Return how many frames the pieces of a clip are encoded in."""
        whole = int(self._extract.nb_max_frames)
        if clip.final or self._options.partial_context == "full":
            return whole
        # All pieces of one clip alike: its first says which language the others are in.
        windows = -(-(len(clip.samples) + _MARGIN) // _CONTEXT)
        return min(whole, windows * _CONTEXT // int(self._extract.hop_length))

    def _hear(self, pieces: Sequence[_Piece], frames: int) -> list[_Heard]:
        from faster_whisper.transcribe import get_suppressed_tokens

        model = self._model.model
        features = np.stack([self._features(piece.samples, frames) for piece in pieces])
        encoded = self._encode(features)
        languages = self._languages(encoded, pieces)
        tokenizers = {language: self._tokenizer(language) for language in set(languages)}
        prompts = [
            [*tokenizers[language].sot_sequence, tokenizers[language].no_timestamps]
            for language in languages
        ]
        results = model.generate(
            encoded,
            prompts,
            beam_size=self._options.beam_size,
            max_length=_MAX_LENGTH,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=get_suppressed_tokens(tokenizers[languages[0]], [-1]),
        )
        tokens = [list(result.sequences_ids[0]) for result in results]
        words: Sequence[tuple[Word, ...]] = [()] * len(pieces)
        if self._options.word_times:
            spans = [Span(piece.start, len(piece.samples)) for piece in pieces]
            words = place_words(self._model, self._tokenizer, encoded, spans, tokens, languages)
        return [
            _Heard(
                text=tokenizers[languages[i]].decode(tokens[i]).strip(),
                # The score is a mean over the tokens without <|endoftext|>, whose
                # log-probability it holds nevertheless.
                logprob=float(result.scores[0]) * len(tokens[i]),
                tokens=len(tokens[i]) + 1,
                no_speech=float(result.no_speech_prob),
                language=languages[i],
                words=words[i],
            )
            for i, result in enumerate(results)
        ]

    def _encode(self, features: _Features) -> Any:
        """Encode windows [n, mels, frames]: at once on a GPU, one by one on a processor.

        There the attention over a whole batch (2,250,000 scores a window and head) outgrows
        the caches and takes longer; it is decoding that many windows at once make cheaper.
        """
        import ctranslate2

        model = self._model.model
        if model.device == "cuda" or len(features) == 1:
            return model.encode(ctranslate2.StorageView.from_array(features))
        parts = []
        for window in features:
            encoded = model.encode(ctranslate2.StorageView.from_array(window[None]))
            parts.append(np.array(encoded.to(ctranslate2.DataType.float32)))
        return ctranslate2.StorageView.from_array(np.concatenate(parts))

    def _features(self, samples: Samples, frames: int) -> _Features:
        """Return the log-mel spectrogram of ``frames`` that begin with ``samples``, then silence.

        As OpenAI's ``pad_or_trim`` before ``log_mel_spectrogram``, but without transforming
        the silence: its value is known, for the dynamic range is cut 8 decades (2.0 after
        scaling) below the peak and at 1e-10.
        """
        extractor = self._extract
        # More than one transform's length of zeros, so that no window reflects off the end.
        features = extractor(samples, padding=extractor.n_fft + extractor.hop_length)
        floor = max(-1.5, float(features.max()) - 2.0)
        padded = np.full((features.shape[0], frames), floor, dtype=np.float32)
        content = features[:, :frames]
        padded[:, : content.shape[1]] = content
        return padded

    def _languages(self, encoded: Any, pieces: Sequence[_Piece]) -> list[str]:
        """Return the language of each piece: as said, or as likely after what came before."""
        # The pieces of one clip are one utterance: its first piece speaks for all.
        first = {piece.clip: i for i, piece in reversed(list(enumerate(pieces)))}
        said = {
            clip: self._known(pieces[i].whole.language) or self._language
            for clip, i in first.items()
        }
        if None in said.values():
            chances = self._model.model.detect_language(encoded)
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


def _guess(piece: _Piece, chances: Sequence[tuple[str, float]]) -> Guess:
    return Guess(
        len(piece.samples) / SAMPLE_RATE, {token.strip("<|>"): chance for token, chance in chances}
    )


class _Heard(msgspec.Struct, frozen=True):
    """Hold what was heard in one piece; ``logprob`` is the sum over ``tokens`` tokens."""

    text: str
    logprob: float
    tokens: int
    no_speech: float
    language: str
    words: tuple[Word, ...]


def _load(options: WhisperOptions) -> Any:
    location = locate_whisper(options.model, options.offline)
    forbid_telemetry()
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        raise ModelError(
            f"faster-whisper cannot be imported ({_first_line(error)}):"
            " run pip install faster-whisper"
        ) from error
    if options.device != "cpu":
        _preload_cublas()

    def load(compute_type: str) -> Any:
        model = WhisperModel(
            str(location),
            device=options.device,
            compute_type=compute_type,
            cpu_threads=options.threads or min(4, core_count()),
            local_files_only=True,
        )
        if model.model.device == "cuda":
            _try_cuda(model)
        return model

    try:
        if options.compute_type != "auto":
            return load(options.compute_type)
        model, told = choose_compute_type(load, _try_out, time.perf_counter)
    # What CTranslate2, tokenizers and json raise over unreadable files is all kinds.
    except Exception as error:
        raise _runtime_fault(error, f"The Whisper model in {location} cannot be loaded") from error
    logger.info("%s: %s", _short_name(options.model), told)
    return model


def _try_cuda(model: Any) -> None:
    """Encode silence now: cuBLAS is looked for at the first encoding, not at loading."""
    import ctranslate2

    silence = np.zeros((1, model.model.n_mels, 3000), dtype=np.float32)
    model.model.encode(ctranslate2.StorageView.from_array(silence))


def _try_out(model: Any) -> None:
    """Encode 30 s of faint noise, and decode a few tokens of it."""
    import ctranslate2
    from faster_whisper.tokenizer import Tokenizer

    noise = 0.01 * np.random.default_rng(0).standard_normal((1, model.model.n_mels, 3000))
    encoded = model.model.encode(ctranslate2.StorageView.from_array(noise.astype(np.float32)))
    tokenizer = Tokenizer(
        model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language="en"
    )
    prompt = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
    model.model.generate(
        encoded,
        [prompt],
        beam_size=1,
        max_length=len(prompt) + _TRIAL_TOKENS,
        suppress_tokens=[tokenizer.eot],
    )


def _preload_cublas() -> None:
    """Load the cuBLAS 12 of a pip wheel, which lies where the dynamic loader does not look."""
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for library in ("libcublasLt.so.12", "libcublas.so.12"):
            path = Path(folder) / "cublas" / "lib" / library
            if path.is_file():
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def _runtime_fault(error: Exception, what: str = "Whisper failed") -> ModelError:
    reason = _first_line(error)
    if "libcublas" in reason or "libcudart" in reason:
        return ModelError(
            f"CUDA's libraries for Whisper were not found ({reason}): run pip install"
            " 'streamser[cuda]', or choose the device cpu",
            code="cuda_unavailable",
        )
    code = "out_of_memory" if "out of memory" in reason else None
    return ModelError(f"{what}: {reason}", code=code)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _short_name(model: str) -> str:
    directory = existing_directory(model)
    return directory.resolve().name if directory is not None else model


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


def _pieces(number: int, clip: Clip) -> Iterator[_Piece]:
    """Cut a clip into pieces of at most 30 s, each cut at the quietest 100 ms of its last 10."""
    start, end = 0, len(clip.samples)
    while end - start > _WINDOW:
        cut = start + _quietest(clip.samples[start : start + _WINDOW])
        yield _Piece(number, clip.start + start, clip.samples[start:cut], clip)
        start = cut
    if end > start:
        yield _Piece(number, clip.start + start, clip.samples[start:], clip)


def _quietest(samples: Samples) -> int:
    """Return the middle of the quietest 100 ms of the part in which a piece may end."""
    width = SAMPLE_RATE // 10
    power = np.square(samples[_EARLIEST_CUT:], dtype=np.float64)
    sums = np.concatenate(([0.0], np.cumsum(power)))
    return _EARLIEST_CUT + int(np.argmin(sums[width:] - sums[:-width])) + width // 2


def _joined(clip: Clip, heard: Sequence[_Heard]) -> Transcript:
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
