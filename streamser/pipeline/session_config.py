"""How a session is set up, and what it learns of who speaks: another may go on from both."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from streamser.audio.clip import to_ms, to_samples
from streamser.emotion.model import Features, Prediction, SpeakerModel
from streamser.errors import ModelError
from streamser.events import AudioConfig, Limits, ModelNames, SessionInfo
from streamser.speech.endpointing import EndpointerSettings
from streamser.speech.speakers import Clustering, SpeakerClusters, Voice


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a session is set up to do; lengths in samples.

    ``partial_every`` is the speech between two partials, 0 for none; ``window`` the most that
    a partial's emotion is read from. An ``ordered`` session puts all its events in the one
    order that does not depend on when results come: for files, where nobody waits. In any other
    the voice alone is told of where words are not there ``patience`` after the end of an
    utterance, and the emotion model ``reads_voice``; and an utterance ends where for ``no_sound``
    nothing is heard at all, not even silence (0: never). Requests of a
    ``patient`` session are never refused: its source waits while they do. In a ``manual`` one
    utterances end where the client commits. Where there is no ``speaker``, ``clustering`` says
    how voices are told apart, if they are; it is that of the session's beginning. ``audio`` and
    ``limits`` are only told.
    """

    session_id: str
    models: ModelNames
    endpointing: EndpointerSettings
    partial_every: int
    window: int
    patience: int = to_samples(300)
    no_sound: int = to_samples(2000)
    reads_voice: bool = True
    reads_words: bool = True
    speculative: bool = True
    ordered: bool = False
    patient: bool = False
    manual: bool = False
    source: str | None = None
    speaker: str | None = None
    meeting: str | None = None
    language: str | None = None
    clustering: Clustering | None = None
    mood_seconds: float = 30.0
    audio: AudioConfig | None = None
    limits: Limits | None = None

    @property
    def guesses_speakers(self) -> bool:
        """Return whether it is told from voices who speaks."""
        return self.clustering is not None and self.speaker is None

    @property
    def tells_voice(self) -> bool:
        """Return whether a voice is told of before its words are there."""
        return self.models.asr is not None and self.reads_voice and not self.ordered


class SessionSnapshot(msgspec.Struct, frozen=True):
    """Hold what a model, named, has learnt of a session's speaker; some kilobytes.

    Where several share a microphone: of all of them together.
    """

    model: str
    speaker: bytes


def describe(profile: SessionConfig) -> SessionInfo:
    """Word a profile as clients are told of it."""
    return SessionInfo(
        id=profile.session_id,
        models=profile.models,
        silence_ms=to_ms(profile.endpointing.silence),
        max_utterance_ms=to_ms(profile.endpointing.max_length),
        partial_every_ms=to_ms(profile.partial_every),
        source=profile.source,
        speaker=profile.speaker,
        meeting=profile.meeting,
        ordered=profile.ordered,
        audio=profile.audio,
        limits=profile.limits,
    )


def reach_of(endpointing: EndpointerSettings, window: int) -> int:
    """Return how many samples back an utterance, or a part of it, may still be asked for."""
    return endpointing.max_length + endpointing.silence + endpointing.pre_roll + 4 * window


logger = logging.getLogger(__name__)


class SpeakersState(msgspec.Struct, frozen=True):
    """Hold what is known of everybody at a microphone: models by label, and their voices.

    ``common`` is of all of them together.
    """

    common: bytes
    own: dict[str, bytes]
    voices: tuple[tuple[str, bytes], ...]


class SpeakerMemory:
    """Keep what is learnt of speakers who are named, from one stream to the next.

    Streams of one speaker are to follow each other; those of several may run at the same time.
    """

    def __init__(self) -> None:
        self._models: dict[str, SpeakerModel] = {}

    def recall(self, speaker: str, make: Callable[[], SpeakerModel]) -> SpeakerModel:
        """Return the model of a speaker; ``make`` makes that of one who is new."""
        if speaker not in self._models:
            self._models[speaker] = make()
        return self._models[speaker]


class SpeakerModels:
    """Keep a model of a session's microphone, and one of each voice told apart at it.

    Whose utterance it is, is known at its end only, and of some it never is. So the microphone's
    model adapts to all of them: it judges what is still going on and what has no label.
    Where no voices are told apart (no ``clustering``) it is the only one.
    """

    def __init__(
        self, make: Callable[[], SpeakerModel], model: str, clustering: Clustering | None
    ) -> None:
        self._make = make
        self._model = model
        self._common = make()
        self._own: dict[str, SpeakerModel] = {}
        self._clusters: SpeakerClusters | None = None
        if clustering is not None:
            self._clusters = SpeakerClusters(clustering.threshold, clustering.most)

    def label(self, voice: Voice | None, duration_ms: int) -> str | None:
        """Say who the next utterance is likely from; ``None`` where nothing tells."""
        if self._clusters is None or voice is None:
            return None
        return self._clusters.assign(voice, duration_ms)

    def predict(self, features: Features, label: str | None = None) -> Prediction:
        """Judge features against what is usual for whoever has the label."""
        return self._of(label).predict(features)

    def adapt(self, features: Features, label: str | None = None) -> None:
        """Take in a finished utterance of whoever has the label."""
        self._common.adapt(features)
        if label is not None:
            self._of(label).adapt(features)

    def snapshot(self) -> SessionSnapshot:
        """Return what was learnt at the microphone; labels mean nothing elsewhere."""
        return SessionSnapshot(self._model, self._common.snapshot())

    def restore(self, snapshot: SessionSnapshot) -> None:
        """Go on with what was learnt of the same speaker in another session.

        Raises ``ModelError`` for the state of another model, or a damaged one.
        Whatever a model raises: it then begins anew, with nothing half restored.
        """
        if snapshot.model != self._model:
            raise ModelError(
                f"what {snapshot.model} learnt of a speaker is of no use to {self._model}:"
                " start without it"
            )
        try:
            self._common.restore(snapshot.speaker)
        except Exception as error:
            self._common = self._make()
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"what was learnt of a speaker cannot be restored: {type(error).__name__}: {error}"
            ) from error

    def state(self) -> SpeakersState:
        """Return all there is to go on from; raises what a model of a plug-in raises."""
        own = {label: model.snapshot() for label, model in self._own.items()}
        voices = () if self._clusters is None else self._clusters.snapshot()
        return SpeakersState(self._common.snapshot(), own, voices)

    def go_on(self, state: SpeakersState) -> None:
        """Go on from a ``state`` of the same session; raises ``ModelError`` for a damaged one."""
        self._common.restore(state.common)
        for label, speaker in state.own.items():
            self._of(label).restore(speaker)
        if self._clusters is not None:
            self._clusters.restore(state.voices)

    def reset(self) -> None:
        """Forget the speaker; voices told apart stay known, or one label would mean two."""
        try:
            self._common.reset()
        except Exception as error:
            # Whoever speaks next must not be judged by who spoke before.
            logger.error(
                "a speaker model could not be reset: another takes its place", exc_info=error
            )
            self._common = self._make()

    def _of(self, label: str | None) -> SpeakerModel:
        if label is None:
            return self._common
        if label not in self._own:
            self._own[label] = self._make()
        return self._own[label]
