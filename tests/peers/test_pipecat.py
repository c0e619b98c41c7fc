from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from streamser.taxonomy import UNSURE
from tests.peers.peer import AGENTS, TOKEN, Peer, Report, cut_after, snippet

CLIENT = Peer("pipecat", "pipecat_agent.py")
pytestmark = CLIENT.marks
HAPPY = "17700-22400,25500-29000"
"""Good news, and another sentence of joy."""
ONE = "17700-22400"
NOTE = re.compile(r"\(\[emotion happy=(0\.\d\d).*\],\[arousal value=.*\],\[valence value=.*\]\) ")
OURS, LOCAL, VOICE = "StreamserSTTService", "StreamserAnalyzerService", "voice-only"


def agent(name: str, sound: Path, spans: str, **options: Any) -> tuple[object, ...]:
    """Return what is asked of the client: the document's agent with this service, and its sound."""
    return AGENTS, snippet(name), sound, spans, json.dumps(options)


def said_by_user(context: dict[str, Any]) -> list[str]:
    """List what the user said, as a language model is told."""
    return [each["content"] for each in context["messages"] if each["role"] == "user"]


def check_notes(report: Report) -> None:
    """Check that of the messages only the newest begins with how it sounded, where that is sure."""
    contexts = [said_by_user(each) for each in report.of("context")]
    assert contexts
    told = {each["text"]: each["emotion"] for each in report.of("transcription")}
    for texts in contexts:
        assert not any("[" in text for text in texts[:-1])
        sure = [
            emotion
            for words, emotion in told.items()
            if words in texts[-1] and emotion["category"] != UNSURE
        ]
        assert ("([emotion " in texts[-1]) == bool(sure)
    assert any(NOTE.match(texts[-1]) for texts in contexts)
    (end,) = report.of("end")
    assert end["tasks"] == []


def test_the_language_model_reads_how_its_user_sounded(server: str, talk: Path) -> None:
    """A message a turn, its note before it, and nobody's note twice; the words are untouched."""
    asked = agent(OURS, talk, HAPPY, url=f"ws://{server}", token=TOKEN)
    report = CLIENT.succeed(*asked)
    check_notes(report)
    first, second = report.of("context")
    assert "never mention" in first["messages"][0]["content"]
    (news,) = said_by_user(first)
    match = NOTE.match(news)
    assert match is not None
    assert float(match[1]) > 0.5
    assert "good news" in news or "wonderful news" in news
    assert said_by_user(second)[0] == news[match.end() :]


def test_it_reads_the_same_without_a_server(talk: Path) -> None:
    """The analyser loads its models while the first words are said, on threads of its own."""
    report = CLIENT.succeed(*agent(LOCAL, talk, HAPPY))
    check_notes(report)
    assert len(report.of("context")) == 2


def test_turns_may_be_those_of_a_detector_in_the_pipeline(server: str, talk: Path) -> None:
    """So little silence is no pause to the server, which finishes all the same."""
    asked = agent(OURS, talk, HAPPY, url=f"ws://{server}", token=TOKEN, turns=False)
    report = CLIENT.succeed(*asked, "vad")
    check_notes(report)
    assert len(report.of("context")) == 2


def test_it_reads_the_voice_beside_the_recogniser_of_another(server: str, talk: Path) -> None:
    """What has no words belongs to the message of its turn; only the newest has a note."""
    stt = {"api_key": TOKEN, "base_url": f"ws://{server}/v1/realtime"}
    report = CLIENT.succeed(*agent(VOICE, talk, HAPPY, stt=stt))
    contexts = [said_by_user(each) for each in report.of("context")]
    assert len(contexts) == 2
    assert any(texts[-1].startswith("([emotion ") for texts in contexts)
    assert not any("[" in text for texts in contexts for text in texts[:-1])


@pytest.mark.parametrize("name", ["OpenAIRealtimeSTTService", "DeepgramSTTService"])
def test_pipecats_own_services_carry_the_emotion_unmodified(
    name: str, server: str, talk: Path
) -> None:
    """It is inside the ``result`` of each transcription, from where a reader takes it."""
    report = CLIENT.run(*agent(name, talk, HAPPY, url=f"ws://{server}", token=TOKEN))
    assert report.code == 0
    assert report.of("error") == []
    assert all(each["emotion"]["scores"] for each in report.of("transcription"))
    check_notes(report)


@pytest.mark.parametrize(
    ("url", "token", "category", "line"),
    [
        ("ws://{}", f"not-{TOKEN}", "authentication", "the token is not known"),
        ("ws://127.0.0.1:9", TOKEN, "connectivity", "nobody listens there"),
        ("ws://{}/elsewhere", TOKEN, "invalid_request", "there is nothing at"),
        ("gopher://{}", TOKEN, "invalid_request", "ws://"),
    ],
)
def test_what_cannot_go_on_is_one_error_frame(
    url: str, token: str, category: str, line: str, server: str, talk: Path
) -> None:
    """With its kind, and what to do; the service is no longer used, and the pipeline ends well."""
    report = CLIENT.run(*agent(OURS, talk, ONE, url=url.format(server), token=token))
    assert report.code == 0
    (error,) = report.of("error")
    assert (error["category"], error["usable"]) == (category, False)
    assert line in error["line"]
    assert report.seen[-1] == {"type": "end", "tasks": []}


def test_a_server_that_goes_away_for_good_is_one_error_frame(server: str, talk: Path) -> None:
    """After the patience that was asked for; the tasks are gone."""
    place = cut_after(100_000, server)
    report = CLIENT.run(*agent(OURS, talk, ONE, url=f"ws://{place}", token=TOKEN, give_up_s=1))
    assert report.code == 0
    (error,) = report.of("error")
    assert (error["category"], error["usable"]) == ("connectivity", False)
    assert "given up after 1 s" in error["line"]
    assert report.seen[-1] == {"type": "end", "tasks": []}


def test_a_muted_user_is_heard_again(hasty: str, talk: Path) -> None:
    """The server has ended the stream meanwhile; another begins with sound, without a word."""
    asked = agent(OURS, talk, HAPPY, url=f"ws://{hasty}", token=TOKEN)
    report = CLIENT.succeed(*asked, "muted")
    check_notes(report)
    assert len(report.of("context")) == 2


@pytest.mark.parametrize("name", [OURS, LOCAL])
def test_a_pipeline_that_is_cancelled_leaves_nothing_behind(
    name: str, server: str, talk: Path
) -> None:
    """In the middle of an utterance: no task, no error, no word about either."""
    options = {"url": f"ws://{server}", "token": TOKEN} if name == OURS else {}
    report = CLIENT.succeed(*agent(name, talk, ONE, **options), "cancel")
    assert report.seen == [{"type": "end", "tasks": []}]
