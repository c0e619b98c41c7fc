"""How a session is set up, and what another may take over from it."""

from __future__ import annotations

from typing import Literal

import msgspec

from streamser.audio.clip import to_ms, to_samples
from streamser.events import AudioConfig, Limits, ModelNames, SessionInfo
from streamser.speech.diarisation import Telling
from streamser.speech.endpointing import EndpointerSettings
from streamser.speech.speakers import BUNDLED


class VoicesApart(msgspec.Struct, frozen=True, kw_only=True):
    """Say how voices at a microphone are told apart; see ``space_of`` and ``Telling``."""

    embedder: str = BUNDLED
    likeness: float = 0.6
    telling: Telling = Telling()


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a session is set up to do; lengths in samples.

    ``partial_every`` is the speech between two partials, 0 for none; ``window`` the most that
    a partial's emotion is read from. An ``ordered`` session puts all its events in the one
    order that does not depend on when results come: for files, where nobody waits. In any other
    the voice alone is told of where words are not there ``patience`` after the end of an
    utterance, and the emotion model ``reads_voice``; and an utterance ends where for ``no_sound``
    nothing is heard at all, not even silence (0: never). Requests of a
    ``patient`` session are never refused: its source waits while they do; those of one in the
    ``background`` let all others go first. In a ``manual`` one
    utterances end where the client commits. Where there is no ``speaker``, ``apart`` says how
    voices are told apart, if they are. ``audio`` and ``limits`` are only told.
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
    background: bool = False
    manual: bool = False
    source: str | None = None
    speaker: str | None = None
    meeting: str | None = None
    language: str | None = None
    apart: VoicesApart | None = None
    mood_seconds: float = 30.0
    audio: AudioConfig | None = None
    limits: Limits | None = None

    @property
    def guesses_speakers(self) -> bool:
        """Return whether it is told from voices who speaks."""
        return self.apart is not None and self.speaker is None

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
        speakers=_told_apart(profile),
        meeting=profile.meeting,
        ordered=profile.ordered,
        audio=profile.audio,
        limits=profile.limits,
    )


def _told_apart(profile: SessionConfig) -> Literal["auto", "off"] | int:
    if profile.apart is None or not profile.guesses_speakers:
        return "off"
    telling = profile.apart.telling
    return telling.most if telling.exactly else "auto"


def reach_of(endpointing: EndpointerSettings, window: int) -> int:
    """Return how many samples back an utterance, or a part of it, may still be asked for."""
    return endpointing.max_length + endpointing.silence + endpointing.pre_roll + 4 * window
