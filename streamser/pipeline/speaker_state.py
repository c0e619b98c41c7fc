"""Who speaks at a session's microphone, and what is usual for each of them."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from streamser.emotion.model import Features, Prediction, SpeakerModel
from streamser.errors import ModelError
from streamser.pipeline.session_config import SessionSnapshot
from streamser.speech.speakers import Clustering, SpeakerClusters, Voice

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
