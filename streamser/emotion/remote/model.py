"""An emotion model that asks one elsewhere, and one here while that is away."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.model import (
    DAMAGED_STATE,
    EmotionModel,
    Features,
    Prediction,
    Segment,
    SpeakerModel,
    plain_reading,
)
from streamser.emotion.remote.link import RemoteAwayError, RemoteLink, TooLargeError
from streamser.emotion.remote.wire import (
    MOST_BYTES,
    MOST_CLIPS,
    WIRE,
    ModelCard,
    ReadClips,
    ask_about,
    from_bytes,
    to_bytes,
)
from streamser.errors import ModelError
from streamser.settings import EmotionSettings

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_STEADY_S: Final = 60.0
"""One that is lost after it has read for so long was well; sooner, it has never been."""
_KEPT_SHARE: Final = 0.5
"""Of the time that finals waited: one that took as much is who they waited for."""
_REMEMBERED: Final = 256


class RemoteFound(msgspec.Struct, frozen=True, eq=False):
    """Hold what was found in a clip: a reading from elsewhere, or ``features`` found here.

    ``reader`` is how the local model is called where it judges; none: by its name.
    """

    reading: Prediction | None
    features: Features = None
    reader: str | None = None


class RemoteModel:
    """Ask a model elsewhere, and the ``local`` one where it does not answer ``within_s``.

    Each reading says who made it. While the other end is away nobody waits for it: it is asked
    about what is read here meanwhile, after 1 s, 2 s and so on to 30 s, and reads again once
    that is answered well and in time. Pauses go on growing where it is lost again soon, so that
    one that is now well and now not is seldom waited for. It is away, too, while finals of people
    who speak wait longer than ``within_s`` since it takes so long.
    A batch that is too large to be sent is read here.
    ``expected`` is the name of the model there; without it the first that is found is.

    Raises ``ModelError`` where another model is there, or something else, unless they were
    loaded here ``before``; where nothing is there, the local model reads until there is.
    """

    def __init__(
        self,
        link: RemoteLink,
        local: EmotionModel,
        expected: str | None,
        within_s: float,
        *,
        before: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._local = local
        self._expected = expected
        self._within_s = within_s
        self._now = now
        self.url = link.url
        self.away: str | None = "nobody was asked yet"
        """Why the other end does not read now; ``None`` while it does."""
        self._is_told = False
        self._pause_s = _FIRST_PAUSE_S
        self._again_at = 0.0
        self._there_since = -math.inf
        self._most_bytes = MOST_BYTES
        self._looking: Future[bytes] | None = None
        self._looked_for = self._looked_bytes = 0
        self._looked_at = 0.0
        self._asks: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        # What cannot run at all is better known at the start than when the other end is lost.
        local.extract([Segment(np.zeros(SAMPLE_RATE, np.float32), None)])
        modalities: tuple[str, ...] = ("audio", "text")
        try:
            card = self._accept(link.wait_for(None, within_s))
            modalities = tuple(
                each for each in modalities if each in (*card.modalities, *local.modalities)
            )
            self.standing = f"emotion.remote: {card.model} reads, at {link.url}"
        except (RemoteAwayError, ModelError) as away:
            # A model that reads is not to be lost over one that might read better.
            if isinstance(away, ModelError) and not before:
                raise
            self._lose(str(away))
            self.standing = self._told_away()
            self._is_told = True
        self.modalities = modalities
        self.name = self._expected or local.name

    def extract(self, batch: Sequence[Segment]) -> list[RemoteFound]:
        """Have clips read elsewhere, float32 [n] at 16 kHz, n >= 0; or measured here."""
        readings = self._ask(batch)
        if readings is None:
            # Two of one name are told apart by where they are.
            reader = f"{self._local.name} (here)" if self._expected == self._local.name else None
            return [RemoteFound(None, each, reader) for each in self._local.extract(batch)]
        return [RemoteFound(each) for each in readings]

    def forget(self, session_id: str) -> None:
        """Drop what the local model keeps of a session; the other end never knew of it."""
        self._local.forget(session_id)

    def new_speaker(self) -> RemoteSpeaker:
        """Return a speaker model that has heard nobody yet."""
        return RemoteSpeaker(self._local.new_speaker(), self._local.name)

    def _ask(self, batch: Sequence[Segment]) -> list[Prediction] | None:
        if not 0 < len(batch) <= MOST_CLIPS:
            return None
        if self.away is not None:
            self._look(batch)
        if self.away is not None:
            return None
        if (why := self._too_slow(batch)) is not None:
            self._do_without(why)
            return None
        question = to_bytes(ask_about(batch))
        if len(question) > self._most_bytes:
            return None
        began = self._now()
        try:
            readings = self._readings(self._link.wait_for(question, self._within_s), len(batch))
        except TooLargeError as error:
            # That of a proxy: what is smaller is read there all the same.
            self._most_bytes = len(question) - 1
            logger.warning(
                "emotion.remote %s: %s; what is as large is read by %s here, until whoever passes"
                " it on takes more",
                self.url,
                error,
                self._local.name,
            )
            return None
        # Whatever it answers, the batch is read.
        except (RemoteAwayError, ModelError) as error:
            self._do_without(str(error))
            return None
        self._asks.append((began, self._now()))
        if self._is_told:
            self._is_told = False
            logger.warning("emotion.remote: %s reads again", self._expected)
        return readings

    def _do_without(self, why: str) -> None:
        self._lose(why)
        if not self._is_told:
            self._is_told = True
            logger.warning("%s", self._told_away())

    def _too_slow(self, batch: Sequence[Segment]) -> str | None:
        """Say so where people wait for it; others on this thread may keep them waiting, too."""
        now = self._now()
        waited_s = max(each.waited_s for each in batch)
        if waited_s <= self._within_s:
            return None
        since = now - waited_s
        taken_s = sum(max(0.0, ended - max(began, since)) for began, ended in self._asks)
        if taken_s < _KEPT_SHARE * waited_s:
            return None
        return f"it does not keep pace, utterances wait {waited_s:.1f} s for it"

    def _readings(self, answer: bytes, clips: int) -> list[Prediction]:
        told = from_bytes(answer, ReadClips)
        self._check(told.wire, told.model)
        if len(told.readings) != clips:
            raise ModelError(f"it answers with {len(told.readings)} readings of {clips} clips")
        return [
            replace(plain_reading(each, told.model), model=told.model) for each in told.readings
        ]

    def _accept(self, answer: bytes) -> ModelCard:
        try:
            card = from_bytes(answer, ModelCard)
        except ModelError as error:
            raise ModelError(
                f"emotion.remote {self._link.url} is no model of streamser ({error}): deploy one"
                " there (docs/remote-models.md)."
            ) from None
        self._check(card.wire, card.model)
        self.away = None
        return card

    def _check(self, wire: int, model: str) -> None:
        url = self._link.url
        if wire != WIRE:
            raise ModelError(
                f"emotion.remote {url} speaks version {wire}, and {WIRE} is spoken here: install"
                " the same version of streamser at both ends."
            )
        # It stands in events and lines.
        if not model.isprintable():
            raise ModelError(f"emotion.remote {url} has a model of no name that can be printed.")
        if self._expected not in (None, model):
            raise ModelError(
                f"emotion.remote {url} has the model {model!r}, and {self._expected!r} is asked"
                " for: deploy that one, or change emotion.remote_model."
            )
        self._expected = model

    def _look(self, batch: Sequence[Segment]) -> None:
        """See whether the other end is there again, by this batch, without waiting for it."""
        now, looking = self._now(), self._looking
        if looking is None:
            if now < self._again_at:
                return
            question = to_bytes(ask_about(batch))
            if len(question) > self._most_bytes:
                return
            try:
                self._looking = self._link.begin(question, self._within_s)
                self._looked_at, self._looked_for = now, len(batch)
                self._looked_bytes = len(question)
            except RemoteAwayError as away:
                self._lose(str(away))
            return
        if not looking.done():
            if now - self._looked_at > self._within_s:
                self._link.cut()
            return
        self._looking = None
        try:
            self._readings(looking.result(), self._looked_for)
            self.away, self._there_since = None, now
        except TooLargeError:
            # The next smaller one says more.
            self._most_bytes = self._looked_bytes - 1
        except (RemoteAwayError, ModelError) as error:
            self._lose(str(error))

    def _lose(self, why: str) -> None:
        logger.debug("emotion.remote %s: %s", self._link.url, why)
        now = self._now()
        if self.away is None and now - self._there_since >= _STEADY_S:
            self._pause_s = _FIRST_PAUSE_S
        self.away = why.removesuffix(".")
        self._asks.clear()
        self._again_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _told_away(self) -> str:
        return (
            f"emotion.remote {self._link.url} is away ({self.away}): {self._local.name}"
            " reads here until it answers"
        )


class RemoteSpeaker:
    """Hand readings from elsewhere on, and let the ``local`` model's speaker judge what it found.

    The other end learns nothing of speakers. So what is learnt is the local model's, of what it
    heard itself, and no other's.
    """

    def __init__(self, local: SpeakerModel, name: str) -> None:
        self._local = local
        self._name = name
        self._has_learnt = False

    def predict(self, found: RemoteFound) -> Prediction:
        """Return the reading; of features, what the local model makes of them."""
        if found.reading is not None:
            return found.reading
        return replace(self._local.predict(found.features), model=found.reader or self._name)

    def adapt(self, found: RemoteFound) -> None:
        """Let the local model learn of an utterance that it measured itself."""
        if found.reading is None:
            self._local.adapt(found.features)
            self._has_learnt = True

    def snapshot(self) -> bytes:
        """Return what the local model learnt, with its name; nothing where that is nothing."""
        if not self._has_learnt:
            return b""
        return msgspec.msgpack.encode((self._name, self._local.snapshot()))

    def restore(self, state: bytes) -> None:
        """Go on from a snapshot; raises ``ModelError`` for that of another local model."""
        if not state:
            self.reset()
            return
        try:
            name, learnt = msgspec.msgpack.decode(state, type=tuple[str, bytes])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise ModelError(DAMAGED_STATE) from None
        if name != self._name:
            raise ModelError(f"what {name} learnt of a speaker is of no use to {self._name}")
        self._local.restore(learnt)
        self._has_learnt = True

    def reset(self) -> None:
        """Forget the speaker."""
        self._local.reset()
        self._has_learnt = False


def connect_remote(
    settings: EmotionSettings, local: EmotionModel, *, before: bool = False
) -> RemoteModel:
    """Ask the model at ``settings.remote``, and the ``local`` one while it is away.

    Raises ``ConfigError`` for what is no address; see ``RemoteModel`` for the rest.
    """
    assert settings.remote is not None, "there is an address to ask"
    link = RemoteLink(settings.remote, settings.remote_ca, settings.remote_token_file)
    return RemoteModel(link, local, settings.remote_model, settings.remote_s, before=before)
