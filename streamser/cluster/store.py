"""What is in Redis, under which keys, and how it is asked for: the edge where Redis is.

A call takes a round trip, or two. All raise ``StoreAway`` where Redis cannot be reached, or does
not do as it is told.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from streamser.certificates import trusted
from streamser.cluster.outbox import Post
from streamser.cluster.reach import StoreAway, reaching, reason_of
from streamser.cluster.records import MeetingPast, NodeState, StreamState, ToldEvent
from streamser.errors import ConfigError
from streamser.pipeline.session_config import SessionSnapshot
from streamser.settings import ClusterSettings

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

__all__ = ["ClusterStore", "Feed", "Pulse"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
_NODE: Final = msgspec.json.Decoder(NodeState).decode
_VOICE: Final = msgspec.msgpack.Decoder(SessionSnapshot).decode
_STREAM: Final = msgspec.msgpack.Decoder(StreamState).decode
_TOLD: Final = msgspec.msgpack.Decoder(ToldEvent).decode
_ANSWER_S: Final = 1.0
"""Redis answers in a millisecond; one that does not in a second is as good as away."""
_NO_LATER: Final = "equal or smaller"
_NOT_OURS: Final = "WRONGTYPE"
# A meeting stays with the server that has it for as long as that one lives.
_CLAIM: Final = """
local home = redis.call('HGET', KEYS[1], ARGV[1])
if home and home ~= ARGV[2] and redis.call('EXISTS', ARGV[3] .. home) == 1 then return home end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('DEL', KEYS[2])
return ARGV[2]
"""
# Also one whose sessions were closed while its server counted as gone is its no more.
_HOLD: Final = """
local lost = {}
for at = 4, #ARGV do
  local home = redis.call('HGET', KEYS[1], ARGV[at])
  if (home and home ~= ARGV[1] and redis.call('EXISTS', ARGV[2] .. home) == 1)
    or redis.call('EXISTS', ARGV[3] .. ARGV[at]) == 1 then
    lost[#lost + 1] = ARGV[at]
  elseif home ~= ARGV[1] then
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[1])
  end
end
return lost
"""
# Where all is lost nobody is known to live, this server as little as others.
_ORPHANS: Final = """
local found = {}
if redis.call('EXISTS', ARGV[1] .. ARGV[2]) == 0 then return found end
for at = 3, #ARGV do
  local home = redis.call('HGET', KEYS[1], ARGV[at])
  if not home or redis.call('EXISTS', ARGV[1] .. home) == 0 then found[#found + 1] = ARGV[at] end
end
return found
"""
# Of several servers that say so, and of one that takes the meeting over, the first is told.
_END: Final = """
local home = redis.call('HGET', KEYS[1], ARGV[1])
if home and redis.call('EXISTS', ARGV[2] .. home) == 1 then return 0 end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if last and tonumber(string.match(last[1], '%d+')) >= tonumber(ARGV[4]) then return 0 end
if redis.call('HSETNX', KEYS[4], ARGV[3], 1) == 0 then return 0 end
redis.call('EXPIRE', KEYS[4], ARGV[8])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[3])
redis.call('XADD', KEYS[2], ARGV[4] .. '-0', 'e', ARGV[5], 'm', ARGV[6])
redis.call('EXPIRE', KEYS[2], ARGV[8])
redis.call('PUBLISH', KEYS[5], ARGV[7])
return 1
"""
_PRUNE: Final = """
local gone = {}
for at = 1, #ARGV do gone[ARGV[at]] = true end
local homes = redis.call('HGETALL', KEYS[1])
for at = 1, #homes, 2 do
  if gone[homes[at + 1]] then redis.call('HDEL', KEYS[1], homes[at]) end
end
return redis.call('SREM', KEYS[2], unpack(ARGV))
"""
_RELEASE: Final = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
"""


class Pulse(msgspec.Struct, frozen=True):
    """Hold what Redis says to a sign of life: within how many seconds to leave, if at all.

    ``unknown``: it did not know this server any more. It has lost everything, or this one stood
    still for long.
    """

    leave_s: float | None = None
    unknown: bool = False


class ClusterStore:
    """Read and write what a cluster shares; ``node`` is the name of this server.

    Raises ``ConfigError`` for an address that is none, or where the package is missing.
    """

    def __init__(self, settings: ClusterSettings, node: str) -> None:
        assert settings.redis is not None, "without Redis there is no cluster"
        self._settings = settings
        self._prefix = settings.prefix
        self._node = node
        # What it says of its answers holds for any way to decode them.
        self._redis: Any = _client(settings.redis)
        self._claim = self._redis.register_script(_CLAIM)
        self._hold = self._redis.register_script(_HOLD)
        self._release = self._redis.register_script(_RELEASE)
        self._orphans = self._redis.register_script(_ORPHANS)
        self._end = self._redis.register_script(_END)
        self._prune = self._redis.register_script(_PRUNE)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._redis.aclose()

    # Servers

    async def beat(self, state: NodeState) -> Pulse:
        """Say that this server lives; return what is asked of it, and whether it was unknown."""
        ttl_ms = round(self._settings.ttl_s * 1000)
        with reaching():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(self._key("node", self._node), msgspec.json.encode(state), px=ttl_ms)
                pipe.sadd(self._key("nodes"), self._node)
                pipe.get(self._key("drain", self._node))
                _, added, asked = await pipe.execute()
        try:
            leave_s = None if asked is None else float(asked)
        except ValueError:
            leave_s = None
        return Pulse(leave_s=leave_s, unknown=bool(added))

    async def leave(self) -> None:
        """Say that this server is gone, and its meetings are nobody's."""
        keys = [self._key("homes"), self._key("nodes")]
        with reaching():
            await self._redis.delete(self._key("node", self._node), self._key("drain", self._node))
            await self._prune(keys=keys, args=[self._node])

    async def nodes(self) -> list[NodeState]:
        """Return all servers that live, by their names; forget those that do not."""
        with reaching():
            names = sorted(name.decode() for name in await self._redis.smembers(self._key("nodes")))
            if not names:
                return []
            states = await self._redis.mget([self._key("node", name) for name in names])
            gone = [name for name, state in zip(names, states, strict=True) if state is None]
            if gone:
                await self._prune(keys=[self._key("homes"), self._key("nodes")], args=gone)
        read = (_readable(_NODE, state) for state in states if state)
        return [state for state in read if state is not None]

    async def ask_to_leave(self, node: str, within_s: float) -> None:
        """Let a server end its streams within some seconds, and itself."""
        with reaching():
            await self._redis.set(self._key("drain", node), f"{within_s:g}", ex=3600)

    # Meetings

    async def claim(self, meeting: str) -> NodeState | None:
        """Take a meeting, unless a server that lives has it: then return that one."""
        keys, own = [self._key("homes"), self._key("closed", meeting)], self._node
        with reaching():
            home = await self._claim(keys=keys, args=[meeting, own, self._key("node", "")])
            if home.decode() == own:
                return None
            state = await self._redis.get(self._key("node", home.decode()))
        return None if state is None else _readable(_NODE, state)

    async def hold(self, meetings: Sequence[str]) -> list[str]:
        """Keep meetings that are here, or take them anew; return those that a server has taken."""
        args = [self._node, self._key("node", ""), self._key("closed", ""), *meetings]
        with reaching():
            lost = await self._hold(keys=[self._key("homes")], args=args)
        return [meeting.decode() for meeting in lost]

    async def release(self, meeting: str) -> None:
        """Give a meeting back that is over."""
        with reaching():
            await self._release(keys=[self._key("homes")], args=[meeting, self._node])

    async def orphans(self, meetings: Sequence[str]) -> list[str]:
        """Return those of some meetings that no server has which lives."""
        args = [self._key("node", ""), self._node, *meetings]
        with reaching():
            found = await self._orphans(keys=[self._key("homes")], args=args)
        return [meeting.decode() for meeting in found]

    async def end_session(self, post: Post) -> bool:
        """Tell all that a session is over whose server is gone; return whether this was the first.

        From then on that server, should it come back, has the meeting no more.
        """
        event = post.event
        meeting, packed = event.meeting, msgspec.msgpack.encode(event)
        keys = [self._key("homes")]
        keys += [self._key(what, meeting) for what in ("events", "sessions", "closed", "live")]
        with reaching():
            told = await self._end(
                keys=keys,
                args=[
                    *(meeting, self._key("node", ""), post.session or ""),
                    *(event.cursor, event.line, event.at_ms, packed, self._settings.keep_s),
                ],
            )
        return bool(told)

    async def restore(self, meeting: str, posts: Sequence[Post], seen: int) -> bool:
        """Write anew all that is to be kept of a meeting of which Redis has lost some.

        Returns whether that was done: not where by now there is more than up to cursor ``seen``.
        """
        from redis.exceptions import WatchError

        key = self._key("events", meeting)
        with reaching():
            async with self._redis.pipeline(transaction=True) as pipe:
                await pipe.watch(key)
                if _newest(await pipe.xrevrange(key, count=1)) != seen:
                    return False
                pipe.multi()
                pipe.delete(key)
                cursor = 0
                for post in posts:
                    cursor = max(cursor + 1, post.event.cursor)
                    event = msgspec.structs.replace(post.event, cursor=cursor)
                    self._keep(pipe, msgspec.structs.replace(post, event=event))
                try:
                    await pipe.execute()
                except WatchError:
                    return False
        return True

    async def forget(self, meeting: str) -> bool:
        """Delete what is kept of a meeting; return whether there was anything."""
        keys = [self._key(what, meeting) for what in ("events", "sessions", "voices", "closed")]
        with reaching():
            return bool(await self._redis.delete(*keys))

    async def past(self, meeting: str, after: int = 0) -> MeetingPast:
        """Return what is kept of a meeting, from past a cursor on, with its speakers' voices.

        What cannot be read is left out: it is of a newer server, or of somebody else.
        """
        key = self._key("events", meeting)
        with reaching():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.xrange(key, min=f"({after}" if after else "-")
                pipe.hgetall(self._key("voices", meeting))
                pipe.xinfo_stream(key)
                pipe.hvals(self._key("sessions", meeting))
                entries, voices, about, sessions = await pipe.execute(raise_on_error=False)
        told = (_read(meeting, number, fields) for number, fields in _usable(entries) or ())
        learnt = (
            (name.decode("utf-8", "replace"), _readable(_VOICE, voice))
            for name, voice in (_usable(voices) or {}).items()
        )
        return MeetingPast(
            sessions=tuple(_usable(sessions) or ()),
            told=tuple(each for each in told if each is not None),
            voices={name: voice for name, voice in learnt if voice is not None},
            lost_up_to=_lost_up_to(about),
        )

    async def newest(self, meetings: Sequence[str]) -> dict[str, int]:
        """Return the last cursor that is kept of each meeting; 0 where there is none."""
        with reaching():
            async with self._redis.pipeline(transaction=False) as pipe:
                for meeting in meetings:
                    pipe.xrevrange(self._key("events", meeting), count=1)
                newest = await pipe.execute(raise_on_error=False)
        return dict(zip(meetings, map(_newest, map(_usable, newest)), strict=True))

    async def stream_state(self, stream: str) -> StreamState | None:
        """Return what is known of a stream by its name."""
        with reaching():
            state = await self._redis.get(self._key("stream", stream))
        return None if state is None else _readable(_STREAM, state)

    async def write(self, posts: Sequence[Post]) -> None:
        """Write posts, and tell all servers that follow their meetings; once, also if repeated.

        An event whose cursor is too small, as another server's clock is ahead, gets the next one.
        """
        with reaching():
            # The two finals of an utterance come together, or neither does.
            async with self._redis.pipeline(transaction=True) as pipe:
                for post in posts:
                    self._put(pipe, post)
                answers = iter(await pipe.execute(raise_on_error=False))
            for post in posts:
                added = next(answers) if post.event.stays else None
                for _ in range(_commands(post) - post.event.stays):
                    _usable(next(answers))
                if isinstance(added, Exception):
                    await self._put_late(post, added)

    @asynccontextmanager
    async def feed(self) -> AsyncIterator[Feed]:
        """Give what is told of meetings elsewhere, as it is told."""
        with reaching():
            async with self._redis.pubsub(ignore_subscribe_messages=False) as listening:
                yield Feed(listening, self._prefix)

    def _put(self, pipe: Any, post: Post) -> None:
        self._keep(pipe, post)
        event = post.event
        if event.meeting:
            pipe.publish(self._key("live", event.meeting), msgspec.msgpack.encode(event))

    def _keep(self, pipe: Any, post: Post) -> None:
        event, keep_s = post.event, self._settings.keep_s
        if event.stays:
            key = self._key("events", event.meeting)
            pipe.xadd(
                key,
                {"e": event.line, "m": event.at_ms},
                id=f"{event.cursor}-0",
                maxlen=self._settings.keep_events,
                approximate=True,
            )
            pipe.expire(key, keep_s)
        if post.session is not None:
            key = self._key("sessions", event.meeting)
            if post.ends:
                pipe.hdel(key, post.session)
            else:
                pipe.hset(key, post.session, event.line)
            pipe.expire(key, keep_s)
        if post.stream is not None:
            key = self._key("stream", post.stream)
            pipe.set(key, msgspec.msgpack.encode(post.state), ex=keep_s)
        if post.speaker is not None:
            key = self._key("voices", event.meeting)
            pipe.hset(key, post.speaker, msgspec.msgpack.encode(post.voice))
            pipe.expire(key, keep_s)

    async def _put_late(self, post: Post, why: Exception) -> None:
        if _NO_LATER not in str(why):
            _usable(why)
            return
        event = post.event
        key = self._key("events", event.meeting)
        number = f"{event.cursor}-0"
        there = await self._redis.xrange(key, min=number, max=number)
        if there and there[0][1][b"e"] == event.line:
            return
        # It may be gone by now, and with it what was later.
        cursor = max(event.cursor, _newest(await self._redis.xrevrange(key, count=1)) + 1)
        late = msgspec.structs.replace(event, cursor=cursor)
        fields: dict[Any, Any] = {"e": event.line, "m": event.at_ms}
        await self._redis.xadd(key, fields, id=f"{cursor}-0")
        await self._redis.publish(self._key("live", event.meeting), msgspec.msgpack.encode(late))

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))


class Feed:
    """Receive what is told of some meetings."""

    def __init__(self, listening: PubSub, prefix: str) -> None:
        self._listening = listening
        self._prefix = prefix

    async def follow(self, meeting: str) -> None:
        """Receive what is told of a meeting from now on: once ``next`` has said so."""
        with reaching():
            await self._listening.subscribe(f"{self._prefix}:live:{meeting}")

    async def unfollow(self, meeting: str) -> None:
        """Receive it no more."""
        with reaching():
            await self._listening.unsubscribe(f"{self._prefix}:live:{meeting}")

    async def next(self, within_s: float) -> ToldEvent | str | None:
        """Return the next event, the name of a meeting that is followed now, or nothing."""
        with reaching():
            message = await self._listening.get_message(timeout=within_s)
        if message is None:
            return None
        if message["type"] == "subscribe":
            channel: str = message["channel"].decode()
            return channel.removeprefix(f"{self._prefix}:live:")
        if message["type"] != "message":
            return None
        return _readable(_TOLD, message["data"])


def _client(url: str) -> Redis:
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as Unconnected
    except ImportError:
        raise ConfigError(
            "cluster.redis needs what is not installed: run pip install 'streamser[cluster]'."
        ) from None
    try:
        place = urlsplit(url)
        if place.scheme != "unix" and place.path.strip("/"):
            # Else what is no number would be the first of its databases.
            int(place.path.strip("/"))
        redis = Redis.from_url(
            url,
            socket_timeout=_ANSWER_S,
            socket_connect_timeout=_ANSWER_S,
            # A connection that was idle may have been closed meanwhile: another is made.
            retry=Retry(NoBackoff(), 1, supported_errors=(Unconnected,)),
            retry_on_error=[Unconnected],
        )
    except ValueError:
        # Its words may hold the password.
        raise ConfigError(
            "cluster.redis: this is no address: write it like redis://HOST:6379/0."
        ) from None
    if (ca := redis.connection_pool.connection_kwargs.get("ssl_ca_certs")) is not None:
        # Else Redis would seem to be away.
        trusted(ca, "cluster.redis, ssl_ca_certs")
    return redis


def _newest(last: Any) -> int:
    return int(last[0][0].split(b"-")[0]) if last else 0


def _commands(post: Post) -> int:
    twice = post.event.stays + (post.session is not None) + (post.speaker is not None)
    return 2 * twice + (post.stream is not None) + bool(post.event.meeting)


def _usable(answer: Any) -> Any:
    """Return an answer; ``None`` where a key holds what is not ours, which harms that key alone."""
    if not isinstance(answer, Exception):
        return answer
    if not str(answer).startswith(_NOT_OURS):
        raise StoreAway(reason_of(answer), str(answer)) from answer
    logger.error("cluster: a key of cluster.prefix is not ours: %s", answer)
    return None


def _readable(decode: Callable[[bytes], T], data: bytes) -> T | None:
    """Decode what a server has written; ``None`` where this one cannot."""
    try:
        return decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        logger.warning("cluster: what another server has written is passed over: %s", error)
        return None


def _read(meeting: str, number: bytes, fields: dict[bytes, bytes]) -> ToldEvent | None:
    cursor = int(number.split(b"-")[0])
    try:
        at_ms, line = int(fields[b"m"]), fields[b"e"]
    except (KeyError, ValueError):
        return None
    return ToldEvent(cursor=cursor, meeting=meeting, at_ms=at_ms, line=line, stays=True)


def _lost_up_to(about: Any) -> int:
    """Return before which cursor events were trimmed away."""
    if isinstance(about, Exception) or not about.get("first-entry"):
        return 0
    added = about.get("entries-added", about["length"])
    first = int(about["first-entry"][0].split(b"-")[0])
    return first - 1 if added > about["length"] else 0
