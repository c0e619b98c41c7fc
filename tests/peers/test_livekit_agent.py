from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.peers.peer import AGENTS, TOKEN, Peer, cut_after, snippet
from tests.peers.test_pipecat import HAPPY, ONE

CLIENTS = [Peer(name, "livekit_agent.py") for name in ("livekit", "livekit2")]
pytestmark = pytest.mark.parametrize(
    "client", [pytest.param(each, marks=each.marks, id=each.environment) for each in CLIENTS]
)
NOTE = re.compile(r"\(\[emotion happy=0\.\d\d.*\],\[arousal value=.*\],\[valence value=.*\]\)")


def agent(sound: Path, spans: str, **options: Any) -> tuple[object, ...]:
    """Return what is asked of the client: the document's agent, and its sound."""
    return AGENTS, snippet("AgentSession"), sound, spans, json.dumps(options)


def test_the_language_model_is_told_how_its_user_sounded(
    client: Peer, server: str, talk: Path
) -> None:
    """By a system message right before theirs, in the context of that reply and no other."""
    report = client.run(*agent(talk, HAPPY, url=f"ws://{server}", token=TOKEN))
    assert report.code == 0, report.errors
    assert report.of("error") == []
    contexts = [each["messages"] for each in report.of("context")]
    assert len(contexts) == 2
    words = [each["text"] for each in report.of("transcription")]
    for messages, said, heard in zip(contexts, words, report.of("stt_context"), strict=True):
        *before, told, last = messages
        assert last == {"role": "user", "content": said}
        assert told["role"] == "system"
        assert heard["emotion"] == "happy"
        assert NOTE.fullmatch(heard["note"])
        assert heard["note"] in told["content"]
        assert not any("[emotion" in each["content"] for each in before)
    (history,) = report.of("history")
    assert history["texts"][0] == words[0]
    assert not any("[emotion" in each for each in history["texts"])


def test_a_muted_user_is_heard_again(client: Peer, hasty: str, talk: Path) -> None:
    """The server has ended the stream meanwhile; another begins with sound, without a word."""
    report = client.run(*agent(talk, HAPPY, url=f"ws://{hasty}", token=TOKEN), "muted")
    assert report.code == 0, report.errors
    assert report.of("error") == []
    assert len(report.of("context")) == 2


@pytest.mark.parametrize(
    ("url", "token", "kind", "line"),
    [
        ("ws://{}", f"not-{TOKEN}", "APIStatusError", "the token is not known"),
        ("gopher://{}", TOKEN, "APIStatusError", "ws://"),
    ],
)
def test_what_is_refused_is_an_error_of_theirs_that_is_not_tried_again(
    url: str, token: str, kind: str, line: str, client: Peer, server: str, talk: Path
) -> None:
    """One event of the session, with what to do."""
    report = client.run(*agent(talk, ONE, url=url.format(server), token=token))
    assert report.code == 0, report.errors
    (error,) = report.of("error")
    assert (error["kind"], error["recoverable"]) == (kind, False)
    assert line in error["line"]


def test_a_server_that_goes_away_is_tried_again_and_given_up(
    client: Peer, server: str, talk: Path
) -> None:
    """First by our own client, then as their options say; the last word is not recoverable."""
    place = cut_after(100_000, server)
    report = client.run(*agent(talk, ONE, url=f"ws://{place}", token=TOKEN, give_up_s=1))
    assert report.code == 0, report.errors
    *tried, last = report.of("error")
    assert {each["kind"] for each in (*tried, last)} == {"APIConnectionError"}
    assert all(each["recoverable"] for each in tried)
    assert not last["recoverable"]
    assert "trying again" in report.errors
