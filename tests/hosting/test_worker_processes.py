"""Worker processes that die, hang, or are never there: nothing that was taken in is lost."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from streamser.errors import ConfigError, ModelError
from streamser.server.app import EmotionServer
from tests.cli.test_serve import QUIET
from tests.cli.test_serve import serving as serving_program
from tests.hosting.ending import wait_until_gone
from tests.plugged import write_package
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
    serving,
    whole,
)

COMMITTED = "input_audio_buffer.committed"

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")

SOUND = encode(demo())
HALF = len(SOUND) // 2 // 2 * 2
TWO: dict[str, Any] = {"worker.processes": 2}
ONE: dict[str, Any] = {"worker.processes": 1}

TROUBLED = '''
"""Judge loudness; of one utterance of each session, do what the file says, so many times."""

import os
import signal
from pathlib import Path

import numpy as np

from streamser.emotion.model import Prediction
from streamser.taxonomy import Dimensions

FOLDER = Path(__file__).parent


class Speaker:
    def __init__(self):
        self.learnt = 0
        self.lock = __import__("threading").Lock()  # cannot be pickled, and need not be

    def predict(self, features):
        return Prediction(
            category="neutral",
            confidence=1.0,
            scores={"neutral": 1.0, "happy": 0.0, "sad": 0.0, "angry": 0.0},
            dimensions=Dimensions(arousal=round(min(1.0, features), 4)),
            uncertainty=0.0,
            modalities=("audio",),
            evidence={"learnt": float(self.learnt)},
        )

    def adapt(self, features):
        self.learnt += 1
        trouble = FOLDER / "trouble"
        if trouble.exists() and trouble.read_text().split()[:2] == ["adapts", str(self.learnt)]:
            with (FOLDER / "marks").open("a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)

    def snapshot(self):
        return str(self.learnt).encode()

    def restore(self, state):
        self.learnt = int(state)

    def reset(self):
        self.learnt = 0


class Troubled:
    name = "troubled"
    modalities = ("audio",)

    def extract(self, batch):
        for segment in batch:
            self.meet(segment.place)
        return [float(np.sqrt(np.mean(each.samples**2))) for each in batch]

    def meet(self, place):
        trouble, marks = FOLDER / "trouble", FOLDER / "marks"
        if place is None or place.growing or not trouble.exists():
            return
        what, number, times = trouble.read_text().split()
        done = len(marks.read_text()) if marks.exists() else 0
        if place.utterance != int(number) or done >= int(times):
            return
        with marks.open("a") as file:
            file.write("x")
        if what == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        while what == "loops":
            pass
        room = []
        while what == "eats":
            room.append(bytearray(1 << 24))

    def forget(self, session_id):
        return

    def new_speaker(self):
        return Speaker()


def make(settings, *, offline):
    return Troubled()
'''


def pids() -> list[int]:
    """List the worker processes that are there."""
    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


@pytest.fixture
def troubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a model that makes trouble; its folder says which."""
    points = {"emotion_models/troubled": "troubled:make"}
    folder = write_package(tmp_path / "site", "troubled", points, TROUBLED)
    monkeypatch.syspath_prepend(str(folder))
    return folder


async def disturbed(
    flags: dict[str, Any], number: int | None, streams: int = 1
) -> list[list[Told]]:
    """Send the conversation by several clients; halfway every worker gets a signal."""

    async def send(halfway: asyncio.Barrier) -> list[Told]:
        async with dial(server) as wire:
            await wire.sound(SOUND[:HALF])
            told = await wire.until(EMOTION)
            await halfway.wait()
            await wire.sound(SOUND[HALF:])
            told += await wire.finish()
            check_stream(told)
            return told

    async with serving(flags) as server:
        halfway = asyncio.Barrier(streams + 1)
        sending = [asyncio.create_task(send(halfway)) for _ in range(streams)]
        await halfway.wait()
        for pid in pids():
            if number is not None:
                os.kill(pid, number)
        return list(await asyncio.gather(*sending))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_streams_go_on_where_workers_die_or_stop(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every final they would have had, once, and equal to the last digit."""
    monkeypatch.setattr("streamser.hosting.pool.SILENT_S", 2.0)
    (calm,) = asyncio.run(patience(disturbed(TWO, None)))
    assert len(finals_of(calm)) == 4
    for told in asyncio.run(patience(disturbed(TWO, number, streams=3))):
        assert finals_of(told) == finals_of(calm)
    assert pids() == []


def test_a_worker_that_dies_takes_nobody_else_along() -> None:
    """Sessions of the other one do not even notice; those of the dead one move there."""

    async def scene() -> tuple[list[Told], list[Told], int]:
        async with serving(TWO) as server, dial(server) as first, dial(server) as second:
            for wire in (first, second):
                await wire.sound(SOUND[:HALF])
            told = [await wire.until(EMOTION) for wire in (first, second)]
            os.kill(pids()[0], signal.SIGKILL)
            for wire in (first, second):
                await wire.sound(SOUND[HALF:])
            told[0] += await first.finish()
            told[1] += await second.finish()
            metrics = server.metrics.render().decode()
            return told[0], told[1], metrics.count("streamser_worker_memory_bytes{")

    one, other, told_memory = asyncio.run(patience(scene()))
    check_stream(one)
    check_stream(other)
    assert finals_of(one) == finals_of(other)
    assert len(finals_of(one)) == 4
    assert told_memory


@pytest.mark.parametrize("what", ["dies", "loops"])
def test_an_utterance_that_models_are_lost_over_once_is_read_all_the_same(
    what: str, troubled: Path
) -> None:
    """It may not have been to blame; it is tried again, alone."""
    (troubled / "trouble").write_text(f"{what} 2 1")
    # A session is given up where no other worker is there for as long, too.
    flags = {**ONE, "emotion.model": "troubled", "worker.deadline_s": 8.0}
    finals = asyncio.run(patience(played(flags)))
    if what == "loops":
        # One that hangs alone would hang again, and for as long.
        assert [final["type"] == FAILED for final in finals] == [False, True, False, False]
    else:
        assert [final["emotion"]["evidence"]["learnt"] for final in finals] == [0, 1, 2, 3]


def test_an_utterance_that_models_are_lost_over_again_fails_and_others_do_not(
    troubled: Path,
) -> None:
    """Or it would take one worker after the other along."""
    (troubled / "trouble").write_text("dies 2 9")
    finals = asyncio.run(patience(played({**ONE, "emotion.model": "troubled"})))
    assert [final["type"] == FAILED for final in finals] == [False, True, False, False]
    assert finals[1]["error"]["code"] == "worker_died"
    assert len((troubled / "marks").read_text()) == 2


async def played(flags: dict[str, Any]) -> list[Told]:
    """Play the conversation and return its finals."""
    async with serving(flags) as server:
        return finals_of(await whole(server, SOUND))


def test_a_stream_that_costs_worker_after_worker_is_given_up(troubled: Path) -> None:
    """What learns of its speaker may crash as well; others would go down with it for ever."""
    (troubled / "trouble").write_text("adapts 2 9")

    async def scene() -> tuple[list[Told], int | None, list[Told], int]:
        flags = {**ONE, "emotion.model": "troubled", "server.shutdown_s": 0.5}
        async with serving(flags) as server:
            async with dial(server) as wire:
                await wire.sound(SOUND)
                told = await wire.rest()
            (troubled / "trouble").unlink()
            while not server._host.is_ready:
                await asyncio.sleep(0.01)
            after = finals_of(await whole(server, SOUND))
            return told, wire.code, after, server._host.stats.died

    told, code, after, died = asyncio.run(patience(scene()))
    assert died == 3
    assert code == 1011
    committed = [each["item_id"] for each in of_kind(told, COMMITTED)]
    assert [each["item_id"] for each in finals_of_items(told)] == committed
    assert [each["error"]["code"] for each in of_kind(told, "error")] == ["internal_error"]
    assert len(after) == 4


def finals_of_items(told: Sequence[Told]) -> list[Told]:
    """Pick the one final that each item gets."""
    return of_kind(told, EMOTION, FAILED)


def test_a_server_without_a_worker_ends_all_the_same(troubled: Path) -> None:
    """Models cannot be had any more, and a stream waits for a home: its finals fail."""

    async def scene() -> tuple[list[Told], float]:
        flags = {**ONE, "emotion.model": "troubled", "server.shutdown_s": 0.5}
        async with serving(flags) as server, dial(server) as wire:
            await wire.sound(SOUND[:HALF])
            told = await wire.until(EMOTION)
            (troubled / "troubled.py").write_text("raise RuntimeError('it is broken now')")
            os.kill(pids()[0], signal.SIGKILL)
            while server._host.is_ready:
                await asyncio.sleep(0.01)
            began = asyncio.get_running_loop().time()
            await server.stop()
            took = asyncio.get_running_loop().time() - began
            return told + await wire.rest(), took

    told, took = asyncio.run(patience(scene()))
    committed = [each["item_id"] for each in of_kind(told, COMMITTED)]
    assert [each["item_id"] for each in finals_of_items(told)] == committed
    assert took < 30.0


def test_what_was_refused_is_not_refused_again_where_a_stream_goes_on() -> None:
    """The client has been told."""

    async def scene() -> list[Told]:
        async with serving(ONE) as server, dial(server) as wire:
            await wire.sound(bytes(16_000))
            await wire.send("input_audio_buffer.commit", event_id="c1")
            told = await wire.until("error")
            for _ in range(2):
                os.kill(pids()[0], signal.SIGKILL)
                while server._host.is_ready:
                    await asyncio.sleep(0.01)
                await wire.sound(SOUND[:HALF])
                told += await wire.until(EMOTION)
            return told + await wire.finish()

    told = asyncio.run(patience(scene()))
    check_stream(told)
    assert len(of_kind(told, "error")) == 1


def test_memory_that_runs_out_costs_no_final(troubled: Path) -> None:
    """The kernel ends who takes too much; here a limit does, of the worker's own."""
    import resource

    (troubled / "trouble").write_text("eats 2 1")
    code = TROUBLED.replace(
        "FOLDER = Path(__file__).parent",
        "FOLDER = Path(__file__).parent\n"
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))",
    )
    (troubled / "troubled.py").write_text(code)
    before = resource.getrlimit(resource.RLIMIT_AS)
    finals = asyncio.run(patience(played({**ONE, "emotion.model": "troubled"})))
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(finals) == 4
    assert sum(final["type"] == FAILED for final in finals) <= 1


def test_signals_that_end_a_program_well_do_not_end_its_workers() -> None:
    """Ctrl-C goes to all processes of a terminal, and there are finals to tell yet."""

    async def scene(number: int | None) -> list[Told]:
        return (await disturbed(ONE, number))[0]

    calm = asyncio.run(patience(scene(None)))
    for number in (signal.SIGINT, signal.SIGTERM):
        assert finals_of(asyncio.run(patience(scene(number)))) == finals_of(calm)


def test_sessions_are_shared_out_among_workers() -> None:
    """Those that come before the second is there, and those that a lost one leaves."""

    async def scene() -> None:
        async with serving(TWO) as server, AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(dial(server))
            before = await shared(server, set(), 4)
            os.kill(min(before), signal.SIGKILL)
            await shared(server, before, 4)
            for _ in range(2):
                await stack.enter_async_context(dial(server))
            # How busy each is counts, too: three each, or two and four.
            await shared(server, before, 6)

    async def shared(server: EmotionServer, before: set[int], sessions: int) -> set[int]:
        """Wait until two workers, others than before, say that each has two sessions or more.

        What each says of itself is up to a second old: right after a loss it is not the half yet.
        """
        while True:
            loads = server._host.workers()
            there = {load.pid for load in loads}
            shares = [load.sessions for load in loads]
            if len(there) == 2 and there != before and sum(shares) == sessions and min(shares) >= 2:
                return there
            await asyncio.sleep(0.05)

    asyncio.run(patience(scene()))


@pytest.mark.parametrize(
    ("flags", "kind", "words"),
    [
        ({"emotion.model": "nonesuch"}, ConfigError, "nonesuch"),
        ({"speakers.embedder": "os:getpid"}, ConfigError, "os:getpid"),
        ({"speakers.embedder": "os:abort"}, ModelError, "signal 6, before they were loaded"),
        ({"worker.load_s": 0.001}, ModelError, "did not load within"),
    ],
)
def test_models_that_cannot_be_had_are_an_error_in_one_line(
    flags: dict[str, Any], kind: type[Exception], words: str
) -> None:
    """As where they are loaded in the server's own process."""

    async def scene() -> None:
        async with serving({**TWO, **flags}):
            raise AssertionError("it serves")

    with pytest.raises(kind, match=words) as told:
        asyncio.run(patience(scene()))
    assert "\n" not in str(told.value)
    assert pids() == []


def test_workers_end_with_a_program_that_is_killed() -> None:
    """Nothing is left behind that holds memory, and a GPU."""
    with serving_program("serve", *QUIET, "--set", "worker.processes=2") as (server, _):
        children = child_pids(server.pid)
        assert len(children) >= 2
        server.kill()
        server.wait()
    for pid in children:
        wait_until_gone(pid)


def child_pids(pid: int) -> Sequence[int]:
    """List the children of a process."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]
