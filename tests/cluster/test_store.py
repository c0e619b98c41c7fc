"""What is in Redis, also where something else is in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from streamser.cluster.outbox import Post
from streamser.cluster.reach import StoreAway
from streamser.cluster.records import MeetingPast, NodeState, ToldEvent
from streamser.cluster.store import ClusterStore
from streamser.errors import ConfigError
from streamser.pipeline.session_config import SessionSnapshot
from streamser.settings import ClusterSettings
from tests.certificates import self_signed
from tools.cluster.rig import Child, free_port

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(60)]

Scene = Callable[[ClusterStore], Awaitable[None]]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Run a Redis."""
    port = str(free_port())
    redis = Child(["redis-server", "--port", port, "--save", ""], tmp_path / "redis.log")
    redis.start()
    yield f"redis://127.0.0.1:{port}/0"
    asyncio.run(redis.kill())


def told(cursor: int, meeting: str = "m") -> Post:
    """Make an event that stays."""
    event = ToldEvent(cursor=cursor, meeting=meeting, at_ms=5, line=b"{}", stays=True)
    return Post(event=event)


def with_store(url: str, scene: Scene, name: str = "a") -> None:
    """Run a scene with the store of a server, once Redis answers."""

    async def run() -> None:
        store = ClusterStore(ClusterSettings(redis=url), name)
        try:
            async with asyncio.timeout(20):
                while not await _answers(store):
                    await asyncio.sleep(0.02)
                await scene(store)
        finally:
            await store.close()

    asyncio.run(run())


async def _answers(store: ClusterStore) -> bool:
    try:
        return bool(await store._redis.ping())
    except OSError:
        return False
    except Exception as error:
        if type(error).__name__ in ("ConnectionError", "BusyLoadingError"):
            return False
        raise


def test_redis_speaks_tls_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    """Its file stands in the address; one that cannot be read is told before anything begins."""
    cert, key = self_signed(tmp_path)
    port = str(free_port())
    tls = ("--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
    command = ["redis-server", "--port", "0", "--tls-port", port, "--save", "", *tls]
    redis = Child(command, tmp_path / "redis.log")
    redis.start()

    async def scene(store: ClusterStore) -> None:
        await store.beat(NodeState(name="a", address="ws://a"))
        assert [node.name for node in await store.nodes()] == ["a"]

    try:
        with_store(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={cert}", scene)
    finally:
        asyncio.run(redis.kill())
    lacking = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}/none.pem"
    with pytest.raises(ConfigError, match=r"cluster\.redis, ssl_ca_certs .*: No such file"):
        ClusterStore(ClusterSettings(redis=lacking), "a")


def test_what_cannot_be_read_harms_nothing_else(url: str) -> None:
    """Voices, events and servers of a newer version, or of somebody else."""

    async def scene(store: ClusterStore) -> None:
        await store.write([told(5)])
        await store._redis.xadd("streamser:events:m", {"other": "thing"}, id="6-0")
        await store._redis.hset("streamser:voices:m", "Ann", b"\xc1")
        await store._redis.set("streamser:stream:s", b"\xc1")
        await store.beat(NodeState(name="a", address="ws://a"))
        await store._redis.set("streamser:node:b", b"{")
        await store._redis.sadd("streamser:nodes", "b")
        past = await store.past("m")
        assert [each.cursor for each in past.told] == [5]
        assert past.voices == {}
        assert await store.stream_state("s") is None
        assert [node.name for node in await store.nodes()] == ["a"]

    with_store(url, scene)


def test_a_key_of_another_kind_harms_its_meeting_alone(url: str) -> None:
    """Redis is not taken for away, and what is told of others is written."""

    async def scene(store: ClusterStore) -> None:
        await store._redis.set("streamser:events:m", "no stream")
        await store.write([told(5), told(6, "n")])
        assert (await store.past("m")).told == ()
        assert [each.cursor for each in (await store.past("n")).told] == [6]
        assert await store.newest(["m", "n"]) == {"m": 0, "n": 6}

    with_store(url, scene)


def test_a_server_is_told_which_of_its_meetings_another_has(url: str) -> None:
    """One that lives; of one that is gone they are taken."""

    async def scene(store: ClusterStore) -> None:
        other = ClusterStore(ClusterSettings(redis=url), "b")
        await other.claim("m")
        await other.claim("odd: * name")
        await store.claim("n")
        assert await store.hold(["m", "n", "odd: * name"]) == []
        assert await store._redis.hget("streamser:homes", "odd: * name") == b"a"
        await store.beat(NodeState(name="a", address="ws://a"))
        assert await other.hold(["m", "x"]) == ["m"]
        await other.beat(NodeState(name="b", address="ws://b"))
        assert await store.hold(["x", "m"]) == ["x"]
        await other.close()

    with_store(url, scene)


def test_a_server_that_is_asked_to_leave_knows_for_how_long(url: str) -> None:
    """What is no number is passed over."""

    async def scene(store: ClusterStore) -> None:
        state = NodeState(name="a", address="ws://a")
        assert (await store.beat(state)).leave_s is None
        await store.ask_to_leave("a", 3.5)
        assert (await store.beat(state)).leave_s == 3.5
        await store._redis.set("streamser:drain:a", "soon")
        assert (await store.beat(state)).leave_s is None

    with_store(url, scene)


def test_a_meeting_can_be_forgotten_at_once(url: str) -> None:
    """With what was learnt of its speakers; others stay."""

    async def scene(store: ClusterStore) -> None:
        voice = SessionSnapshot("compact", b"state")
        await store.write([msgspec.structs.replace(told(5), speaker="Ann", voice=voice)])
        await store.write([told(6, "n")])
        assert (await store.past("m")).voices == {"Ann": voice}
        assert await store.forget("m")
        assert await store.past("m") == MeetingPast()
        assert len((await store.past("n")).told) == 1
        assert not await store.forget("m")

    with_store(url, scene)


def test_the_end_of_a_session_is_told_once_of_whoever_says_it(url: str) -> None:
    """Not while its server lives, and that one has the meeting no more when it comes back."""

    async def scene(store: ClusterStore) -> None:
        other = ClusterStore(ClusterSettings(redis=url), "b")
        state = NodeState(name="b", address="ws://b")
        await other.beat(state)
        await other.claim("m")
        await other.write([msgspec.structs.replace(told(5), session="s")])
        ending = msgspec.structs.replace(told(9), session="s", ends=True)
        assert await store.orphans(["m"]) == []
        assert not await store.end_session(ending)
        await store._redis.delete("streamser:node:b")
        # One that nobody knows knows of nobody.
        assert await store.orphans(["m", "n"]) == []
        await store.beat(NodeState(name="a", address="ws://a"))
        assert await store.orphans(["m", "n"]) == ["m", "n"]
        async with store.feed() as feed:
            await feed.follow("m")
            assert await feed.next(5.0) == "m"
            assert await store.end_session(ending)
            assert await feed.next(5.0) == ending.event
        late = msgspec.structs.replace(told(12), session="s", ends=True)
        assert not await store.end_session(late)
        past = await store.past("m")
        assert ([each.cursor for each in past.told], past.sessions) == ([5, 9], ())
        await other.beat(state)
        assert await other.hold(["m"]) == ["m"]
        # Taken anew it is like any.
        assert await other.claim("m") is None
        assert await other.hold(["m"]) == []
        await other.close()

    with_store(url, scene)


def test_what_redis_has_lost_is_restored_unless_somebody_writes_meanwhile(url: str) -> None:
    """All of it, in order; the rest of what is kept of the meeting stays."""

    async def scene(store: ClusterStore) -> None:
        await store.write([told(9)])
        assert not await store.restore("m", [told(5), told(6)], seen=8)
        assert await store.restore("m", [told(5), told(6), told(6), told(9)], seen=9)
        assert [each.cursor for each in (await store.past("m")).told] == [5, 6, 7, 9]

    with_store(url, scene)


def test_meetings_of_servers_that_are_gone_are_forgotten_with_them(url: str) -> None:
    """Else what nobody has taken over would be listed for ever."""

    async def scene(store: ClusterStore) -> None:
        other = ClusterStore(ClusterSettings(redis=url), "b")
        await other.beat(NodeState(name="b", address="ws://b"))
        await other.claim("m")
        await store.claim("n")
        await store._redis.delete("streamser:node:b")
        assert await store.nodes() == []
        assert await store._redis.hgetall("streamser:homes") == {b"n": b"a"}
        assert (await other.beat(NodeState(name="b", address="ws://b"))).unknown
        await other.close()
        await store.leave()
        assert await store._redis.hgetall("streamser:homes") == {}

    with_store(url, scene)


def test_the_log_says_why_and_not_of_whom(url: str) -> None:
    """What was to be written is in no log."""

    async def scene(store: ClusterStore) -> None:
        await store._redis.config_set("maxmemory", "1")
        with pytest.raises(StoreAway, match="maxmemory") as caught:
            await store.beat(NodeState(name="a", address="ws://secret"))
        assert "secret" not in str(caught.value)
        assert "streamser:" not in str(caught.value)

    with_store(url, scene)
