"""Several people at one microphone of a real server: told apart, named, merged, and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager

import numpy as np
import pytest

from streamser.client import ClientSession, connect, subscribe
from streamser.events import (
    AnyEvent,
    EmotionCompleted,
    ErrorRaised,
    MeetingUpdated,
    SessionClosed,
    SpeakersChanged,
)
from streamser.pipeline.speaker_state import SpeakersState
from tests.server.serving import Stage, demo

SECOND = 16_000
LABELS = ["speaker 1", "speaker 2", "speaker 1", "speaker 3"]
"""Of the first four utterances of the bundled conversation: Carl, Ben, Carl, Anna."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Keep one server for the whole module, with the embedder that comes with the program."""
    stage = Stage()
    yield stage
    stage.close()


@asynccontextmanager
async def told_apart(stage: Stage) -> AsyncIterator[tuple[ClientSession, list[AnyEvent]]]:
    """Let a client send four utterances of three people, and read their finals."""
    heard: list[AnyEvent] = []
    async with connect(stage.server.local_url, meeting="m", speakers="auto") as session:
        await session.send(demo())
        await session.send(np.zeros(SECOND, np.float32))
        while sum(isinstance(event, EmotionCompleted) for event in heard) < len(LABELS):
            heard.append(await anext(session))
        yield session, heard


def labels(heard: list[AnyEvent]) -> list[str | None]:
    """Return who is told to have spoken."""
    return [event.emotion.speaker for event in heard if isinstance(event, EmotionCompleted)]


def items(heard: list[AnyEvent]) -> list[str]:
    """Return the names of the utterances."""
    return [event.item_id for event in heard if isinstance(event, EmotionCompleted)]


async def answer(session: ClientSession) -> SpeakersChanged | ErrorRaised:
    """Read on until what was said of speakers is answered."""
    async for event in session:
        if isinstance(event, SpeakersChanged | ErrorRaised):
            return event
    raise AssertionError("the session ended without an answer")


def known(stage: Stage, session: ClientSession) -> SpeakersState:
    """Return what a session knows of voices: what a snapshot of it holds."""
    registry = stage.server._sessions
    assert registry is not None
    (managed,) = (each for each in registry._sessions if each.stream.session_id == session.id)
    hosted = managed.stream._handle._hosted  # type: ignore[union-attr]
    state: SpeakersState = hosted._session.speakers.state()
    return state


def test_a_client_says_who_speaks_and_everybody_is_told(stage: Stage) -> None:
    """A name, two who are one, whose an utterance is: each is one event, for listeners too."""

    async def scene() -> None:
        seen: list[AnyEvent] = []
        async with aclosing(subscribe(stage.server.local_url, meeting="m")) as listening:

            async def listen() -> None:
                async for stamped in listening:
                    seen.append(stamped.event)
                    if isinstance(stamped.event, SessionClosed):
                        return

            ears = asyncio.create_task(listen())
            async with told_apart(stage) as (session, heard):
                assert labels(heard) == LABELS
                await session.rename_speaker("speaker 1", "Carl")
                named = await answer(session)
                assert isinstance(named, SpeakersChanged)
                assert named.renamed == {"speaker 1": "Carl"}
                await session.merge_speakers("speaker 3", "speaker 2")
                merged = await answer(session)
                assert isinstance(merged, SpeakersChanged)
                assert merged.renamed == {"speaker 3": "speaker 2"}
                fourth = items(heard)[3]
                await session.assign_speaker(fourth, "Anna")
                given = await answer(session)
                assert isinstance(given, SpeakersChanged)
                assert (fourth, "Anna") in [(one.item_id, one.speaker) for one in given.changes]
            await ears
        told = [event for event in seen if isinstance(event, SpeakersChanged)]
        assert [event.renamed for event in told[:2]] == [named.renamed, merged.renamed]
        assert given.changes in [event.changes for event in told]
        meeting = next(event for event in reversed(seen) if isinstance(event, MeetingUpdated))
        assert {"Carl", "speaker 2", "Anna"} <= {each.speaker for each in meeting.speakers}

    stage.play(scene())


def test_what_nobody_can_do_is_answered_to_the_client_alone(stage: Stage) -> None:
    """With a code, and in one line that says who is known; the stream goes on."""

    async def scene() -> None:
        async with told_apart(stage) as (session, heard):
            for asked, line in (
                (session.rename_speaker("Zoe", "Ann"), "nobody is called Zoe: speaker 1"),
                (session.merge_speakers("speaker 1", "Zoe"), "nobody is called Zoe: speaker 1"),
                (session.assign_speaker(f"{items(heard)[0]}9", "Ann"), "is not remembered"),
                (session.assign_speaker("item_9", "Ann"), "there is no utterance 'item_9'"),
                (session.rename_speaker("speaker 1", ""), "length >= 1"),
            ):
                await asked
                refused = await answer(session)
                assert isinstance(refused, ErrorRaised)
                assert refused.error.type == "invalid_request_error"
                assert line in refused.error.message
                assert "\n" not in refused.error.message
            await session.rename_speaker("speaker 1", "Carl")
            assert isinstance(await answer(session), SpeakersChanged)

    stage.play(scene())


def test_no_voiceprint_is_left_once_they_are_forgotten(stage: Stage) -> None:
    """Nor anything that is usual for somebody; labels that were given never come back."""

    async def scene() -> None:
        async with told_apart(stage) as (session, _):
            before = known(stage, session)
            assert before.voices is not None
            assert len(before.voices.recent) >= len(LABELS)
            assert set(before.own) == set(LABELS)
            await session.forget_speakers()
            assert isinstance(await answer(session), SpeakersChanged)
            after = known(stage, session)
            assert after.own == {}
            assert after.voices is not None
            assert (after.voices.recent, after.voices.voices) == ((), {})
            await session.send(demo(5.0))
            await session.send(np.zeros(SECOND, np.float32))
            async for event in session:
                if isinstance(event, EmotionCompleted):
                    assert event.emotion.speaker == "speaker 4"
                    break

    stage.play(scene())


def test_two_who_do_not_wait_for_each_other_are_read_each_for_themselves(stage: Stage) -> None:
    """On a real server with the bundled models: Carl and Ben in one breath."""
    sound = demo(9.0)
    carl, ben = sound[int(0.5 * SECOND) : int(4.1 * SECOND)], sound[int(5.4 * SECOND) :]
    silence = np.zeros(SECOND, np.float32)

    async def scene() -> None:
        async with connect(stage.server.local_url, speakers="auto") as session:
            await session.send(np.concatenate([silence, carl, ben[: 3 * SECOND], silence]))
            await session.finish()
            finals = [event async for event in session if isinstance(event, EmotionCompleted)]
        parts = [part for final in finals for part in final.parts]
        assert {part.speaker for part in parts} == {"speaker 1", "speaker 2"}
        assert all(part.emotion is not None for part in parts)
        for part in parts:
            assert part.emotion is not None
            assert sum(part.emotion.scores.values()) == pytest.approx(1, abs=1e-3)
            assert part.emotion.modalities == ("audio",)

    stage.play(scene())
