from __future__ import annotations

import json
from typing import Any

import pytest

from tools.bench_peers.clients import (
    CLIENTS,
    StreamserClient,
    WhisperLiveClient,
    WhisperLiveKitClient,
)
from tools.bench_peers.errors import BenchError
from tools.bench_peers.log import StreamLog

WORDS = "conversation.item.input_audio_transcription.completed"
PARTIAL = "streamser.transcript.partial"


def message(**fields: Any) -> str:
    """Word a message of a server."""
    return json.dumps(fields)


def texts(log: StreamLog) -> list[tuple[float, str, str]]:
    """List what was shown, and when."""
    return [(each.at, each.settled, each.open) for each in log.shown]


def streamser() -> StreamserClient:
    """Let a stream in whose utterances end after 500 ms of silence."""
    client = StreamserClient()
    session = {"models": {"vad": "silero"}, "silence_ms": 500}
    assert client.ready(message(type="session.created", session=session))
    return client


def test_a_partial_of_streamser_is_open_until_its_transcript_comes() -> None:
    """Text settles in the order of the utterances, as it is told."""
    client, log = streamser(), StreamLog()
    client.hear(1.0, message(type=PARTIAL, item_id="a", text="good"), log)
    client.hear(2.0, message(type=PARTIAL, item_id="b", text="how"), log)
    client.hear(3.0, message(type=WORDS, item_id="a", transcript="Good morning."), log)
    client.hear(4.0, message(type=PARTIAL, item_id="a", text="late"), log)
    assert texts(log) == [
        (1.0, "", "good"),
        (2.0, "", "good how"),
        (3.0, "Good morning.", "how"),
    ]


def test_a_final_of_streamser_waits_for_those_before_it() -> None:
    """What stands behind an open utterance is not settled."""
    client, log = streamser(), StreamLog()
    client.hear(1.0, message(type="input_audio_buffer.speech_started", item_id="a"), log)
    client.hear(2.0, message(type=WORDS, item_id="b", transcript="Later."), log)
    assert texts(log) == [(2.0, "", " Later.")]


def test_an_emotion_is_late_by_the_silence_it_waited_for() -> None:
    """Speech ended 160 ms before the utterance did; Silero hears 512 ms of silence for 500."""
    client, log = streamser(), StreamLog(began=10.0)
    stop = message(
        type="input_audio_buffer.speech_stopped", item_id="a", audio_end_ms=2160, reason="pause"
    )
    client.hear(12.5, stop, log)
    client.hear(12.8, message(type="streamser.emotion.completed", item_id="a"), log)
    (final,) = log.readings
    assert final.final
    assert final.lag_s == pytest.approx(0.8)
    assert final.beyond_s == pytest.approx(0.288)


def test_a_reading_while_one_speaks_lags_behind_its_window() -> None:
    """It is not a final, and is dated by the end of what it heard."""
    client, log = streamser(), StreamLog(began=10.0)
    delta = message(type="streamser.emotion.delta", emotion={"window": {"end_ms": 1500}})
    client.hear(11.75, delta, log)
    (reading,) = log.readings
    assert (reading.final, reading.lag_s) == (False, 0.25)


def test_streamser_says_goodbye() -> None:
    """The end of the session is the last message."""
    client, log = streamser(), StreamLog()
    assert not client.hear(1.0, message(type="streamser.mood.updated"), log)
    assert client.hear(2.0, message(type="streamser.session.closed"), log)


def segment(start: float, end: float, text: str, *, completed: bool) -> dict[str, Any]:
    """Word a segment as WhisperLive does."""
    return {"start": f"{start:.3f}", "end": f"{end:.3f}", "text": text, "completed": completed}


def test_completed_segments_of_whisperlive_are_kept() -> None:
    """They are told again and again, at last no more; what is open may be missing for a while."""
    client, log = WhisperLiveClient(), StreamLog()
    one = segment(0, 2, " good morning", completed=True)
    two = segment(2, 4, " how are you", completed=True)
    client.hear(1.0, message(uid="x", segments=[segment(0, 1, " good", completed=False)]), log)
    client.hear(2.0, message(uid="x", segments=[one, segment(2, 3, " how", completed=False)]), log)
    client.hear(2.5, message(uid="x", segments=[one]), log)
    client.hear(3.0, message(uid="x", segments=[one, two]), log)
    client.hear(4.0, message(uid="x", segments=[two]), log)
    client.hear(5.0, message(uid="x", language="en", language_prob=0.9), log)
    assert texts(log) == [
        (1.0, "", " good"),
        (2.0, " good morning", " how"),
        (3.0, " good morning  how are you", ""),
    ]


def test_whisperlive_says_when_it_is_ready() -> None:
    """It asks for PCM16, is ready when its model is loaded, and may have no room."""
    client = WhisperLiveClient()
    assert json.loads(client.hello[0])["audio_format"] == "int16"
    assert client.ready(message(uid="x", message="SERVER_READY", backend="faster_whisper"))
    with pytest.raises(BenchError, match="refused the stream: WAIT 7"):
        client.ready(message(uid="x", status="WAIT", message=7.5))


def test_whisperlivekit_tells_all_of_its_text_each_time() -> None:
    """Lines are settled, silent ones among them left out; its buffer is open."""
    client, log = WhisperLiveKitClient(), StreamLog()
    assert client.ready(message(type="config", useAudioWorklet=True, mode="full"))
    lines = [{"speaker": 1, "text": " Good morning."}, {"speaker": -2, "text": None}]
    front = {"status": "active_transcription", "lines": lines, "buffer_transcription": " how"}
    client.hear(1.0, message(**front), log)
    client.hear(2.0, message(**front, remaining_time_transcription=0.4), log)
    assert texts(log) == [(1.0, " Good morning.", " how")]
    assert client.hear(3.0, message(type="ready_to_stop"), log)


def test_every_server_has_a_client_that_ends_its_stream() -> None:
    """None leaves without a word, which may be an empty message."""
    for name, client in CLIENTS.items():
        assert client().path.startswith("/"), name
        assert client().goodbye is not None, name
