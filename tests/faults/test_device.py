"""The device thread dies, hangs, or runs out of memory beneath a server: no final is missing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from streamser.audio.clip import Clip
from streamser.errors import ModelError
from tests.faults.doubles import GIVE_UP_S, HandTime, Mishap, Workshop
from tests.faults.staging import codes_of, comes, figure, running, status
from tests.server.serving import (
    EMOTION,
    FAILED,
    Told,
    check_stream,
    demo,
    dial,
    encode,
    finals_of,
    of_kind,
    patience,
    refusal,
    whole,
)

SOUND = encode(demo())
"""Four utterances."""
STOPPED = "input_audio_buffer.speech_stopped"


def over(*utterances: int) -> Callable[[Sequence[Clip]], bool]:
    """Say whether a batch has one of these utterances."""
    return lambda clips: any(clip.utterance in utterances for clip in clips)


def undisturbed() -> list[Told]:
    """Return the finals of the sound where nothing goes wrong."""

    async def scene() -> list[Told]:
        async with running(Workshop()) as server:
            return finals_of(await whole(server, SOUND))

    return asyncio.run(patience(scene()))


@pytest.fixture(scope="module")
def expected() -> list[Told]:
    """Keep the finals of the sound where nothing goes wrong."""
    finals = undisturbed()
    assert len(finals) == 4
    return finals


def fall_once(utterance: int) -> Mishap:
    """Let the thread die over an utterance, the first time."""
    left = [utterance]

    def fall(clips: Sequence[Clip]) -> None:
        if left and over(utterance)(clips):
            left.clear()
            raise SystemExit("a library has called exit")

    return fall


def test_a_death_of_the_device_thread_is_not_noticed_by_a_stream(expected: list[Told]) -> None:
    """It is made good: not ready meanwhile, then every final as it would have been; counted."""
    building, built = threading.Semaphore(0), threading.Event()

    def before(number: int) -> None:
        if number > 1:
            building.release()
            assert built.wait(GIVE_UP_S)

    async def scene() -> None:
        async with running(Workshop(fall_once(2), before)) as server, dial(server) as wire:
            assert figure(server, "streamser_ready") == 1
            await wire.sound(SOUND)
            await comes(building)
            assert await status(server, "readyz") == (503, "not_ready\n")
            assert (await status(server, "healthz"))[0] == 200
            assert figure(server, "streamser_ready") == 0
            code, headers, error = await refusal(server)
            assert (code, headers["Retry-After"], error["code"]) == (503, "1", "not_ready")
            built.set()
            events = await wire.finish()
            check_stream(events)
            assert finals_of(events) == expected
            assert (await status(server, "readyz"))[0] == 200
            assert figure(server, 'streamser_device_restarts_total{cause="died"}') == 1
            assert figure(server, "streamser_retries_total") >= 1
            assert figure(server, "streamser_faults_total") == 0
            assert finals_of(await whole(server, SOUND)) == expected

    asyncio.run(patience(scene()))


def test_an_utterance_over_which_the_thread_dies_twice_fails_alone(expected: list[Told]) -> None:
    """Its final says so; those before and after it are as ever, and the stream goes on."""

    def fall(clips: Sequence[Clip]) -> None:
        if over(2)(clips):
            raise SystemExit("a library has called exit")

    async def scene() -> None:
        async with running(Workshop(fall)) as server:
            events = await whole(server, SOUND)
            finals = finals_of(events)
            assert codes_of(events) == ["worker_died"]
            assert finals[1]["type"] == FAILED
            assert "a library has called exit" in finals[1]["error"]["message"]
            assert [finals[n] for n in (0, 2, 3)] == [
                # The baseline of the speaker has one utterance less.
                {**expected[n], "emotion": finals[n]["emotion"]}
                for n in (0, 2, 3)
            ]
            assert figure(server, 'streamser_utterances_total{outcome="failed"}') == 1
            assert figure(server, "streamser_faults_total") == 1

    asyncio.run(patience(scene()))


def test_models_that_hang_cost_one_utterance_its_final(expected: list[Told]) -> None:
    """It fails with `deadline`; what the stuck thread says later goes nowhere."""
    time = HandTime()
    entered, opened = threading.Semaphore(0), threading.Event()

    def hang(clips: Sequence[Clip]) -> None:
        if over(2)(clips) and not opened.is_set():
            entered.release()
            assert opened.wait(GIVE_UP_S)

    async def let_time_pass() -> None:
        while not opened.is_set():
            await comes(entered)
            time.move(60)

    async def scene() -> None:
        async with running(Workshop(hang), time=time) as server, dial(server) as wire:
            passing = asyncio.create_task(let_time_pass())
            await wire.sound(SOUND)
            events = await wire.finish()
            opened.set()
            entered.release()
            await passing
            check_stream(events)
            assert codes_of(events) == ["deadline"]
            assert [event["type"] for event in finals_of(events)] == [
                EMOTION,
                FAILED,
                EMOTION,
                EMOTION,
            ]
            assert figure(server, 'streamser_device_restarts_total{cause="stuck"}') >= 1
            # Others are served as ever, once they do not hang any more.
            assert finals_of(await whole(server, SOUND)) == expected

    asyncio.run(patience(scene()))


def test_a_server_that_ends_while_models_hang_tells_what_is_missing() -> None:
    """Every utterance has its final, and the client is told goodbye, though nothing answers."""
    entered, opened = threading.Semaphore(0), threading.Event()

    def hang(clips: Sequence[Clip]) -> None:
        entered.release()
        assert opened.wait(GIVE_UP_S)

    async def scene() -> None:
        flags = {"server.shutdown_s": 0.1}
        async with running(Workshop(hang), flags) as server, dial(server) as wire:
            await wire.sound(SOUND)
            await comes(entered)
            events = await wire.until(STOPPED)
            ending = asyncio.create_task(server.stop())
            events += await wire.rest()
            await ending
            assert wire.code == 1001
            check_stream(events)
            assert set(codes_of(events)) == {"closed"}

    try:
        asyncio.run(patience(scene()))
    finally:
        opened.set()


def test_models_that_cannot_be_loaded_again_fail_finals_until_they_can(
    expected: list[Told],
) -> None:
    """Their file is gone: streams go on, each final says why it is missing; then it is back."""
    time = HandTime()
    gone = threading.Event()
    gone.set()
    tried = threading.Semaphore(0)

    def before(number: int) -> None:
        tried.release()
        if number > 1 and gone.is_set():
            raise ModelError("the model's file is gone.")

    async def scene() -> None:
        shop = Workshop(fall_once(1), before)
        async with running(shop, time=time) as server, dial(server) as wire:
            await comes(tried)
            await wire.sound(SOUND)
            events = await wire.until(FAILED)
            assert await status(server, "readyz") == (503, "not_ready\n")
            events += await wire.finish()
            check_stream(events)
            assert codes_of(events) == ["model_unavailable"] * 4
            assert figure(server, "streamser_not_loaded_total") == 1
            await comes(tried)
            gone.clear()
            time.move(2)
            await comes(tried)
            while (await status(server, "readyz"))[0] != 200:
                continue
            assert finals_of(await whole(server, SOUND)) == expected

    asyncio.run(patience(scene()))


def test_a_batch_that_does_not_fit_into_memory_is_halved_until_it_does(
    expected: list[Told],
) -> None:
    """Several streams at once on too small a device: all have the finals that each has alone."""
    sizes: list[int] = []
    first = threading.Semaphore(0)
    full = threading.Event()

    def run_out(clips: Sequence[Clip]) -> None:
        first.release()
        assert full.wait(GIVE_UP_S)
        sizes.append(len(clips))
        if len(clips) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    async def scene() -> None:
        async with running(Workshop(run_out)) as server:
            streams = [asyncio.create_task(whole(server, SOUND)) for _ in range(6)]
            await comes(first)
            # All have sent some before the models answer, so that there is more than one to run.
            while figure(server, 'streamser_queue_jobs{kind="final"}') < 8:
                await asyncio.sleep(0)
            full.set()
            for stream in streams:
                assert finals_of(await stream) == expected
            assert max(sizes) > 1
            assert figure(server, "streamser_faults_total") == 0
            assert figure(server, 'streamser_device_restarts_total{cause="died"}') == 0

    asyncio.run(patience(scene()))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("CUDA out of memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (ValueError("no such token"), "internal_error"),
        (ModelError("it cannot bear this.", code="model_unavailable"), "model_unavailable"),
    ],
)
def test_an_utterance_that_the_models_cannot_take_fails_alone(
    error: Exception, code: str, expected: list[Told]
) -> None:
    """Also where others share its batch; and the thread, with its models, stays."""

    def refuse(clips: Sequence[Clip]) -> None:
        if over(3)(clips):
            raise error

    async def scene() -> None:
        shop = Workshop(refuse)
        async with running(shop) as server:
            streams = await asyncio.gather(*(whole(server, SOUND) for _ in range(3)))
            for events in streams:
                assert codes_of(events) == [code]
                assert finals_of(events)[:2] == expected[:2]
                assert len(of_kind(events, EMOTION)) == 3
            assert len(shop.engines) == 1

    asyncio.run(patience(scene()))
