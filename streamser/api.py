"""Speech emotion in a line of Python: recordings, live sound, and models alone; thin and typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, TypeAlias, cast

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.audio.file import FileSource
from streamser.audio.raw import MOST_CHANNELS, ArraySource
from streamser.audio.reader import Resampler, checked_rate
from streamser.audio.source import AudioSource, Gap
from streamser.emotion.model import EmotionModel, Features, Prediction, Segment, SpeakerModel
from streamser.errors import AudioError, ConfigError
from streamser.events import ErrorRaised, Event, SessionCreated
from streamser.export.utterances import Utterance, Utterances, read_utterance
from streamser.pipeline.analyzer import Analyzer
from streamser.pipeline.build import build_model
from streamser.pipeline.speaker_state import SpeakerMemory
from streamser.settings import Settings
from streamser.settings_loader import load_settings

Sound: TypeAlias = "str | Path | npt.NDArray[Any] | AudioSource"
"""A file, an array with its ``sampling_rate``, or any source of sound."""

Configs: TypeAlias = "str | Path | Sequence[str | Path]"
"""A preset or a TOML file, or several, the later winning."""

_SHORT = {
    "model": "emotion.model",
    "asr": "asr.engine",
    "asr_model": "asr.model",
    "language": "asr.language",
}
_BATCH = 8


class Recognizer:
    """Recognise words and emotion in whole recordings: ``Recognizer(model="compact")("talk.wav")``.

    Settings are given by their dotted keys with two underscores for the dot
    (``endpointing__silence_ms=400``); ``model``, ``asr``, ``asr_model`` and ``language`` stand
    for the usual ones, and ``config`` names presets or TOML files. The models are loaded at the
    first call, once; calls from several threads share them. ``tell`` gets single lines meant for
    people; by default they go to stderr. Use it as a context manager, or ``close`` it.

    Raises ``ConfigError`` for a setting that there is not, or that does not fit.
    """

    def __init__(
        self,
        *,
        config: Configs = (),
        tell: Callable[[str], None] | None = None,
        **settings: Any,
    ) -> None:
        # Nobody sees what is told while somebody speaks.
        self.settings = _settings(config, {"partial.every_ms": 0}, settings)
        self._analyzer = Analyzer(self.settings, tell=tell)

    def __call__(
        self,
        sound: Sound | Sequence[Sound],
        *,
        sampling_rate: int | None = None,
        speaker: str | None = None,
        speakers: Iterable[str | None] | None = None,
        whole: bool = False,
    ) -> Utterances:
        """Return the utterances of a recording, or of several one after another.

        A recording is the path of a file, an array of shape (frames,) or (frames, channels) with
        its ``sampling_rate`` in Hz, or an ``AudioSource``. With ``speakers``, a name for each of
        several, what is learnt of a voice in one is known in the next of the same. ``whole``: no
        pauses are sought, each recording is one utterance, of five minutes at most.

        Raises ``AudioError`` where one cannot be read, also where it breaks off, ``ModelError``
        where a model cannot be had, and ``ConfigError`` for an array without its rate, and where
        there are not as many speakers as recordings.
        """
        several = isinstance(sound, list | tuple)
        sounds = list(sound) if isinstance(sound, list | tuple) else [cast("Sound", sound)]
        names = [speaker] * len(sounds) if speakers is None else _listed(speakers, "speakers")
        if speakers is not None and speaker is not None:
            raise ConfigError("speaker and speakers exclude each other: give one of them.")
        if len(names) != len(sounds):
            raise ConfigError(
                f"{len(sounds)} recordings and {len(names)} speakers: give one for each, or None."
            )
        for each in names:
            _check_name(each)
        memory = None if speakers is None else SpeakerMemory()
        found = Utterances()
        for number, (each, whose) in enumerate(zip(sounds, names, strict=True)):
            source = _source_of(each, sampling_rate, str(number) if several else "array")
            name = str(each) if isinstance(each, str | Path) else source.name
            events = self._analyzer.stream(source, speaker=whose, whole=whole, memory=memory)
            said = Utterances()
            for each_told in _utterances(events, name, whose, said.follow):
                said.append(each_told)
            found += said
        return found

    def __enter__(self) -> Recognizer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the models go; a later call loads them again."""
        self._analyzer.close()


class Live:
    """Hear live sound and tell what is said and felt; made by ``listen``, for ``with``."""

    def __init__(
        self,
        source: AudioSource,
        settings: Settings,
        *,
        speaker: str | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        self._source = source
        self._speaker = speaker
        self._analyzer = Analyzer(settings, tell=tell)

    def events(self) -> Iterator[Event]:
        """Yield every event as it comes, partials among them; called once, or ``utterances`` is.

        Raises as ``Analyzer.stream`` does.
        """
        return self._analyzer.stream(self._source, speaker=self._speaker)

    def utterances(self) -> Iterator[Utterance]:
        """Yield each utterance when it is finished, with the speaker that is known by then.

        Whose it is after all, ``events`` tell: ``SpeakersChanged``, for ``Utterances.follow``.
        Raises ``AudioError`` where the sound breaks off, after all that was heard before.
        """
        return _utterances(self.events(), self._source.name, self._speaker)

    def stop(self) -> None:
        """End the sound: what was said is still told, then the iteration ends; from any thread."""
        self._source.stop()

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._analyzer.close()


def listen(
    source: str | Path | BinaryIO | Iterable[npt.NDArray[Any]] | AudioSource | None = None,
    *,
    sampling_rate: int | None = None,
    channels: int = 1,
    encoding: Literal["s16le", "f32le"] = "s16le",
    device: str | int | None = None,
    speaker: str | None = None,
    config: Configs = (),
    tell: Callable[[str], None] | None = None,
    **settings: Any,
) -> Live:
    """Hear a microphone, or whatever else sounds live, in a ``with`` block.

    Without a ``source`` it is the microphone ``device``. A path is played at real speed; of a
    binary stream ``sampling_rate`` (16000), ``channels`` and ``encoding`` say how it is written;
    of arrays as they come, of shape (frames,) or (frames, channels), the rate is needed.
    ``settings``, ``config`` and ``tell`` are as for ``Recognizer``. Raises ``AudioError`` where
    the source cannot be opened, ``ConfigError`` for settings.
    """
    _check_name(speaker)
    loaded = _settings(config, {"audio.device": device}, settings)
    sound: AudioSource
    if source is None:
        from streamser.audio.microphone import MicrophoneSource

        sound = MicrophoneSource(loaded.audio.device, channel=loaded.audio.channel)
    elif isinstance(source, str | Path):
        sound = FileSource(source, paced=True)
    elif hasattr(source, "chunks"):
        sound = cast("AudioSource", source)
    elif hasattr(source, "read"):
        from streamser.audio.raw import RawSource

        stream = cast("BinaryIO", source)
        rate = SAMPLE_RATE if sampling_rate is None else checked_rate(sampling_rate)
        sound = RawSource(stream, rate, channels, encoding, "stream", tell)
    elif not isinstance(source, Iterable):
        raise ConfigError(
            f"{type(source).__name__} is nothing to hear: give the path of a file, a binary stream,"
            " arrays as they come, or a source of streamser.audio; device= picks a microphone."
        )
    else:
        sound = ArraySource(source, _rate_of(sampling_rate), name="arrays")
    return Live(sound, loaded, speaker=speaker, tell=tell)


class Model:
    """Read emotion from clips that are one utterance each: no pauses sought, no words recognised.

    Made by ``load_model``. ``modalities`` says what it can make use of.
    """

    def __init__(self, model: EmotionModel) -> None:
        self._model = model
        self.name = model.name
        self.modalities = model.modalities

    def predict(
        self,
        clips: Iterable[Sound],
        texts: Iterable[str | None] | None = None,
        *,
        sampling_rate: int = SAMPLE_RATE,
        speakers: Iterable[str | None] | None = None,
    ) -> list[Prediction]:
        """Return one prediction a clip, in their order.

        Clips are paths, arrays of shape (frames,) or (frames, channels) at ``sampling_rate`` Hz,
        or sources of sound; ``texts`` are their words. Each is judged as the first utterance of
        somebody unknown; with ``speakers``, a name a clip, against what the same speaker sounded
        like in those before. Raises ``AudioError`` for a clip that cannot be read, ``ConfigError``
        for one that is not in a list, and where there are not as many of one as of the other.
        """
        clips = _listed(clips, "clips")
        words = [None] * len(clips) if texts is None else _listed(texts, "texts")
        whose = [None] * len(clips) if speakers is None else _listed(speakers, "speakers")
        for name, given in (("texts", words), ("speakers", whose)):
            if len(given) != len(clips):
                raise ConfigError(
                    f"{len(clips)} clips and {len(given)} {name}: give one for each clip, or None."
                )
        asked = (
            Segment(samples=_clip(clip, sampling_rate), text=text)
            for clip, text in zip(clips, words, strict=True)
        )
        known: dict[str, SpeakerModel] = {}
        told = []
        for features, speaker in zip(self._extract(asked), whose, strict=True):
            if speaker is None:
                told.append(self._model.new_speaker().predict(features))
                continue
            heard = known.setdefault(speaker, self._model.new_speaker())
            told.append(heard.predict(features))
            heard.adapt(features)
        return told

    def process_func(self, signal: npt.NDArray[Any], sampling_rate: int) -> dict[str, Any]:
        """Judge one signal of shape (channels, frames), as ``audinterface.Process`` calls it.

        Returns ``label``, ``score``, ``valence``, ``arousal``, ``dominance``, ``uncertainty``.
        Raises ``AudioError`` for what is no such signal.
        """
        signals = np.atleast_2d(signal)
        if signals.ndim != 2 or len(signals) > MOST_CHANNELS:
            raise AudioError(
                f"a signal of shape {np.shape(signal)} cannot be judged: signals are of shape"
                " (channels, frames)."
            )
        (told,) = self.predict([signals.T], sampling_rate=sampling_rate)
        return {
            "label": told.category,
            "score": told.confidence,
            "valence": told.dimensions.valence,
            "arousal": told.dimensions.arousal,
            "dominance": told.dimensions.dominance,
            "uncertainty": told.uncertainty,
        }

    def _extract(self, asked: Iterable[Segment]) -> Iterator[Features]:
        batch: list[Segment] = []
        for each in asked:
            batch.append(each)
            if len(batch) == _BATCH:
                yield from self._model.extract(batch)
                batch = []
        if batch:
            yield from self._model.extract(batch)


def load_model(
    name: str | Path = "compact",
    *,
    config: Configs = (),
    tell: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> Model:
    """Load an emotion model: ``compact``, ``rules``, a plug-in, a checkpoint, a public model.

    ``settings`` and ``config`` are as for ``Recognizer``; ``tell`` gets a line where loading takes
    its time. Raises ``ModelError`` where it cannot be had.
    """
    return Model(build_model(_settings(config, {"emotion.model": name}, settings), tell))


def _settings(config: Configs, usual: dict[str, Any], given: dict[str, Any]) -> Settings:
    flags = {_SHORT.get(name, name.replace("__", ".")): value for name, value in given.items()}
    values = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in (usual | flags).items()
    }
    configs = [config] if isinstance(config, str | Path) else config
    if not isinstance(configs, list | tuple) or not all(
        isinstance(each, str | Path) for each in configs
    ):
        raise ConfigError(f"config={config!r} names no preset and no TOML file: give its name.")
    return load_settings(*map(str, configs), flags=values)


def _check_name(speaker: object) -> None:
    if speaker is not None and not isinstance(speaker, str):
        raise ConfigError(f"speaker={speaker!r} is no name: give text, such as {str(speaker)!r}.")


def _listed(given: Any, what: str) -> list[Any]:
    """Return what there is one of for each clip as a list; ``ConfigError`` for a single one."""
    one_array = isinstance(given, np.ndarray) and given.dtype.kind not in "OU"
    if isinstance(given, str | bytes) or one_array or not isinstance(given, Iterable):
        raise ConfigError(f"give a list of {what}, such as [{what.removesuffix('s')}].")
    return list(given)


def _source_of(sound: Sound, rate: int | None, name: str = "array") -> AudioSource:
    if isinstance(sound, str | Path):
        return FileSource(sound)
    if isinstance(sound, np.ndarray):
        return ArraySource(sound, _rate_of(rate), name=name)
    return _as_source(sound)


def _rate_of(sampling_rate: int | None) -> int:
    if sampling_rate is None:
        raise ConfigError("an array does not say how fast it is: give its sampling_rate in Hz.")
    return sampling_rate


def _as_source(sound: Any) -> AudioSource:
    if hasattr(sound, "chunks"):
        return sound  # type: ignore[no-any-return]
    raise ConfigError(
        f"{type(sound).__name__} is no sound: give the path of a file, an array with its"
        " sampling_rate, or a source of streamser.audio."
    )


def _utterances(
    events: Iterable[Event],
    file: str,
    speaker: str | None,
    follow: Callable[[Event], None] = lambda event: None,
) -> Iterator[Utterance]:
    """Yield the utterances of a stream, and raise at its end why it broke off, if it did.

    What comes after them goes to ``follow``, too: whose they are may change.
    """
    transcribed = True
    fault: AudioError | None = None
    for event in events:
        if isinstance(event, SessionCreated):
            transcribed = event.session.models.asr is not None
        elif isinstance(event, ErrorRaised):
            fault = AudioError(event.error.message, code=event.error.code)
        follow(event)
        spoken = read_utterance(event, transcribed=transcribed)
        if spoken is not None:
            voice = None if spoken.emotion is None else spoken.emotion.speaker
            yield msgspec.structs.replace(spoken, file=file, speaker=voice or speaker)
    if fault is not None:
        raise fault


def _clip(clip: Sound, rate: int) -> Samples:
    """Read a clip as mono samples at 16 kHz."""
    source = _source_of(clip, rate)
    intake = Resampler(source.rate, source.channels)
    parts = [
        intake.fill(piece.frames) if isinstance(piece, Gap) else intake.feed(piece)
        for piece in source.chunks()
    ]
    return np.concatenate([*parts, intake.flush()])
