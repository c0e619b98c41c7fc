"""The tools: what they answer, and that they read nothing they may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import soundfile

from streamser.errors import ConfigError, StreamserError
from streamser.export.formats import line_of
from streamser.integrations.toolbox import AllowedFolders, MeetingServer, Toolbox
from streamser.pipeline.analyzer import Analyzer
from streamser.settings_loader import load_settings
from tests.server.guarding import LISTEN, SEND
from tests.server.serving import Wire, demo, dial, encode, patience, serving

SETTINGS = load_settings("voice-only", flags={"partial.every_ms": 0}, environ={})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay a recording of four utterances, and its session."""
    folder = tmp_path_factory.mktemp("allowed")
    soundfile.write(folder / "talk.wav", demo(), 16_000)
    with closing(Analyzer(SETTINGS)) as analyzer:
        lines = b"".join(map(line_of, analyzer.stream(folder / "talk.wav")))
    (folder / "kept.jsonl").write_bytes(lines)
    return folder


@pytest.fixture(scope="module")
def tools(folder: Path) -> Iterator[Toolbox]:
    """Make tools whose models are loaded once."""
    with closing(toolbox(folder)) as made:
        yield made


def toolbox(folder: Path, server: MeetingServer | None = None) -> Toolbox:
    """Make tools that may read one folder."""
    return Toolbox(SETTINGS, AllowedFolders([folder]), server, lambda line: None)


def test_a_file_is_told_utterance_by_utterance_with_how_sure_each_is(tools: Toolbox) -> None:
    """When, who and what; the rest of many is had from a later time on."""
    told = asyncio.run(tools.analyze_file("talk.wav"))
    assert told["recording"] == "talk.wav"
    assert len(told["utterances"]) == 4
    for said in told["utterances"]:
        assert 0 <= said["start_s"] < said["end_s"] <= told["length_s"]
        assert 0 < said["sure"] <= 1
        assert -1 <= said["valence"] <= 1
        assert said["speaker"].startswith("speaker ")
    assert len(msgspec.json.encode(told)) < 2000
    later = asyncio.run(tools.analyze_file("talk.wav", begin_s=9.0))
    assert later["utterances"] == [u for u in told["utterances"] if u["end_s"] > 9]


def test_a_long_recording_is_told_in_parts(tools: Toolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model has to read it all."""
    monkeypatch.setattr("streamser.integrations.toolbox._MOST", 3)
    first = asyncio.run(tools.analyze_file("talk.wav"))
    rest = asyncio.run(tools.analyze_file("talk.wav", first["more_from_s"]))
    assert [len(part["utterances"]) for part in (first, rest)] == [3, 1]
    assert "more_from_s" not in rest


def test_a_session_is_summed_up_and_a_page_is_written_only_if_asked(
    tools: Toolbox, folder: Path
) -> None:
    """Beside it, and never over what is there already."""
    told = asyncio.run(tools.report("kept.jsonl"))
    assert (told["recording"], told["length_s"]) == ("talk.wav", 15.2)
    assert sum(each["utterances"] for each in told["speakers"]) == 4
    assert {"shifts", "sounded"} <= told.keys()
    assert str(folder) not in str(told)
    assert list(folder.glob("*.html")) == []
    page = folder / "talk.report.html"
    assert asyncio.run(tools.report("talk.wav", save_page=True))["page"] == str(page)
    assert page.read_text("utf-8").startswith("<!doctype html>")
    with pytest.raises(StreamserError, match="there already"):
        asyncio.run(tools.report("talk.wav", save_page=True))


def test_nothing_outside_of_the_folders_is_read_wherever_a_path_leads(
    tmp_path: Path, folder: Path
) -> None:
    """Nor is it told whether it is there."""
    (tmp_path / "secret.wav").write_bytes(b"RIFF")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.wav").symlink_to(tmp_path / "secret.wav")
    (tmp_path / "in" / "round.wav").symlink_to(tmp_path / "in" / "round.wav")
    allowed = AllowedFolders([tmp_path / "in", folder])
    outside = [
        "../secret.wav",
        "link.wav",
        str(tmp_path / "secret.wav"),
        str(tmp_path / "is-not-there.wav"),
        "/etc/passwd",
        "~/x.wav",
        "~nobody-of-this-name/x.wav",
        "a\x00b",
        "file:///etc/passwd/../../../../../../..",
    ]
    for path in outside:
        with pytest.raises(StreamserError, match=r"(is outside of what may be read|no such file)"):
            allowed.find(path)
    for path in outside[:5]:
        with pytest.raises(StreamserError, match="is outside of what may be read"):
            allowed.find(path)
    for path in (".", "", "nothing.wav", f"{'x' * 5000}.wav"):
        with pytest.raises(StreamserError, match="no such file"):
            allowed.find(path)
    assert allowed.find(str(folder / "talk.wav")) == (folder / "talk.wav").resolve()


def test_a_folder_that_is_not_there_and_a_file_that_is_no_sound_are_told(tmp_path: Path) -> None:
    """Each in a sentence."""
    with pytest.raises(ConfigError, match="there is no such folder"):
        AllowedFolders([tmp_path / "nowhere"])
    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / "empty.jsonl").write_text("")
    for name in ("notes.txt", "empty.jsonl"):
        with pytest.raises(StreamserError) as refused:
            asyncio.run(toolbox(tmp_path).analyze_file(name))
        assert "\n" not in str(refused.value)


@asynccontextmanager
async def meeting(flags: dict[str, Any] | None = None, token: str = "") -> AsyncIterator[Any]:
    """Hold a meeting in which two people have spoken and one still does; yield its address."""
    query = f"rate=16000&meeting=standup{token and f'&token={token}'}&speaker="
    async with (
        serving(flags) as server,
        dial(server, query=query + "Ann") as ann,
        dial(server, query=query + "Ben") as ben,
    ):
        await ann.sound(encode(demo(8.0)))
        await ben.sound(encode(demo(7.2, 8.0)))
        await said(ann)
        await said(ben)
        yield server.url, ben


async def said(wire: Wire) -> None:
    """Wait until everything so far has been told."""
    await wire.send("input_audio_buffer.commit")
    await wire.settle()


def test_a_meeting_is_told_as_it_is_now_and_as_it_was_lately(folder: Path) -> None:
    """Its moods, what was said and how, and when moods shifted."""

    async def scene() -> None:
        async with meeting() as (url, _):
            tools = toolbox(folder, MeetingServer(url))
            (held,) = (await tools.list_meetings())["meetings"]
            assert (held["meeting"], held["going_on"]) == ("standup", True)
            assert held["speakers"] == ["Ann", "Ben"]
            moods = await tools.moods("standup")
            assert [who["speaker"] for who in moods["speakers"]] == ["Ann", "Ben"]
            assert all(0 < who["mood"]["sure"] <= 1 for who in moods["speakers"])
            recent = await tools.recent("standup")
            assert {each["speaker"] for each in recent["utterances"]} == {"Ann", "Ben"}
            assert len(recent["utterances"]) >= 4
            assert all(0 <= each["ago_s"] < 60 for each in recent["utterances"])
            assert recent["everybody"] == moods["everybody"] == held["mood"]
            shifts = (await tools.shifts("standup"))["shifts"]
            assert [{**s, "ago_s": 0} for s in shifts] == [
                {**s, "ago_s": 0} for s in recent["shifts"]
            ]
            assert (await tools.recent("standup", minutes=1e-6))["utterances"] == []

    asyncio.run(patience(scene()))


def test_shifts_of_a_meeting_are_told_with_whose_and_from_what(folder: Path) -> None:
    """As long as the server keeps them; the whole conversation has several."""

    async def scene() -> None:
        async with (
            serving() as server,
            dial(server, query="rate=16000&meeting=standup&speaker=Ann") as ann,
        ):
            await ann.sound(encode(demo(89.1)))
            await said(ann)
            told = await toolbox(folder, MeetingServer(server.url)).shifts("standup")
            assert {each["of"] for each in told["shifts"]} == {"Ann", "everybody"}
            assert all(each["from"] != each["to"] for each in told["shifts"])

    asyncio.run(patience(scene()))


def test_who_follows_a_meeting_is_told_what_comes_from_then_on(folder: Path) -> None:
    """And nothing of what was said before."""

    async def scene() -> None:
        async with meeting() as (url, ben):
            waited: list[float] = []

            async def speak(seconds: float) -> None:
                waited.append(seconds)
                await ben.sound(encode(demo(4.6)))
                await said(ben)

            server = MeetingServer(url)
            tools = Toolbox(SETTINGS, AllowedFolders([folder]), server, lambda line: None, speak)
            before = len((await tools.recent("standup"))["utterances"])
            told = await tools.follow_meeting("standup", seconds=30)
            assert [each["speaker"] for each in told["utterances"]] == ["Ben"]
            after = len((await tools.recent("standup"))["utterances"])
            assert (waited, after) == ([30], before + 1)

    asyncio.run(patience(scene()))


def test_what_cannot_be_asked_of_a_server_is_told_in_a_sentence(
    folder: Path, tmp_path: Path
) -> None:
    """No server, no meeting, no token, no time."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"phone send {SEND}\ndisplay listen {LISTEN}\n")

    async def scene() -> None:
        with pytest.raises(StreamserError, match="with --server"):
            await toolbox(folder).list_meetings()
        with pytest.raises(StreamserError, match="nobody listens there"):
            await toolbox(folder, MeetingServer("ws://127.0.0.1:1")).list_meetings()
        async with meeting({"server.token_file": str(tokens)}, SEND) as (url, _):
            with pytest.raises(StreamserError, match="token"):
                await toolbox(folder, MeetingServer(url)).moods("standup")
            tools = toolbox(folder, MeetingServer(url, LISTEN))
            assert (await tools.moods("standup"))["meeting"] == "standup"
            with pytest.raises(StreamserError, match="list_meetings lists"):
                await tools.recent("no such meeting")
            for minutes in (0, -1, float("nan"), 1e9):
                with pytest.raises(StreamserError, match="minutes: more than 0"):
                    await tools.recent("standup", minutes)
            with pytest.raises(StreamserError, match="at most 120"):
                await tools.follow_meeting("standup", 121)

    asyncio.run(patience(scene()))
