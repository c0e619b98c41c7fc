"""What holds whatever a client sends: the server lives, answers, and keeps sessions apart."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Iterator
from contextlib import AsyncExitStack
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from streamser.logs import FIELDS
from tests.server.scripts import (
    CLEARED,
    EMPTY,
    RESUMED,
    STOPPED,
    UPDATED,
    Step,
    endings,
    message,
    queries,
    scripts,
)
from tests.server.serving import (
    Stage,
    Told,
    Wire,
    bare,
    check_stream,
    demo,
    dial,
    encode,
    kinds,
    of_kind,
    resampled,
    unnumbered,
)

MEETING = "chaos"
CLOSED = "streamser.session.closed"


class Neighbour(msgspec.Struct, frozen=True):
    """Hold what an ordered session gives while nobody else is there."""

    data: bytes
    alone: list[Told]


class World(msgspec.Struct, frozen=True):
    """Hold the server that all scripts are played on."""

    stage: Stage
    neighbour: Neighbour
    faults: list[str]
    unbroken: dict[tuple[int, str, int], list[Told]]

    def __repr__(self) -> str:
        """Keep the reports of failing scripts short."""
        return "world"


class Faults(logging.Handler):
    """Keep what the program says of faults that it did not foresee; a slow machine is none."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note a warning or an error."""
        if getattr(record, FIELDS, {}).get("event") != "loop_late":
            self.seen.append(f"{record.getMessage()} {record.exc_info}")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One server, and a session on it that shall not notice anything."""
    stage = Stage({"server.max_message_kib": 1024})
    faults = Faults()
    for name in ("streamser", "asyncio"):
        logging.getLogger(name).addHandler(faults)
    data = encode(demo(2.7, 8.9))
    alone = stage.play(speak_in_order(stage, data))
    assert kinds(alone).count("streamser.emotion.completed") == 1
    yield World(stage, Neighbour(data, alone), faults.seen, {})
    stage.close()
    for name in ("streamser", "asyncio"):
        logging.getLogger(name).removeHandler(faults)


async def speak_in_order(stage: Stage, data: bytes) -> list[Told]:
    """Return what an ordered session gives for a recording."""
    async with dial(stage.server, query="rate=16000") as wire:
        events = await wire.update(ordered=True)
        await wire.sound(data, size=3200)
        events += await wire.finish()
    return [bare(event) for event in events]


async def play(
    world: World, script: list[Step], ending: str, query: dict[str, str]
) -> tuple[list[Told], list[Told] | None]:
    """Send a script; return what listeners heard of it, and what the client did if it could."""
    server = world.stage.server
    query = {"meeting": MEETING, **query}
    async with dial(server, "/v1/events", query=f"meeting={MEETING}") as listener:
        await listener.next()
        told = None
        async with dial(server, query=urlencode(query)) as wire:
            for step in script:
                await wire.raw(step.message)
            if ending == "finish":
                told = await wire.finish()
                assert wire.code == 1000
            elif ending == "break":
                await wire.break_off()
            elif ending == "garbage":
                wire.connection.transport.write(b"\xff" * 64)
                await wire.rest()
        heard = await listener.until(CLOSED)
    return [event for event in heard if "session_id" in event], told


def expected_answers(script: list[Step]) -> list[Step]:
    """Pick the steps that something answers, knowing what became impossible by then."""
    heard, ordered = False, False
    steps = []
    for step in script:
        heard = heard or step.sound
        if step.ordered is not None and heard and step.ordered != ordered:
            step = msgspec.structs.replace(step, answers=("error",))
        elif step.ordered is not None:
            ordered = step.ordered
        if step.answers:
            steps.append(step)
    return steps


def pair(steps: list[Step], answers: list[Told]) -> list[Told]:
    """Bring refusals, which come in their own order, to steps that they fit, and so the others.

    Where that cannot be done the answers stay as they came.
    """
    refusals = [answer for answer in answers if answer["type"] == "error"]
    others = [answer for answer in answers if answer["type"] != "error"]
    # How many refusals may stand among the first steps, and which of them came last.
    reached: list[dict[int, bool]] = [{0: False}]
    for number, step in enumerate(steps):
        fitting: dict[int, bool] = {}
        for refused in reached[-1]:
            if refused < len(refusals) and fits(step, refusals[refused]):
                fitting[refused + 1] = True
            there = number - refused
            if there < len(others) and fits(step, others[there]):
                fitting.setdefault(refused, False)
        reached.append(fitting)
    if len(answers) != len(steps) or len(refusals) not in reached[-1]:
        return answers
    found, refused = [], len(refusals)
    for number in range(len(steps), 0, -1):
        was_refused = reached[number][refused]
        refused -= was_refused
        found.append(refusals[refused] if was_refused else others[number - 1 - refused])
    return found[::-1]


def fits(step: Step, answer: Told) -> bool:
    """Tell whether an answer may be that to a step."""
    if answer["type"] not in step.answers:
        return False
    if answer["type"] != "error":
        return True
    error = answer["error"]
    named: bool = error["event_id"] == step.event_id
    return named and (error["code"] == EMPTY) == (STOPPED in step.answers)


def check(world: World, script: list[Step], ending: str, query: dict[str, str]) -> None:
    """Play a script beside a neighbour and assert everything that must hold."""

    async def scene() -> tuple[tuple[list[Told], list[Told] | None], list[Told]]:
        return await asyncio.gather(
            play(world, script, ending, query),
            speak_in_order(world.stage, world.neighbour.data),
        )

    (heard, told), neighbour = world.stage.play(scene())
    assert world.faults == []
    assert neighbour == world.neighbour.alone
    check_stream(heard)
    names = [step.marker for step in script if step.marker is not None]
    echoes = [event["id"] for event in of_kind(heard, "streamser.marker")]
    if ending in ("finish", "close"):
        assert echoes == names
    assert echoes == names[: len(echoes)]
    if told is None:
        return
    # What the client does wrong is told to it alone.
    assert [bare(event) for event in told if event["seq"]] == [bare(event) for event in heard]
    answers = [
        event
        for event in told
        if event["type"] in (UPDATED, CLEARED, "error")
        or (event["type"] == STOPPED and event["reason"] == "commit")
    ]
    steps = expected_answers(script)
    if any(step.ordered for step in script):
        # An ordered session tells a refusal at once, and everything else in its place.
        answers = pair(steps, answers)
    for step, answer in zip(steps, answers, strict=True):
        assert answer["type"] in step.answers, (step, answer)
        if answer["type"] == "error":
            error = answer["error"]
            assert error["type"] == "invalid_request_error"
            assert error["code"]
            assert error["message"]
            assert error["event_id"] == step.event_id, (step, error)
            assert (error["code"] == EMPTY) == (STOPPED in step.answers)


@settings(
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(script=scripts, ending=endings, query=queries)
def test_no_script_harms_the_server(
    world: World, script: list[Step], ending: str, query: dict[str, str]
) -> None:
    """Right, wrong, cut and mad messages in any order: all of this module's promises hold."""
    check(world, script, ending, query)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(script=scripts, ending=endings, query=queries)
def test_no_script_harms_the_server_however_long_one_tries(
    world: World, script: list[Step], ending: str, query: dict[str, str]
) -> None:
    """The same for many more scripts."""
    check(world, script, ending, query)


# Lines that break


class Break(msgspec.Struct, frozen=True):
    """Say where a line breaks, as a share of the recording, and how.

    ``silent``: the server only learns of it when the client is back.
    """

    place: float
    silent: bool
    piece: int
    behind: int


breaks = st.builds(
    Break,
    st.floats(0, 1),
    st.booleans(),
    st.sampled_from([640, 4801, 20_001, 200_000]),
    st.sampled_from([0, 0, 1, 5]),
)


async def speak_brokenly(
    stage: Stage, data: bytes, width: int, query: str, script: list[Break]
) -> list[Told]:
    """Send a recording over lines that break; return all events, each once."""
    events: list[Told] = []
    async with AsyncExitStack() as stack:
        for n, cut in enumerate([*script, None]):
            # A client may have seen less than it was sent, and asks for that again.
            if n and script[n - 1].behind:
                events = events[: max(2, len(events) - script[n - 1].behind)]
            seen = events[-1]["seq"] if events else 0
            address = f"{query}&after={seen}"
            wire = await stack.enter_async_context(dial(stage.server, query=address))
            sent = 0
            if n == 0:
                events += await wire.update(ordered=True)
            else:
                events += await resumption(wire)
                sent = events[-1]["received_frames"] * width
            if cut is None:
                await wire.sound(data[sent:])
                events += await wire.finish()
                assert wire.code == 1000
                return events
            await wire.sound(data[sent : round(cut.place * len(data))], size=cut.piece)
            if not cut.silent:
                await wire.break_off()
    raise AssertionError("the last line does not break")


async def resumption(wire: Wire) -> list[Told]:
    """Return what was missed, up to where to go on; earlier resumptions may be among it."""
    events = await wire.until(RESUMED)
    while "cursor" in events[-1]:
        events += await wire.until(RESUMED)
    return events


@settings(max_examples=8, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(
    script=st.lists(breaks, min_size=1, max_size=5),
    form=st.sampled_from([(16_000, "s16le", 2), (24_000, "f32le", 4), (8000, "pcmu", 1)]),
)
def test_however_a_line_breaks_nothing_is_lost(
    world: World, script: list[Break], form: tuple[int, str, int]
) -> None:
    """Where and how often it breaks, the events are those of an unbroken line, each once."""
    rate, encoding, width = form
    data = encode(resampled(demo(5.2), rate), encoding)
    query = f"rate={rate}&encoding={encoding}"
    stage = world.stage
    if form not in world.unbroken:
        world.unbroken[form] = stage.play(speak_brokenly(stage, data, width, query, []))
    script.sort(key=lambda cut: cut.place)
    secret = secrets.token_hex()
    events = stage.play(speak_brokenly(stage, data, width, f"{query}&stream={secret}", script))
    resumed = of_kind(events, RESUMED)
    told = [event for event in events if event["type"] != RESUMED]
    assert unnumbered(told) == unnumbered(world.unbroken[form])
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    # Nothing but an earlier resumption may be missing.
    assert numbers[-1] - len(numbers) <= len(script) - len(resumed)


@pytest.mark.parametrize(
    "text",
    [
        message("input_audio_buffer.commit", "x" * 500_000),
        message("response.create", "x" * 500_000),
        message("session.update", None, session={"type": "x" * 500_000}),
        message(
            "session.update",
            None,
            session={
                "audio": {"input": {"format": {"type": "audio/pcm", "encoding": "x" * 500_000}}}
            },
        ),
    ],
    ids=["event_id", "event_id of an unknown type", "type", "encoding"],
)
def test_a_long_mistake_gets_a_short_answer(world: World, text: str) -> None:
    """An error goes to every listener too: what a client sends must not fill their lines."""

    async def scene() -> list[Told]:
        async with dial(world.stage.server) as wire:
            await wire.raw(text)
            return await wire.finish()

    (error,) = of_kind(world.stage.play(scene()), "error")
    assert len(json.dumps(error)) < 4000
