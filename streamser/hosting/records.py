"""What crosses between those who talk to clients and those who host sessions.

All of it can be written as MessagePack; nothing is pickled, and sound crosses once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from streamser.audio.source import Doubt
from streamser.events import ErrorBody, SessionEvent
from streamser.pipeline.engine import Abilities
from streamser.pipeline.restart import RestartPoint, Resumption
from streamser.pipeline.scheduler import QueueLoad
from streamser.pipeline.session_config import SessionConfig, SessionSnapshot
from streamser.pipeline.speaker_state import (
    AssignSpeaker,
    ForgetVoices,
    MergeSpeakers,
    RenameSpeaker,
)
from streamser.pipeline.worker import BatchReport, WorkerStats

# To a session


class Push(msgspec.Struct, frozen=True, tag=True):
    """Hear mono float32 samples at 16 kHz.

    At the monotonic clock's ``arrived``, all sound up to the sample ``reached`` was here.
    """

    samples: bytes
    arrived: float
    reached: int


class Commit(msgspec.Struct, frozen=True, tag=True):
    """End the open utterance here; ``event_id`` is the client's name for the message.

    With ``lenient``, having nothing to commit is no error.
    """

    event_id: str | None = None
    lenient: bool = False


class Clear(msgspec.Struct, frozen=True, tag=True):
    """Throw the open utterance away."""


class Mark(msgspec.Struct, frozen=True, tag=True):
    """Echo ``id`` once everything about the sound so far has been told."""

    id: str


class Notify(msgspec.Struct, frozen=True, tag=True):
    """Tell of a fault that is not the client's."""

    code: str
    message: str


class Advise(msgspec.Struct, frozen=True, tag=True):
    """Tell that the sound is likely of the wrong kind."""

    doubt: Doubt


class TrustSound(msgspec.Struct, frozen=True, tag=True):
    """Read what comes from here on: the client has said anew how it is written."""


class WelcomeBack(msgspec.Struct, frozen=True, tag=True):
    """Tell a client that has come back where to go on, and what it cannot be told."""

    received_frames: int
    lost_events: int
    lost_finals: int


class Reconfigure(msgspec.Struct, frozen=True, tag=True):
    """Go on with another configuration; of another speaker, if ``new_speaker``."""

    config: SessionConfig
    new_speaker: bool


class Lapse(msgspec.Struct, frozen=True, tag=True):
    """Let time pass in which no sound comes, in samples."""

    samples: int
    all_heard: bool


class Expect(msgspec.Struct, frozen=True, tag=True):
    """Say whether sound is to be expected that does not come now: then silence ends nothing."""

    more: bool


class Flush(msgspec.Struct, frozen=True, tag=True):
    """End the session: tell what is still to tell."""


class EndReplay(msgspec.Struct, frozen=True, tag=True):
    """Say that all that was given to a lost session has been given again."""


SessionInput: TypeAlias = (
    Push
    | Commit
    | Clear
    | Mark
    | Notify
    | Advise
    | TrustSound
    | WelcomeBack
    | Reconfigure
    | RenameSpeaker
    | MergeSpeakers
    | AssignSpeaker
    | ForgetVoices
    | Lapse
    | Expect
    | Flush
    | EndReplay
)


# From a session


class Told(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say what has become of a session since the last time.

    ``epoch`` counts the places where it has lived: what a former one says does not count.
    ``refusals`` are of inputs, by their number. ``position`` samples are over, ``pending`` finals
    are with the models.
    ``lapses`` are times that passed by themselves and ended something: each with the inputs that
    were over by then. ``point`` is where another could go on from, once that has moved. ``closed``:
    this is the last. ``fault`` is what has failed, in a line.
    """

    session_id: str
    epoch: int = 0
    events: list[SessionEvent] = []
    refusals: list[tuple[int, ErrorBody]] = []
    position: int = 0
    pending: int = 0
    lapses: list[tuple[int, Lapse]] = []
    point: RestartPoint | None = None
    closed: bool = False
    fault: str | None = None


Listener: TypeAlias = Callable[[Told], None]


class SessionHandle(Protocol):
    """Hold on to a hosted session; for the event loop's thread."""

    @property
    def in_flight(self) -> int:
        """Return how many samples are on their way to the session."""
        ...

    def apply(self, item: SessionInput) -> None:
        """Give the session something; what comes of it goes to its listener."""
        ...

    def snapshot(self) -> SessionSnapshot | None:
        """Return what is known of the speaker; ``None`` where the model cannot say."""
        ...

    def leave(self) -> None:
        """Let the session go; nothing is told any more."""
        ...


class HostReport(Protocol):
    """Say how those do who host sessions."""

    @property
    def stats(self) -> WorkerStats:
        """Return what workers have done so far."""
        ...

    @property
    def is_ready(self) -> bool:
        """Return whether words and emotion can be asked for, and answered at once."""
        ...

    def load(self) -> QueueLoad:
        """Return what waits now, with all together."""
        ...

    def workers(self) -> list[WorkerLoad]:
        """Return how each process that hosts sessions does; none where they are hosted here."""
        ...

    @property
    def kept_bytes(self) -> int:
        """Return how much sound is kept for sessions that may have to go on elsewhere."""
        ...


class SessionHost(HostReport, Protocol):
    """Host sessions, wherever; for the event loop's thread."""

    async def start(self) -> Hosted:
        """Load the models; raises ``ModelError`` or ``ConfigError`` where they cannot be had."""
        ...

    def open(
        self, config: SessionConfig, voice: SessionSnapshot | None, listener: Listener
    ) -> SessionHandle:
        """Begin a session, ``voice`` is what was learnt of its speaker before."""
        ...

    async def close(self, within_s: float) -> None:
        """Answer what waits, as far as that can be done in time, and let the models go."""
        ...


class Hosted(msgspec.Struct, frozen=True, tag=True):
    """Say which models sessions are hosted with, and what they can do."""

    vad: str
    abilities: Abilities


# To a worker process


class Open(msgspec.Struct, frozen=True, tag=True):
    """Begin a session, or take the place of another that was lost."""

    config: SessionConfig
    voice: SessionSnapshot | None = None
    past: Resumption | None = None
    epoch: int = 0


class Give(msgspec.Struct, frozen=True, tag=True):
    """Give a session something."""

    session_id: str
    item: SessionInput


class Leave(msgspec.Struct, frozen=True, tag=True):
    """Let a session go."""

    session_id: str


class Shut(msgspec.Struct, frozen=True, tag=True):
    """Answer what waits within so many seconds, and end."""

    within_s: float


ToWorker: TypeAlias = Open | Give | Leave | Shut


# From a worker process


class Said(msgspec.Struct, frozen=True, tag=True):
    """Carry a line for people, while models are loaded."""

    line: str


class NotLoaded(msgspec.Struct, frozen=True, tag=True):
    """Say that there are no models, and why; ``config``: the settings are to blame."""

    code: str
    message: str
    config: bool


class WorkerLoad(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say how a worker process does: once a second, which is its sign of life, too.

    ``cpu_s`` is the processor time it has taken so far, ``memory`` its resident bytes.
    """

    pid: int
    sessions: int
    cpu_s: float
    memory: int | None
    stats: WorkerStats
    waiting: QueueLoad
    ready: bool
    batches: list[BatchReport] = []


FromWorker: TypeAlias = Said | NotLoaded | Hosted | Told | WorkerLoad
