from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from streamser.taxonomy import CATEGORIES, UNSURE
from tests.cli.running import DEMO
from tests.peers.conftest import SECONDS
from tests.peers.peer import TOKEN, Peer, Report

CLIENT = Peer("openai", "openai_transcriptions.py")
pytestmark = CLIENT.marks


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the demo's first five utterances as a file."""
    path = tmp_path_factory.mktemp("sound") / "talk.wav"
    samples, rate = soundfile.read(DEMO, frames=round(SECONDS * 16_000), dtype="int16")
    soundfile.write(path, samples, rate)
    return path


def run(server: str, file: Path, way: str) -> Report:
    """Run it to a good end."""
    return CLIENT.succeed(f"http://{server}/v1", TOKEN, file, way)


def test_each_format_comes_as_the_type_it_has_there(server: str, file: Path) -> None:
    """With words and times, and the emotion where users reach it."""
    report = run(server, file, "formats")
    (plain,), (text,) = report.of("json"), report.of("text")
    assert plain["class"] == "Transcription"
    assert plain["usage"] == {"type": "duration", "seconds": SECONDS}
    assert plain["emotion"]["category"] in (*CATEGORIES, UNSURE)
    assert text["text"].strip() == plain["text"]
    (srt,), (vtt,), (verbose,) = report.of("srt"), report.of("vtt"), report.of("verbose_json")
    assert srt["text"].startswith("1\n00:00:00,")
    assert vtt["text"].startswith("WEBVTT\n")
    assert verbose["class"] == "TranscriptionVerbose"
    assert (verbose["language"], verbose["duration"]) == ("en", SECONDS)
    assert verbose["text"] == plain["text"]
    assert len(verbose["segments"]) == 5
    assert all(each["text"] and each["avg_logprob"] < 0 for each in verbose["segments"])
    assert len(verbose["words"]) > 20
    (attribute,) = report.of("attribute")
    assert attribute["emotion"] == verbose["segments"][0]["emotion"]["category"]


def test_it_iterates_over_typed_events(server: str, file: Path) -> None:
    """A delta for each utterance, whose texts are that of the end; and it may leave early."""
    report = run(server, file, "stream")
    kinds = [(one["kind"], one["class"]) for one in report.of("kind")]
    assert kinds == [("transcript.text.delta", "TranscriptionTextDeltaEvent")] * 5 + [
        ("transcript.text.done", "TranscriptionTextDoneEvent")
    ]
    *deltas, done = report.of("event")
    assert "".join(each["delta"] for each in deltas) == done["text"]
    assert all(each["segment"]["emotion"]["scores"] for each in deltas)
    (first,) = run(server, file, "leave").of("first")
    assert first["kind"] == "transcript.text.delta"


def test_models_are_listed(server: str, file: Path) -> None:
    """The name that clients ask for by themselves is one of them."""
    report = run(server, file, "models")
    assert [one["id"] for one in report.of("model")] == ["streamser", "whisper-1"]
    (one,) = report.of("one")
    assert (one["class"], one["id"], one["owned_by"]) == ("Model", "streamser", "streamser")


def test_what_cannot_be_done_is_raised_as_what_it_is(server: str, file: Path) -> None:
    """The class by its status, the code and the field by the body."""
    report = run(server, file, "errors")
    raised = {one.pop("type"): one for one in report.seen}
    shown = {what: (one["class"], one["code"], one["param"]) for what, one in raised.items()}
    assert shown == {
        "no sound": ("BadRequestError", "not_audio", "file"),
        "format": ("BadRequestError", "invalid_value", "response_format"),
        "model": ("NotFoundError", "model_not_found", "model"),
        "retrieve": ("NotFoundError", "model_not_found", "model"),
        "too big": ("APIStatusError", "file_too_big", "file"),
        "token": ("AuthenticationError", "unauthorized", None),
        "list": ("AuthenticationError", "unauthorized", None),
    }
    assert raised["too big"]["status"] == 413


def test_more_files_than_a_server_takes_are_refused_for_now(server: str, file: Path) -> None:
    """Four are read; the library would come again by itself."""
    (crowd,) = run(server, file, "crowd").of("crowd")
    assert sorted(crowd["ends"]) == ["RateLimitError"] * 4 + ["done"] * 4
