"""What a server writes down: a line for each that comes, is refused, or leaves; no secrets."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from streamser.logs import FIELDS, LogFormat, logs
from streamser.server.telemetry import log_fault, log_info
from tests.server.serving import dial, patience, refusal, serving
from tests.server.test_limits import turned_away

TOKEN = "both-0123456789abcdef"
WRONG = "wrong-0123456789abcdef"
SECRET = "stream-0123456789abcdef"


def written(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the fields of what has been logged, but for how the loop of this machine does."""
    lines = [getattr(record, FIELDS) for record in caplog.records if hasattr(record, FIELDS)]
    return [line for line in lines if line["event"] != "loop_late"]


def test_a_session_is_a_line_at_its_beginning_and_one_at_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With session, meeting, peer and reason; a break and a return are lines of their own."""
    caplog.set_level(logging.INFO, "streamser")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"hall send,listen {TOKEN}\n")
    query = f"rate=16000&meeting=ops&speaker=Ann&token={TOKEN}&stream={SECRET}"

    async def scene() -> tuple[str, str]:
        async with serving({"server.token_file": str(tokens), "server.resume_s": 30}) as server:
            listening = dial(server, "/v1/events", query=f"all&token={TOKEN}")
            async with listening as listener:
                await listener.next()
                async with dial(server, query=query) as wire:
                    session_id: str = (await wire.next())["session_id"]
                    await wire.break_off()
                async with dial(server, query=query) as wire:
                    await wire.until("streamser.session.resumed")
                    await wire.finish()
                    host, port = wire.connection.local_address[:2]
                await refusal(server, query=f"token={WRONG}&meeting=ops")
                await turned_away(server, query=f"token={WRONG}")
        return session_id, f"{host}:{port}"

    session_id, peer = asyncio.run(patience(scene()))
    lines = written(caplog)
    own = [line for line in lines if line.get("session") == session_id]
    # The server may see the new connection before it sees that the old one is gone.
    assert sorted(line["event"] for line in own) == ["closed", "left", "opened", "resumed"]
    by_event = {line["event"]: line for line in own}
    assert [own[0]["event"], own[-1]["event"]] == ["opened", "closed"]
    assert all(line["meeting"] == "ops" for line in own)
    assert own[0]["owner"] == "hall"
    assert by_event["left"]["reason"] in ("vanished", "a newer connection has taken over")
    assert by_event["closed"]["reason"] == "finished"
    assert by_event["resumed"]["peer"] == by_event["closed"]["peer"] == peer
    assert by_event["left"]["peer"] not in (None, peer)
    refused = [line for line in lines if line["event"] == "refused"]
    assert [line["reason"] for line in refused] == ["unauthorized"] * 2
    assert refused[0]["meeting"] == "ops"
    assert all(line["path"] == "/v1/realtime" and line["peer"] for line in refused)
    others = [line["event"] for line in lines if line not in own and line not in refused]
    assert others == ["listening", "left"]
    for secret in (TOKEN, WRONG, SECRET):
        assert secret not in caplog.text + json.dumps(lines)


def test_a_refusal_says_whose_token_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """For want of a role, of a place, or of what was asked for; by HTTP and on an open socket."""
    caplog.set_level(logging.INFO, "streamser")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"hall send,listen {TOKEN}\ndisplay listen {WRONG}\n")
    settings = {"server.token_file": str(tokens), "server.max_sessions": 1}

    async def scene() -> None:
        async with serving(settings) as server, dial(server, query=f"token={TOKEN}") as wire:
            await wire.next()
            for way in (refusal, turned_away):
                await way(server, query=f"token={WRONG}")
                await way(server, query=f"token={TOKEN}&rate=1")
                await way(server, query=f"token={TOKEN}")
            await turned_away(server, "/v1/events", query=f"token={TOKEN}&session=none")

    asyncio.run(patience(scene()))
    refused = [line for line in written(caplog) if line["event"] == "refused"]
    told = {(line["reason"], line.get("owner")) for line in refused}
    assert told == {
        ("forbidden", "display"),
        ("invalid_query", "hall"),
        ("too_many_sessions", "hall"),
        ("unknown_session", "hall"),
    }


def test_a_stream_whose_time_is_up_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """The reason of the closing line is that of the connection."""
    caplog.set_level(logging.INFO, "streamser")

    async def scene() -> None:
        async with serving({"server.idle_s": 0.1}) as server, dial(server) as wire:
            await wire.rest()

    asyncio.run(patience(scene()))
    (line,) = (line for line in written(caplog) if line["event"] == "closed")
    assert line["reason"] == "idle_timeout"


@pytest.mark.parametrize("form", LogFormat)
def test_a_line_is_for_people_or_for_programs(
    form: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever stands in it, it is one line; and after the block nothing is written any more."""
    with logs(form):
        log_info("opened", session="sess_1", meeting='a "b"\nc=d', peer=None)
        try:
            raise ValueError("my words")
        except ValueError as error:
            log_fault(error, session="sess_1")
            logging.getLogger("streamser.server.http.wire").exception("handshake failed")
    log_info("closed", session="sess_1")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "my words" not in " ".join(lines)
    if form is LogFormat.TEXT:
        assert lines[0].endswith(r"""INFO opened session=sess_1 meeting='a "b"\nc=d'""")
        assert "ERROR fault session=sess_1 error=ValueError reason=" in lines[1]
        assert "handshake failed: ValueError at test_log.py:" in lines[2]
        return
    opened, fault, other = map(json.loads, lines)
    assert (opened["level"], opened["event"], opened["meeting"]) == (
        "info",
        "opened",
        'a "b"\nc=d',
    )
    assert "peer" not in opened
    assert (fault["level"], fault["error"]) == ("error", "ValueError")
    assert other["message"] == "handshake failed"
    assert all(line["time"].endswith("Z") for line in (opened, fault, other))
