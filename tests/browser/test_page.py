"""The page in Chromium, with a recording as its microphone, against a live server."""

from __future__ import annotations

import csv
import difflib
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile

import streamser
from streamser.events import Event, SpeakerChange, SpeakersChanged
from streamser.taxonomy import CATEGORIES, UNSURE
from tests.browser.live import LiveServer, drive, missing_tool
from tests.browser.proxy import Wire
from tests.cli.live.test_remote import Served
from tests.cli.samples import ENVELOPE, emotion, said

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

ASSETS = Path(streamser.__file__).parent / "assets"
LENGTH_S = 36.3
LEAD_S = 1.0
DONE_S = LEAD_S + LENGTH_S + 1.5
NETWORK_ERRORS = ("WebSocket connection to",)


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    """Skip, and say why, where there is no browser to drive."""
    if (reason := missing_tool()) is not None:
        pytest.skip(reason)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """Run a server."""
    live = LiveServer(tmp_path)
    yield live
    live.close()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the beginning of the bundled conversation, led by a silence, as a WAV file."""
    sound, rate = soundfile.read(ASSETS / "demo.flac", dtype="int16")
    lead = np.zeros(int(LEAD_S * rate), np.int16)
    path = tmp_path_factory.mktemp("sound") / "talk.wav"
    soundfile.write(path, np.concatenate([lead, sound[: int(LENGTH_S * rate)], lead]), rate)
    return path


def spoken() -> list[str]:
    """Return what is said in the recording, an utterance an item."""
    told = json.loads((ASSETS / "demo.json").read_text())["utterances"]
    return [said["text"] for said in told if said["end_ms"] <= LENGTH_S * 1000]


def words(text: str) -> list[str]:
    """Split a text into bare words."""
    return "".join(c if c.isalnum() or c == "'" else " " for c in text.casefold()).split()


def heard_shares(rows: list[dict[str, Any]]) -> list[float]:
    """Return for each utterance of the recording the share of its words in the transcript."""
    heard = words(" ".join(row["text"] for row in rows))
    said = [(n, word) for n, text in enumerate(spoken()) for word in words(text)]
    matcher = difflib.SequenceMatcher(None, [word for _, word in said], heard, autojunk=False)
    found = [0] * len(spoken())
    for block in matcher.get_matching_blocks():
        for n, _ in said[block.a : block.a + block.size]:
            found[n] += 1
    return [count / len(words(text)) for count, text in zip(found, spoken(), strict=True)]


def assert_nothing_lost(rows: list[dict[str, Any]]) -> None:
    """Check that every utterance that was spoken is there, and none twice."""
    shares = heard_shares(rows)
    assert min(shares) >= 0.4, list(zip(spoken(), shares, strict=True))
    assert sum(shares) / len(shares) >= 0.75
    count = len(words(" ".join(row["text"] for row in rows)))
    assert count <= 1.2 * len(words(" ".join(spoken())))


def assert_no_errors(result: dict[str, Any]) -> None:
    """Check that the console told of nothing but connections that broke."""
    assert [e for e in result["errors"] if not e.startswith(NETWORK_ERRORS)] == []


def test_no_microphone_before_consent(server: LiveServer) -> None:
    """Neither a click nor the Enter key opens it; what is said before must be there."""
    result = drive("consent", url=server.url)
    assert result["before"] == {"opened": 0, "disabled": True}
    assert result["refused"] == {"opened": 0, "screen": "setup"}
    for wanted in ("guess", "Art. 5(1)(f)", "work", "education", "No sound is stored"):
        assert wanted in result["text"].replace("\u00a0", " ")
    assert result["after"]["opened"] == 1
    asked = result["after"]["wanted"]["audio"]
    assert not asked["echoCancellation"]
    assert not asked["noiseSuppression"]
    assert not asked["autoGainControl"]
    assert_no_errors(result)


def test_watching_opens_no_microphone(server: LiveServer) -> None:
    """Who only watches is never asked for one."""
    assert drive("watch", url=server.url)["opened"] == 0


def test_words_and_names_have_their_own_direction(server: LiveServer) -> None:
    """Hebrew runs from right to left, its question mark at the left; English stays as it is."""
    said = [["דנה", "שלום, מה שלומך היום?"], ["Ann", "Hello, all."]]
    result = drive("directions", url=server.url, said=said)
    assert result["texts"] == [["שלום, מה שלומך היום?", "rtl"], ["Hello, all.", "ltr"]]
    assert result["names"] == [["דנה", "rtl"], ["Ann", "ltr"]]
    assert_no_errors(result)


def test_who_a_voice_is_can_be_said_by_keyboard_and_pointer(server: LiveServer) -> None:
    """Of a voice everywhere, of one utterance, and only of voices that one's own stream heard."""
    label: dict[str, Any] = {"speaker_provisional": True}
    stamp = {"cursor": 0, "meeting": None, "at_ms": 0}
    finals = [
        stamp | msgspec.to_builtins(final)
        for final in (
            told("a", speaker="speaker 1", **label),
            told("b", speaker="speaker 1", **label),
            told("c", speaker="speaker 1", session_id="other", **label),
        )
    ]
    renamed = SpeakersChanged(**ENVELOPE, renamed={"speaker 1": "Ann"})
    change = SpeakerChange(item_id="b", speaker="Ben")
    assigned = SpeakersChanged(**ENVELOPE, changes=(change,))
    result = drive(
        "naming",
        url=server.url,
        events=finals,
        renamed=stamp | msgspec.to_builtins(renamed),
        assigned=stamp | msgspec.to_builtins(assigned),
    )
    assert result["asked"] == "Who is speaker 1?"
    other = "speaker 1 (stream 2)"
    assert not result["closed"]["open"]
    assert result["renamed"]["rows"] == ["Ann", "Ann", other]
    assert result["renamed"]["people"] == ["Ann", other]
    assert result["renamed"]["focus"] == "Ann"
    assert result["assigned"]["rows"] == ["Ann", "Ben", other]
    assert result["assigned"]["people"] == ["Ann", other, "Ben"]
    assert not result["once"]
    assert not result["left"]["open"]
    assert result["sent"] == [
        {"type": "streamser.speaker.rename", "speaker": "speaker 1", "name": "Ann"},
        {"type": "streamser.speaker.assign", "item_id": "b", "name": "Ben"},
        {"type": "streamser.speaker.forget"},
    ]
    assert "forgotten" in result["forgotten"]
    assert result["fixed"] == 1
    assert_no_errors(result)


def told(item: str, session_id: str = "s", **whose: Any) -> Event:
    """Make the final of an utterance."""
    body = msgspec.structs.replace(emotion(), **whose)
    return msgspec.structs.replace(said(item, body), item_id=item, session_id=session_id)


def test_voices_are_told_apart_only_with_consent_to_voiceprints(server: LiveServer) -> None:
    """Who had agreed before has to agree anew; then nobody is the one who speaks."""
    result = drive("several", url=server.url)
    assert not result["agreed"]
    assert result["name"]
    assert "biometric" in result["text"]
    assert_no_errors(result)


def test_a_voice_at_a_shared_microphone_gets_its_name(server: LiveServer, recording: Path) -> None:
    """The server takes the name, and what was said before has it; then voices are forgotten."""
    result = drive("shared", url=server.url, wav=str(recording))
    assert not result["before"]
    assert result["label"] == "speaker 1"
    assert result["forget"]
    assert "forgotten" in result["told"]
    assert result["names"][0] == "Ann"
    assert_no_errors(result)


def test_meetings_that_are_held_can_be_chosen(server: LiveServer) -> None:
    """Who wants to watch sees which there are, and enters one by a click."""
    result = drive("held", url=server.url)
    assert result["offered"].startswith("board")
    assert "1 speaker" in result["offered"]
    assert (result["meeting"], result["people"]) == ("board", "Ada")
    assert_no_errors(result)


def test_a_microphone_on_the_second_input_is_heard(
    server: LiveServer, recording: Path, tmp_path: Path
) -> None:
    """An interface of two inputs is one device of two channels; of one speaker all is told once."""
    sound, rate = soundfile.read(recording, dtype="int16")
    path = tmp_path / "second.wav"
    soundfile.write(path, np.stack([0 * sound, sound], axis=1), rate)
    result = drive("heard", url=server.url, wav=str(path))
    first = words(spoken()[0])
    assert len(set(words(result["rows"][0]["text"])) & set(first)) >= len(set(first)) / 2
    assert "%" in result["mood"]
    assert (result["legend"], result["diamond"]) == ("Ada", False)
    assert not result["late"]
    assert_no_errors(result)


def test_a_busy_server_is_told_of_quietly(recording: Path, tmp_path: Path) -> None:
    """Words that come late are no fault: a line below them, no alarm."""
    # With speculative finals nothing would be late.
    settings = ("--set", "server.late_s=0.01", "--set", "endpointing.speculative=false")
    server = LiveServer(tmp_path, *settings)
    try:
        result = drive("heard", url=server.url, wav=str(recording))
    finally:
        server.close()
    assert result["late"]
    assert result["told"]
    assert_no_errors(result)


def test_a_refused_microphone_is_explained(server: LiveServer) -> None:
    """The page says what to do, and stays where it was."""
    result = drive("refused", url=server.url)
    assert "refused" in result["message"]
    assert result["screen"] == "setup"


def test_a_token_is_asked_for_and_leaves_the_address_bar(tmp_path: Path) -> None:
    """It must not be seen by who looks over a shoulder, nor be passed on with a link."""
    token = "a-token-for-the-page-0123456789"
    (tmp_path / "tokens").write_text(f"page send,listen {token}\n")
    (tmp_path / "tokens").chmod(0o600)
    server = LiveServer(tmp_path, "--token-file", str(tmp_path / "tokens"))
    try:
        result = drive("token", url=f"{server.url}?meeting=board&token=wrong", token=token)
    finally:
        server.close()
    assert "token" not in result["address"].split("?", 1)[1]
    assert "access token" in result["message"]
    assert result["screen"] == "view"


def test_a_token_that_is_taken_away_is_told_as_that(tmp_path: Path) -> None:
    """Nobody has broken a rule; and who is not watching any more is not told that they are."""
    kept, gone = "a-token-that-stays-0123456789", "a-token-for-the-page-0123456789"
    tokens = tmp_path / "tokens"
    tokens.write_text(f"board listen {kept}\npage send,listen {gone}\n")
    tokens.chmod(0o600)
    server = LiveServer(tmp_path, "--token-file", str(tokens))

    def withdraw(_: str) -> None:
        tokens.write_text(f"board listen {kept}\n")
        server.send(signal.SIGHUP)

    try:
        address = f"{server.url}?meeting=board&token={gone}"
        result = drive("withdrawn", url=address, on_step=withdraw)
    finally:
        server.close()
    assert "token is not taken here any more" in result["told"]
    assert "rules" not in result["told"]
    assert "still watching" not in result["told"]


def test_who_joins_while_models_are_loaded_is_told_and_heard(recording: Path) -> None:
    """What is said before the server lets anybody in has its row all the same."""
    held = threading.Event()
    with Served(held=held) as url:
        result = drive(
            "early",
            url=url.replace("ws", "http", 1),
            wav=str(recording),
            seconds=10.0,
            on_step=lambda _: held.set(),
        )
    assert result["loading"]["pill"] == "loading models"
    assert "kept" in result["loading"]["trouble"]
    assert result["live"] == {"pill": "live", "trouble": ""}
    assert_no_errors(result)


def test_speech_is_read_and_drawn(server: LiveServer, recording: Path, tmp_path: Path) -> None:
    """Rows, both plots, shares, lag and exports tell of the same utterances."""
    result = drive(
        "speak", url=server.url, wav=str(recording), seconds=DONE_S, folder=str(tmp_path)
    )
    rows = result["rows"]
    assert_nothing_lost(rows)
    assert len([row for row in rows if row["category"] in CATEGORIES]) >= 3
    for row in rows:
        assert row["speaker"] == "Ada"
        # Never colour alone: the word stands there, too.
        assert row["badge"] == row["category"]
        assert row["category"] in (*CATEGORIES, UNSURE)
    assert result["live"], "words were never seen while they were spoken"
    assert [plot["near"] > 100 for plot in (*result["plane"], *result["charts"])] == [True] * 3
    assert "%" in result["shares"]
    assert "Ada" in result["people"]
    assert result["lag"].endswith("s behind")
    assert result["said"].startswith("Ada, ")
    assert result["zoom"]["offered"]
    assert result["zoom"]["gone"]
    assert "Ada" in result["zoom"]["tip"]
    assert_no_errors(result)
    with (tmp_path / "export.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "export.jsonl").read_text().splitlines()]
    told = [(row["category"], row["text"]) for row in rows]
    assert [(row["category"], row["transcript"]) for row in table] == told
    # Every event as it came: the words of each utterance are in it once.
    said = "conversation.item.input_audio_transcription.completed"
    finals = [line for line in lines if line["type"] == said]
    assert [(line["emotion"]["category"], line["transcript"]) for line in finals] == told
    assert lines[0]["type"] == "streamser.snapshot"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restarted_server_loses_no_utterance(
    server: LiveServer, recording: Path, tmp_path: Path, how: signal.Signals
) -> None:
    """Sound that was not settled is sent again, whether the server could say good-bye or not."""
    result = drive(
        "speak",
        on_step=lambda _: server.restart(how),
        url=server.url,
        wav=str(recording),
        seconds=DONE_S + 6,
        breaks=[13],
        folder=str(tmp_path),
    )
    assert_nothing_lost(result["rows"])
    states = result["states"]
    assert "waiting" in states
    assert states[-1] == "live"
    assert_no_errors(result)


def test_a_cut_wire_loses_no_utterance(server: LiveServer, recording: Path, tmp_path: Path) -> None:
    """The session is resumed: no utterance is lost, cut in two, or told twice."""
    wire = Wire(server.port)

    def cut(_: str) -> None:
        wire.cut()
        time.sleep(1)

    try:
        result = drive(
            "speak",
            on_step=cut,
            url=f"http://127.0.0.1:{wire.port}/",
            wav=str(recording),
            seconds=DONE_S + 2,
            breaks=[7, 13, 20.5],
            folder=str(tmp_path),
        )
    finally:
        wire.close()
    rows = result["rows"]
    assert_nothing_lost(rows)
    # The session went on: no utterance was cut in two.
    assert len(rows) == len(spoken())
    assert result["states"].count("waiting") >= 3
    assert_no_errors(result)
