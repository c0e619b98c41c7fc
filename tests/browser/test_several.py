"""The page at one server of several, while what it shows is said at another."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from streamser.export.read import read_recording
from tests.browser.live import drive, missing_tool
from tools.cluster.rig import Rig
from tools.cluster.scenes import expected, home_of, talk
from tools.cluster.witness import Span, Speaker, faults_of, until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

SPEED = 4.0


@pytest.fixture(autouse=True)
def tools() -> None:
    """Skip, and say why, where there is no browser to drive, or nothing to make a cluster of."""
    reason = missing_tool()
    for program in ("redis-server", "haproxy"):
        if shutil.which(program) is None:
            reason = f"{program} is not installed"
    if reason is not None:
        pytest.skip(reason)


def told_to_page(folder: Path, speaker: Speaker) -> list[Span]:
    """Return where the finals of a speaker lie in their sound, as the page hands them out.

    Those that were over before it came stand in its snapshot, and some of them are told again.
    """
    recording = read_recording(folder / "export.jsonl")
    return [
        Span(utterance.start_ms + at, utterance.end_ms + at)
        for session in recording.sessions
        if (at := speaker.offsets.get(session.session_id)) is not None
        for utterance in session.utterances
        if utterance.final
    ]


async def watch_while_a_server_dies(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Open the page where the meeting is not, kill the server where it is; say what is wrong."""
    sound = talk(60.0)
    async with Rig(2) as rig:
        places = await expected(rig, sound)
        speakers = [Speaker(rig.url, "m", name, sound, SPEED) for name in ("Ann", "Bob")]
        speaking = [asyncio.create_task(each.speak()) for each in speakers]
        await until(lambda: all(each.offsets for each in speakers), 20.0)
        home = await home_of(rig, "m")
        (other,) = [node for node in rig.nodes if node is not home]
        loop = asyncio.get_running_loop()

        async def spoken() -> None:
            await asyncio.gather(*speaking)

        def do(step: str) -> None:
            work = home.kill() if step == "kill" else spoken()
            asyncio.run_coroutine_threadsafe(work, loop).result(60)

        result = await asyncio.to_thread(
            drive,
            "elsewhere",
            on_step=do,
            url=f"http://{other.place}/",
            meeting="m",
            rows=2 * len(places),
            folder=str(folder),
        )
        wrong = []
        for speaker in speakers:
            wrong += faults_of(told_to_page(folder, speaker), places, f"the page of {speaker.name}")
        if len(result["rows"]) != 2 * len(places):
            wrong.append(f"{len(result['rows'])} rows for {2 * len(places)} utterances")
    return result, wrong


def test_a_page_at_another_server_shows_all_once_also_when_the_meetings_server_dies(
    tmp_path: Path,
) -> None:
    """Its speakers, its utterances in their order, and it stays connected all the while."""
    result, wrong = asyncio.run(watch_while_a_server_dies(tmp_path))
    assert wrong == []
    assert sorted(result["people"]) == ["Ann", "Bob"]
    assert {row["speaker"] for row in result["rows"]} == {"Ann", "Bob"}
    assert result["states"][result["states"].index("live") :] == ["live"]
    assert result["errors"] == []
