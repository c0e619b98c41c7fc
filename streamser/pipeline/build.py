"""Make what the settings ask for: detector, recogniser, emotion model, session."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeAlias

import numpy as np
from msgspec.structs import replace

from streamser.audio.clip import Samples, to_samples
from streamser.emotion.model import EmotionModel, SpeakerModel
from streamser.errors import ConfigError
from streamser.events import ModelNames
from streamser.pipeline.engine import Abilities, Engine
from streamser.pipeline.requests import Outcome, Request, WordsRequest
from streamser.pipeline.scheduler import QueueLoad
from streamser.pipeline.session import Session
from streamser.pipeline.session_config import SessionConfig, VoicesApart
from streamser.pipeline.worker import InferenceWorker, WorkerStats
from streamser.settings import ASR_ENGINES, EndpointingSettings, Settings, SpeakersSettings
from streamser.speech.diarisation import Telling, voice_windows
from streamser.speech.endpointing import EndpointerSettings
from streamser.speech.overlap import load_segmentation
from streamser.speech.speakers import (
    BUNDLED,
    GuardedEmbedder,
    LateEmbedder,
    SpeakerEmbedder,
    Voice,
    load_embedder,
)
from streamser.speech.vad import Vad

Part: TypeAlias = Literal["words", "emotion", "all"]
"""Which models an engine holds: the recogniser, those of emotion and voices, or all of them."""

_QUIET = 0.01
MOST_WHOLE = to_samples(300_000)
"""Samples of a recording that is one utterance; more are another. Its cost grows with it."""


def endpointer_settings(settings: EndpointingSettings) -> EndpointerSettings:
    """Turn the endpointing settings, in ms, into the endpointer's, in samples.

    Raises ``ConfigError`` where they do not go together.
    """
    try:
        return EndpointerSettings.from_ms(
            threshold=settings.threshold,
            release=settings.release,
            min_speech_ms=settings.min_speech_ms,
            silence_ms=settings.silence_ms,
            pre_roll_ms=settings.pre_roll_ms,
            tail_ms=settings.tail_ms,
            max_length_ms=settings.max_utterance_ms,
            cut_search_ms=settings.cut_search_ms,
        )
    except ConfigError as error:
        raise ConfigError(f"endpointing: {error}") from None


def build_vads(settings: Settings) -> Callable[[], Vad]:
    """Load the voice activity detector; the result makes one for each stream."""
    if settings.vad.engine == "webrtc":
        from streamser.speech.vad import WebRtcVad

        return lambda: WebRtcVad(settings.vad.webrtc_mode)
    from streamser.speech.vad import load_silero

    return load_silero().stream


def build_model(
    settings: Settings, tell: Callable[[str], None], *, before: bool = False
) -> EmotionModel:
    """Load the emotion model, and tell of it where that takes its time.

    Raises ``ConfigError`` where one elsewhere may be waited for longer than a batch may take.
    """
    from streamser.emotion.choose import choose_model, loads_slowly

    emotion, deadline_s = settings.emotion, settings.worker.deadline_s
    if emotion.remote is not None and 0 < deadline_s <= emotion.remote_s:
        raise ConfigError(
            f"emotion.remote_s is {emotion.remote_s:g}, and the model here is to read within"
            f" worker.deadline_s ({deadline_s:g}) what is not answered by then: make that longer."
        )
    if loads_slowly(emotion.model):
        tell(f"loading {emotion.model} …")
    model = choose_model(emotion, offline=settings.offline, before=before)
    # Who reads, and from where, is known only once it was asked.
    if (standing := getattr(model, "standing", None)) is not None:
        tell(f"{standing}.")
    return model


def build_engine(
    settings: Settings,
    tell: Callable[[str], None],
    part: Part = "all",
    *,
    before: bool = False,
) -> Engine:
    """Load a part of the models and warm them up: recogniser; emotion model and embedder.

    Loaded ``before``, they are done without what has changed elsewhere meanwhile. Raises
    ``ConfigError`` where the embedder is none.
    """
    from streamser.speech.choose import choose_transcriber

    transcriber = model = embedder = None
    if part != "words":
        # First: it may be misspelt, and the others take their time.
        embedder = _build_embedder(settings.speakers)
        model = build_model(settings, tell, before=before)
    if part != "emotion":
        transcriber = choose_transcriber(settings.asr, tell, offline=settings.offline)
    engine = Engine(transcriber, model, embedder, load_segmentation)
    check_together(engine.abilities, part)
    engine.warm()
    return engine


def describe_voice(sound: Samples, embedder: SpeakerEmbedder) -> list[Voice]:
    """Describe whoever speaks in a recording, float32 [n] at 16 kHz, window by window.

    Windows that are 20 dB softer than the loudest are left out, and what cannot be described.
    """
    windows = voice_windows(0, len(sound))
    powers = [float(np.mean(np.square(sound[start:end]))) for start, end in windows]
    least = _QUIET * max(powers, default=0.0)
    heard = [each for each, power in zip(windows, powers, strict=True) if 0.0 < power >= least]
    voices = GuardedEmbedder(embedder).embed_windows([(sound, heard)])
    return [voice for voice in voices if voice is not None]


def check_together(abilities: Abilities, part: Part = "all") -> None:
    """Raise ``ConfigError`` where the model reads words alone, and nothing recognises any."""
    if part == "all" and abilities.asr is None and "audio" not in abilities.modalities:
        raise ConfigError(
            f"the emotion model {abilities.emotion} reads words alone, and asr.engine is none:"
            " choose another asr.engine, such as auto, or another model."
        )


def caveats_of(settings: Settings) -> Iterator[str]:
    """Yield lines that a user should know before the models that the settings ask for are used."""
    from streamser.emotion.choose import comes_with_us
    from streamser.emotion.hub_models.registry import caveats
    from streamser.plugins import EMOTION_MODELS, TRANSCRIBERS, overruled

    yield from caveats(settings.emotion.model)
    if settings.asr.engine in ASR_ENGINES:
        yield from overruled(TRANSCRIBERS, settings.asr.engine)
    if comes_with_us(settings.emotion.model):
        yield from overruled(EMOTION_MODELS, settings.emotion.model)


def name_models(vad: str, abilities: Abilities) -> ModelNames:
    """Name the models at work, as events report them."""
    return ModelNames(
        vad=vad,
        asr=abilities.asr,
        asr_arithmetic=abilities.arithmetic,
        emotion=abilities.emotion or "none",
    )


def settle(settings: Settings, chosen: str | None) -> Settings:
    """Return settings that choose again what they have chosen: recogniser and model, or none.

    ``chosen`` is the name of the recogniser that was loaded. Engines that are built later must be
    alike, whatever the network or a cache holds by then.
    """
    from streamser.speech.whisper_files import existing_directory

    asr = settings.asr
    if asr.engine != "auto":
        return settings
    if chosen is None:
        return replace(settings, asr=replace(asr, engine="none"))
    # A directory is named by its last part alone: what was asked for finds it again.
    is_directory = existing_directory(asr.model) is not None
    model = asr.model if is_directory else chosen.removeprefix("faster-whisper/")
    return replace(settings, asr=replace(asr, engine="whisper", model=model))


def build_session_config(
    settings: Settings, session_id: str, models: ModelNames, modalities: Sequence[str]
) -> SessionConfig:
    """Say what the settings make of a session; raises ``ConfigError``.

    ``modalities`` are those that the emotion model reads. Voices are told apart only where that
    is asked for.
    """
    return SessionConfig(
        session_id=session_id,
        models=models,
        endpointing=endpointer_settings(settings.endpointing),
        partial_every=to_samples(settings.partial.every_ms),
        window=to_samples(settings.partial.window_ms),
        patience=to_samples(settings.partial.voice_after_ms),
        no_sound=to_samples(settings.endpointing.no_sound_ms),
        reads_voice="audio" in modalities,
        reads_words="text" in modalities,
        speculative=settings.endpointing.speculative,
        apart=_apart(settings.speakers),
        mood_seconds=settings.mood.time_constant_s,
    )


def build_session(
    settings: Settings,
    session_id: str,
    vad: Vad,
    abilities: Abilities,
    new_speaker: Callable[[], SpeakerModel],
    *,
    ordered: bool,
    patient: bool,
    source: str | None,
    speaker: str | None,
    whole: bool = False,
) -> Session:
    """Make a session core for one stream; a ``whole`` one is one utterance from end to end.

    Voices are told apart unless that is off, or the ``speaker`` is known.
    """
    if settings.speakers.told_apart is None:
        # What is one reading has one voice, as far as anybody asks.
        usual: Literal["auto", "off"] = "off" if whole else "auto"
        settings = replace(settings, speakers=replace(settings.speakers, told_apart=usual))
    profile = replace(
        build_session_config(
            settings, session_id, name_models(vad.name, abilities), abilities.modalities
        ),
        ordered=ordered,
        patient=patient,
        source=source,
        speaker=speaker,
    )
    if whole:
        endpointing = replace(profile.endpointing, max_length=MOST_WHOLE)
        # A partial costs what the final costs, and nobody waits for it.
        profile = replace(profile, endpointing=endpointing, manual=True, partial_every=0)
    return Session(profile, vad, new_speaker)


def _build_embedder(settings: SpeakersSettings) -> SpeakerEmbedder:
    # One that may be misspelt is seen to at once; the bundled one costs memory.
    asked = settings.told_apart not in (None, "off") or settings.embedder != BUNDLED
    return load_embedder(settings.embedder) if asked else LateEmbedder(BUNDLED)


def _apart(settings: SpeakersSettings) -> VoicesApart | None:
    told_apart = settings.told_apart
    if told_apart is None or told_apart == "off":
        return None
    telling = Telling(most=settings.most)
    if isinstance(told_apart, int):
        telling = Telling(most=told_apart, exactly=True)
    return VoicesApart(embedder=settings.embedder, likeness=settings.likeness, telling=telling)


class WorkerPair:
    """Bring each request to the worker that can do it; any thread may call any method.

    The voice so never waits for the words: while the recogniser is busy with one utterance, or
    being loaded anew, readings of all voices go on. Without a worker for ``words`` the other one
    has all models.
    """

    def __init__(self, emotion: InferenceWorker, words: InferenceWorker | None) -> None:
        self._emotion = emotion
        self._words = words
        self._all = (emotion,) if words is None else (emotion, words)

    def wait(self) -> Abilities:
        """Wait until the models of all are loaded, and say what they can do together.

        Raises what loading them raised, or ``ConfigError`` where they do not go together.
        """
        abilities = self._emotion.engine().abilities
        if self._words is not None:
            words = self._words.engine().abilities
            abilities = replace(
                abilities, asr=words.asr, arithmetic=words.arithmetic, languages=words.languages
            )
        check_together(abilities)
        return abilities

    @property
    def stats(self) -> WorkerStats:
        """Return what all have done so far."""
        return sum((each.stats for each in self._all), WorkerStats())

    @property
    def is_ready(self) -> bool:
        """Return whether words and emotion can be asked for, and answered at once."""
        return all(each.is_ready for each in self._all)

    @property
    def has_failed(self) -> bool:
        """Return whether models could not be loaded in the first place: they never will."""
        return any(each.has_failed for each in self._all)

    def load(self) -> QueueLoad:
        """Return what waits now, with all together."""
        return sum((each.load() for each in self._all), QueueLoad())

    def new_speaker(self) -> SpeakerModel:
        """Return a model of a speaker nobody knows yet."""
        return self._emotion.new_speaker()

    def enter(self, session_id: str) -> None:
        """Announce a session."""
        for each in self._all:
            each.enter(session_id)

    def leave(self, session_id: str) -> None:
        """Drop what waits of a session, and what models keep for it."""
        for each in self._all:
            each.leave(session_id)

    def submit(self, request: Request, done: Callable[[Request, Outcome], None]) -> None:
        """Ask; ``done`` gets the outcome, unless the request is cancelled before it began."""
        self._worker_for(request).submit(request, done)

    def cancel(self, session_id: str, request_id: int) -> None:
        """Withdraw a request that has not begun; numbers are unique within a session."""
        for each in self._all:
            each.cancel(session_id, request_id)

    def close(self, within_s: float | None = None) -> None:
        """Finish the requests that wait, then stop; see ``InferenceWorker.close``.

        What is left of ``within_s`` after one is there for the next.
        """
        until = None if within_s is None else time.monotonic() + within_s
        # Words first: what they find may still be read for emotion.
        for each in reversed(self._all):
            each.close(None if until is None else max(0.0, until - time.monotonic()))

    def _worker_for(self, request: Request) -> InferenceWorker:
        words = self._words
        return words if words is not None and isinstance(request, WordsRequest) else self._emotion
