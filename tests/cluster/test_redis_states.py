"""A Redis that answers, but not as it should: why is said, and it heals once it is put right."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from streamser.cluster.member import ClusterMember
from streamser.cluster.reach import NO_ANSWER, StoreAway, reaching
from streamser.cluster.store import ClusterStore
from streamser.settings import ClusterSettings
from tests.cluster.pretended import PretendedNode
from tools.cluster.rig import Child, free_port

PASSWORD = "a-password-of-ours"

ROOT = "root on >root ~* &* +@all"
Step = Callable[["Scene"], Awaitable[None]]


class Scene:
    """Hold a Redis, somebody who may do anything to it, and a server that works with it."""

    def __init__(self, folder: Path, redis: Child, url: str) -> None:
        from redis.asyncio import Redis

        self.folder, self.redis = folder, redis
        self.root: Any = Redis.from_url(url.replace("//", "//root:root@"), retry=None)
        self.node = PretendedNode("a", iter(range(1, 10_000)))
        self.store = ClusterStore(ClusterSettings(redis=url), "a")
        self.member = ClusterMember(ClusterSettings(redis=url), "a", self.node, self.store)
        self.busy: asyncio.Task[Any] | None = None

    async def do(self, *words: str) -> None:
        """Do something to the Redis."""
        await self.root.execute_command(*words)


async def _wants_a_password(scene: Scene) -> None:
    await scene.do("ACL", "SETUSER", "default", "resetpass", f">{PASSWORD}")
    await scene.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def _wants_none(scene: Scene) -> None:
    await scene.do("ACL", "SETUSER", "default", "nopass")


async def _is_full(scene: Scene) -> None:
    await scene.do("CONFIG", "SET", "maxmemory", "1")


async def _has_room(scene: Scene) -> None:
    await scene.do("CONFIG", "SET", "maxmemory", "0")


async def _is_a_replica(scene: Scene) -> None:
    await scene.do("REPLICAOF", "127.0.0.1", "1")


async def _is_a_primary(scene: Scene) -> None:
    await scene.do("REPLICAOF", "NO", "ONE")


async def _may_not_write(scene: Scene) -> None:
    await scene.do("ACL", "SETUSER", "default", "-xadd")


async def _may_not_claim(scene: Scene) -> None:
    await scene.do("ACL", "SETUSER", "default", "-eval", "-evalsha")


async def _may_not_listen(scene: Scene) -> None:
    await scene.do("ACL", "SETUSER", "default", "-subscribe")
    # As its feed finds, which is another connection.
    scene.member._reach.lose(StoreAway("its user may not do this: docs/cluster.md has an ACL"))


async def _may_all(scene: Scene) -> None:
    await scene.do("ACL", "SETUSER", "default", "+@all")


async def _cannot_save(scene: Scene) -> None:
    shutil.rmtree(scene.folder / "data")
    await scene.do("CONFIG", "SET", "save", "3600 1")
    await scene.do("BGSAVE")
    while (await scene.root.info("persistence"))["rdb_last_bgsave_status"] == "ok":
        await asyncio.sleep(0.01)


async def _can_save(scene: Scene) -> None:
    await scene.do("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")


async def _is_busy(scene: Scene) -> None:
    await scene.do("CONFIG", "SET", "busy-reply-threshold", "1")
    forever = scene.root.eval("while true do end", 0)
    scene.busy = asyncio.create_task(forever)
    while True:
        try:
            await scene.store.nodes()
        except StoreAway:
            return


async def _is_done(scene: Scene) -> None:
    await scene.do("SCRIPT", "KILL")
    assert scene.busy is not None
    await asyncio.gather(scene.busy, return_exceptions=True)


async def _stands_still(scene: Scene) -> None:
    scene.redis.signal(signal.SIGSTOP)


async def _goes_on(scene: Scene) -> None:
    scene.redis.signal(signal.SIGCONT)


STATES: dict[str, tuple[Step, Step, str]] = {
    "NOAUTH": (_wants_a_password, _wants_none, "wants a password"),
    "OOM": (_is_full, _has_room, "maxmemory"),
    "READONLY": (_is_a_replica, _is_a_primary, "replica"),
    "NOPERM": (_may_not_write, _may_all, "ACL"),
    "NOPERM for scripts": (_may_not_claim, _may_all, "ACL"),
    "NOPERM for listening": (_may_not_listen, _may_all, "ACL"),
    "MISCONF": (_cannot_save, _can_save, "disk"),
    "BUSY": (_is_busy, _is_done, "script"),
    "too slow": (_stands_still, _goes_on, "does not answer in time"),
}


@pytest.mark.cluster
@pytest.mark.timeout(60)
@pytest.mark.parametrize("state", STATES)
def test_a_redis_that_takes_nothing_is_away_until_it_is_put_right(
    state: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who speaks is heard meanwhile; what was told is written then, and it is logged once."""
    break_it, mend_it, why = STATES[state]
    caplog.set_level(logging.INFO)
    port = str(free_port())
    (tmp_path / "data").mkdir()
    redis = Child(
        [
            *("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", ""),
            *("--dir", str(tmp_path / "data"), "--user", *ROOT.split()),
        ],
        tmp_path / "redis.log",
    )
    redis.start()

    async def run() -> None:
        scene = Scene(tmp_path, redis, f"redis://127.0.0.1:{port}/0")
        member = scene.member
        try:
            while member.away is not None:
                await member._beat()
            caplog.clear()
            await member.place("m")
            await break_it(scene)
            member.post(scene.node.tell("m"))
            for _ in range(3):
                await member._beat()
                if member.away is None:
                    await _write(member)
            assert member.away is not None
            assert why in member.away
            assert await member.place("n") is None
            assert member.has("n")
            await mend_it(scene)
            while member.away is not None:
                await member._beat()
            assert [t.cursor for t in (await scene.store.past("m")).told] == [1]
        finally:
            await scene.store.close()
            await scene.root.aclose()
            redis.signal(signal.SIGCONT)
            await redis.kill()

    asyncio.run(asyncio.wait_for(run(), 40))
    said = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert len(said) == 1
    assert why in said[0]
    assert PASSWORD not in caplog.text


async def _write(member: ClusterMember) -> None:
    try:
        await member._write()
    except StoreAway as error:
        member._reach.lose(error)


def _errors() -> dict[str, Exception]:
    from redis import exceptions

    return {
        "loads its data": exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        "does not take this user": exceptions.AuthenticationError(
            "invalid username-password pair or user is disabled."
        ),
        "by the name of its host": exceptions.ConnectionError(
            "Error -2 connecting to nowhere.invalid:6379. Name or service not known."
        ),
        "nobody answers": exceptions.ConnectionError("Error 111 connecting to 10.0.0.5:6379."),
        "maxclients": exceptions.ConnectionError("max number of clients reached"),
        "primary": exceptions.ResponseError("MASTERDOWN Link with MASTER is down"),
    }


@pytest.mark.parametrize("why", _errors())
def test_why_it_is_away_is_said_in_words_that_name_no_address(why: str) -> None:
    """Also what no Redis of a test can easily be brought to say."""
    with pytest.raises(StoreAway) as caught, reaching():
        raise _errors()[why]
    assert why in caught.value.why
    assert "6379" not in caught.value.why
    assert cast(BaseException, caught.value.__cause__) is not None


def test_a_name_that_nobody_knows_is_said_to_be_one() -> None:
    """By the resolver of this machine."""

    async def run() -> str:
        store = ClusterStore(ClusterSettings(redis="redis://nowhere.invalid:6379/0"), "a")
        try:
            with pytest.raises(StoreAway) as caught:
                await store.nodes()
        finally:
            await store.close()
        return caught.value.why

    assert asyncio.run(run()) in (
        "nothing is known by the name of its host: see cluster.redis",
        NO_ANSWER,
    )


@pytest.mark.cluster
@pytest.mark.timeout(60)
def test_connections_that_were_closed_while_nobody_used_them_are_no_outage(tmp_path: Path) -> None:
    """Of an idle time that Redis has, or of what is between: another connection is made."""
    port = str(free_port())
    redis = Child(["redis-server", "--port", port, "--save", ""], tmp_path / "redis.log")
    redis.start()

    async def run() -> None:
        scene = Scene(tmp_path, redis, f"redis://127.0.0.1:{port}/0")
        member = scene.member
        try:
            while member.away is not None:
                await member._beat()
            await asyncio.gather(*(scene.store.claim(f"m{n}") for n in range(5)))
            other = ClusterStore(ClusterSettings(redis=f"redis://127.0.0.1:{port}/0"), "b")
            await other._redis.execute_command("CLIENT", "KILL", "TYPE", "normal")
            await asyncio.gather(*(scene.store.claim(f"m{n}") for n in range(5)))
            await other.close()
        finally:
            await scene.store.close()
            await scene.root.aclose()
            await redis.kill()

    asyncio.run(asyncio.wait_for(run(), 40))
