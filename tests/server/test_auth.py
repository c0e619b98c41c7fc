"""Tokens: how they are given, what they allow, and that nobody ever sees one."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from streamser.errors import ConfigError
from streamser.server.handshake import read_tokens
from streamser.settings_loader import load_settings
from tests.server.guarding import (
    BOTH,
    LISTEN,
    SEND,
    TOKENS,
    WRONG,
    bearer,
    guarded,
    raw_request,
)
from tests.server.serving import Told, Wire, dial, patience, refusal, serving
from tests.server.test_limits import turned_away


@pytest.mark.parametrize(
    "how",
    [
        {"headers": bearer(BOTH)},
        {"headers": {"Authorization": f"bearer {BOTH}"}},
        {"headers": {"Authorization": f"Token {BOTH}"}},
        {"query": f"token={BOTH}"},
        {"subprotocols": ["streamser.v1", f"streamser.token.{BOTH}"]},
        {"subprotocols": ["realtime", f"openai-insecure-api-key.{BOTH}"]},
        {"subprotocols": ["token", BOTH]},
    ],
    ids=["bearer", "lower case", "Token", "query", "ours", "OpenAI's", "Deepgram's"],
)
def test_a_token_may_be_given_in_many_ways(token_file: str, how: dict[str, Any]) -> None:
    """By header, query or subprotocol, to send and to listen; the subprotocol answered has none."""

    async def scene() -> None:
        async with guarded(token_file) as server:
            async with dial(server, **how) as wire:
                assert (await wire.next())["type"] == "session.created"
                chosen = wire.connection.subprotocol
                assert chosen == (how["subprotocols"][0] if "subprotocols" in how else None)
            if "query" in how:
                how["query"] += "&all"
            else:
                how["query"] = "all"
            async with dial(server, "/v1/events", **how) as wire:
                assert (await wire.next())["type"] == "streamser.snapshot"

    asyncio.run(patience(scene()))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"headers": bearer(WRONG)},
        {"headers": bearer(BOTH[:-1])},
        {"headers": bearer(BOTH + "x")},
        {"headers": {"Authorization": f"Basic {BOTH}"}},
        {"headers": {"Authorization": BOTH}},
        {"query": f"token={WRONG}&token="},
        {"query": f"token={BOTH}%00"},
        {"subprotocols": ["streamser.v1", f"streamser.token.{WRONG}"]},
        # Where several are given, the header counts: nobody tries two at once.
        {"headers": bearer(WRONG), "query": f"token={BOTH}"},
    ],
)
def test_without_the_right_token_nobody_comes_in(token_file: str, how: dict[str, Any]) -> None:
    """Programs get 401 before a socket is opened, pages 4401 after an error that says why."""

    async def scene() -> None:
        async with guarded(token_file) as server:
            query = how.pop("query", "")
            for path in ("/v1/realtime", "/v1/events", "/v1/listen"):
                asked = f"{query}&all" if path == "/v1/events" else query
                code, headers, error = await refusal(server, path, query=asked, **how)
                assert code == 401
                assert headers["WWW-Authenticate"].startswith("Bearer")
                assert error["type"] == "invalid_request_error"
                assert error["code"] == "unauthorized"
                assert not any(token in json.dumps(error) for token in (*TOKENS, WRONG))
                told, closed, _ = await turned_away(server, path, query=asked, **how)
                assert (told["code"], closed) == ("unauthorized", 4401)

    asyncio.run(patience(scene()))


def test_a_token_does_what_its_roles_say(token_file: str) -> None:
    """One that may only send cannot listen, and the other way round."""

    async def scene() -> None:
        async with guarded(token_file) as server:
            for path, query, right, wrong in (
                ("/v1/realtime", "", SEND, LISTEN),
                ("/v1/listen", "", SEND, LISTEN),
                ("/v1/events", "all", LISTEN, SEND),
            ):
                how = {"query": query, "headers": bearer(wrong)}
                code, _, error = await refusal(server, path, **how)
                assert (code, error["code"]) == (403, "forbidden")
                assert wrong not in error["message"]
                told, closed, _ = await turned_away(server, path, **how)
                assert (told["code"], closed) == ("forbidden", 4403)
                async with dial(server, path, query=query, headers=bearer(right)):
                    pass

    asyncio.run(patience(scene()))


def test_tokens_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``STREAMSER_TOKENS`` holds them, with semicolons between; it is no setting."""
    monkeypatch.setenv("STREAMSER_TOKENS", f"a send {SEND}; b listen {LISTEN}")
    load_settings()

    async def scene() -> None:
        async with serving() as server:
            assert (await refusal(server))[0] == 401
            async with dial(server, headers=bearer(SEND)) as wire:
                await wire.next()

    asyncio.run(patience(scene()))


def test_a_stream_belongs_to_the_token_that_began_it(token_file: str) -> None:
    """Knowing a stream's secret is of no use with another token."""

    async def created(wire: Wire) -> Told:
        event = await wire.next()
        assert event["type"] == "session.created"
        return event

    async def scene() -> None:
        query = "stream=a-secret-of-the-client&after=1"
        async with (
            guarded(token_file) as server,
            dial(server, query=query, headers=bearer(BOTH)) as first,
        ):
            session_id = (await created(first))["session_id"]
            async with dial(server, query=query, headers=bearer(SEND)) as second:
                assert (await created(second))["session_id"] != session_id
            async with dial(server, query=query, headers=bearer(BOTH)) as third:
                resumed = await third.next()
                assert resumed["type"] == "streamser.session.resumed"
                assert resumed["session_id"] == session_id

    asyncio.run(patience(scene()))


def test_a_token_for_one_speaker_gets_no_stream_of_another(tmp_path: Path) -> None:
    """Though both have the same name, and it knows the secret."""
    file = tmp_path / "tokens"
    file.write_text(f"hall send speaker=Ann {SEND}\nhall send speaker=Ben {BOTH}\n")

    async def scene() -> None:
        query = "stream=a-secret-of-the-client"
        async with (
            guarded(str(file)) as server,
            dial(server, query=query, headers=bearer(SEND)) as ann,
            dial(server, query=query, headers=bearer(BOTH)) as ben,
        ):
            told = [await wire.next() for wire in (ann, ben)]
            assert [each["type"] for each in told] == ["session.created"] * 2
            speakers = [each["session"]["speaker"] for each in told]
            assert speakers == ["Ann", "Ben"]

    asyncio.run(patience(scene()))


def test_a_token_for_one_meeting_sees_that_it_is_held_and_no_other(tmp_path: Path) -> None:
    """In the list of meetings, and in what it hears."""
    file = tmp_path / "tokens"
    file.write_text(f"all send,listen {BOTH}\nguest listen meeting=all%20hands {LISTEN}\n")

    async def scene() -> None:
        async with (
            guarded(str(file)) as server,
            dial(server, query="meeting=board", headers=bearer(BOTH)) as board,
            dial(server, query="meeting=all+hands", headers=bearer(BOTH)) as hands,
        ):
            for wire in (board, hands):
                await wire.next()
            head = f"Authorization: Bearer {LISTEN}".encode()
            listed = await raw_request(server, b"/v1/meetings", head)
            assert b'"all hands"' in listed
            assert b'"board"' not in listed
            async with dial(server, "/v1/events", headers=bearer(LISTEN)) as guest:
                snapshot = await guest.next()
                (session,) = snapshot["sessions"]
                assert session["session"]["meeting"] == "all hands"

    asyncio.run(patience(scene()))


@pytest.mark.parametrize(
    ("target", "header"),
    [
        (b"/v1/realtime", b"Authorization: Bearer \xff\xfe\xfd"),
        (b"/v1/realtime?token=%ff%fe", b"X-Nothing: here"),
        (b"/v1/realtime", b"Sec-WebSocket-Protocol: streamser.token.\xff"),
    ],
    ids=["header", "query", "subprotocol"],
)
def test_bytes_that_are_no_text_are_a_wrong_token(
    token_file: str, target: bytes, header: bytes
) -> None:
    """Whatever is given for a token, the answer is that it is not known: 401."""

    async def scene() -> bytes:
        async with guarded(token_file) as server:
            return await raw_request(server, target, header)

    assert asyncio.run(patience(scene())).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("given", ["0123456789abcdeX", "X123456789abcdef", "0123456789abcdef0"])
def test_secrets_of_streams_are_compared_whole(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a time that tells nothing: never by ``==``, which ends at the first difference."""
    compared: list[tuple[bytes, bytes]] = []
    usual = hmac.compare_digest

    def compare(known: bytes, offered: bytes) -> bool:
        compared.append((known, offered))
        return usual(known, offered)

    async def scene() -> tuple[str, str]:
        async with serving() as server, dial(server, query="stream=0123456789abcdef") as first:
            session_id: str = (await first.next())["session_id"]
            monkeypatch.setattr(hmac, "compare_digest", compare)
            async with dial(server, query=f"stream={given}") as other:
                return session_id, (await other.next())["session_id"]

    mine, other = asyncio.run(patience(scene()))
    assert mine != other
    assert (b"0123456789abcdef", given.encode()) in compared


def test_tokens_are_shown_nowhere(token_file: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not in logs, not in refusals, not in metrics, not in what listeners hear."""
    caplog.set_level(logging.DEBUG, "streamser")
    seen: list[str] = []

    async def scene() -> None:
        async with guarded(token_file, {"server.max_sessions": 1}) as server:
            async with dial(server, query=f"token={BOTH}&meeting=m") as wire:
                seen.append(json.dumps(await wire.next()))
                async with dial(server, "/v1/events", query=f"all&token={LISTEN}") as listener:
                    seen.append(json.dumps(await listener.next()))
                for query in (f"token={BOTH}", f"token={LISTEN}", f"token={WRONG}"):
                    seen.append(json.dumps(await refusal(server, query=query), default=str))
                    seen.append(json.dumps(await turned_away(server, query=query)))
                await wire.finish()
            seen.append(server.metrics.render().decode())
            seen.append(repr(server))

    asyncio.run(patience(scene()))
    own = [record for record in caplog.records if record.name.startswith("streamser")]
    seen += [record.getMessage() for record in own]
    for token in (*TOKENS, WRONG):
        assert not any(token in text for text in seen), token


def test_tokens_are_not_logged_by_the_library_either(
    token_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With everything logged that can be, no line of the server's side has a token in it."""
    caplog.set_level(logging.DEBUG)

    async def scene() -> None:
        async with guarded(token_file) as server:
            for how in (
                {"query": f"token={BOTH}"},
                {"headers": bearer(BOTH)},
                {"subprotocols": ["streamser.v1", f"streamser.token.{BOTH}"]},
            ):
                async with dial(server, **how) as wire:
                    await wire.next()

    asyncio.run(patience(scene()))
    for record in caplog.records:
        # The client is in this process too, and is no concern of the server.
        if record.name != "websockets.client":
            assert BOTH not in record.getMessage(), record.name


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"{BOTH}", "token last"),
        (f"name send {BOTH} more", "token last"),
        (f"name speak {BOTH}", "roles"),
        ("name send short-secret", "16 characters"),
        (f"a send {BOTH}\nb listen {BOTH}", "line 2: this token is there already"),
        ("# nothing", "no token"),
    ],
)
def test_a_wrong_token_file_is_explained_without_showing_a_token(
    tmp_path: Path, line: str, why: str
) -> None:
    """The file and line are named, and what is wrong; never what stands there."""
    path = tmp_path / "tokens.txt"
    path.write_text(line + "\n")
    with pytest.raises(ConfigError, match=why) as caught:
        read_tokens(str(path), {})
    assert str(path) in str(caught.value)
    assert BOTH not in str(caught.value)
    assert "short-secret" not in str(caught.value)
