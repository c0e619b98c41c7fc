"""A session in a worker process, as the process that talks to its client holds it."""

from __future__ import annotations

from collections.abc import Callable

from streamser import events
from streamser.hosting.journal import Journal
from streamser.hosting.link import WorkerLink
from streamser.hosting.records import Give, Leave, Listener, SessionInput, Told
from streamser.pipeline.emitter import server_error
from streamser.pipeline.session_config import SessionConfig, SessionSnapshot


class RemoteSession:
    """Hold a session that lives elsewhere, and all it needs to go on somewhere else.

    ``listener`` gets what it tells; ``let_go`` is called once it is over.
    """

    def __init__(
        self,
        config: SessionConfig,
        voice: SessionSnapshot | None,
        listener: Listener,
        let_go: Callable[[RemoteSession], None],
    ) -> None:
        self.session_id = config.session_id
        self.link: WorkerLink | None = None
        """Where it lives; ``None`` while it waits for a home."""
        self.homeless_at: float | None = None
        self._model = config.models.emotion
        self._listener: Listener | None = listener
        self._let_go = let_go
        self._journal = Journal(config, voice)

    @property
    def in_flight(self) -> int:
        """Return how many samples are on their way to the session."""
        return self._journal.in_flight

    def apply(self, item: SessionInput) -> None:
        """Give the session something, as soon as it has a home."""
        self._journal.give(item)
        if self.link is not None:
            self.link.send(Give(self.session_id, item))

    def snapshot(self) -> SessionSnapshot | None:
        """Return what was known of the speaker when an utterance was last told of."""
        point = self._journal.point
        return None if point is None else SessionSnapshot(self._model, point.speakers.common)

    def leave(self) -> None:
        """Let the session go; nothing is told any more."""
        if self._listener is None:
            return
        self._listener = None
        if self.link is not None:
            self.link.send(Leave(self.session_id))
        self._let_go(self)

    def settle(self, link: WorkerLink) -> None:
        """Live there from here on, and go on where it was."""
        self.link, self.homeless_at = link, None
        begins, items = self._journal.replay()
        link.send(begins)
        for item in items:
            link.send(Give(self.session_id, item))

    def note(self, told: Told) -> None:
        """Take note of what it has told, and pass it on."""
        self._journal.note(told)
        if self._listener is not None:
            self._listener(told)
        if told.closed:
            self._listener = None
            self._let_go(self)

    def blame(self, utterance: int) -> None:
        """Take note that models were lost over an utterance."""
        self._journal.blame(utterance)

    def give_up(self, why: str) -> None:
        """Tell that what is over and has no final has failed, and that the session has."""
        failed: list[events.SessionEvent] = []
        for number, item_id in enumerate(self._journal.due(), self._journal.seq + 1):
            failed.append(
                events.TranscriptionFailed(
                    event_id=f"event_{self.session_id}_{number}",
                    session_id=self.session_id,
                    seq=number,
                    item_id=item_id,
                    error=server_error("model_unavailable", why),
                    audio_start_ms=0,
                    audio_end_ms=0,
                )
            )
        self.note(Told(session_id=self.session_id, events=failed, fault=why))
