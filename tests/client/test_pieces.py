"""The small pure parts of the client: addresses, patience, verdicts, sound."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.client.connection import (
    ReconnectBackoff,
    Reconnector,
    RetryTiming,
    judge_close,
    judge_status,
)
from streamser.client.resend import AudioBuffer
from streamser.client.wire import (
    EVENTS,
    REALTIME,
    ConnectionLost,
    Envelope,
    Route,
    ServerError,
    SoundFormat,
    endpoint,
    page_url,
    read_event,
    redacted,
)
from streamser.events import ErrorBody


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://127.0.0.1:8377", "ws://127.0.0.1:8377/v1/realtime?rate=16000"),
        ("http://localhost:8377/", "ws://localhost:8377/v1/realtime?rate=16000"),
        ("https://example.org", "wss://example.org/v1/realtime?rate=16000"),
        ("wss://[::1]:9/v1/realtime", "wss://[::1]:9/v1/realtime?rate=16000"),
        ("ws://h/v1/events/", "ws://h/v1/realtime?rate=16000"),
        ("https://h/voice/", "wss://h/voice/v1/realtime?rate=16000"),
        ("ws://h/a/voice/v1/realtime/", "ws://h/a/voice/v1/realtime?rate=16000"),
        ("ws://h/rt?key=a%20b&rate=8000", "ws://h/rt/v1/realtime?key=a+b&rate=16000"),
    ],
)
def test_a_server_is_found_by_whatever_address_it_has(url: str, expected: str) -> None:
    """The endpoint goes behind the path of a proxy before it; its own query stays."""
    assert endpoint(url, REALTIME, {"rate": "16000", "speaker": None}) == expected


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8377", "ftp://host", "ws://", "ws://h:99999", "x", "ws://[::1", "ws://a..b"],
)
def test_what_is_no_address_is_told(url: str) -> None:
    """With an example of one."""
    with pytest.raises(ServerError, match="ws://127") as raised:
        endpoint(url, EVENTS, {})
    assert raised.value.code == "invalid_url"


def test_secrets_are_not_shown() -> None:
    """Neither tokens nor passwords get into messages."""
    assert redacted("wss://me:pass@host:9/v1/realtime?token=t#f") == "wss://host:9/v1/realtime"
    assert "pass" not in redacted("wss://me:p/pass@host")
    assert "pass" not in redacted("ws://me:pass@[::1")


@pytest.mark.parametrize(
    "url", ["me:secret@host", "ws://me:secret?@host:x", "h?token=secret", "ws://h:x#secret"]
)
def test_an_address_that_is_none_is_not_repeated_with_its_secrets(url: str) -> None:
    """However it is broken."""
    with pytest.raises(ServerError) as raised:
        endpoint(url, EVENTS, {})
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("token", ["", "two words", "ümlaut", "line\nbreak"])
def test_what_cannot_be_a_token_is_told_and_not_shown(token: str) -> None:
    """It would break the headers of the request."""
    with pytest.raises(ServerError, match="no token") as raised:
        Reconnector(
            "ws://h", token, Route(), resume=True, give_up_s=1, tell=None, timing=RetryTiming()
        )
    assert not token or token not in str(raised.value)


def test_waits_double_up_to_a_bound_and_come_to_an_end() -> None:
    """Several tries fall into the time for which a server holds a stream."""
    backoff = ReconnectBackoff(12.0, lambda: 0.0)
    now, waits = 100.0, []
    while (wait := backoff.next_wait_s(now)) is not None:
        waits.append(wait)
        now += wait
    assert waits == [0.25, 0.5, 1.0, 2.0, 5.0 * 0.8]
    assert backoff.next_wait_s(now) is None


def test_a_connection_that_lasts_ends_the_outage() -> None:
    """One that breaks at once does not: who is thrown out each time must give up some day."""
    backoff = ReconnectBackoff(120.0, lambda: 0.0)
    backoff.next_wait_s(0.0)
    backoff.connected(1.0)
    assert backoff.next_wait_s(2.0) == 0.5
    backoff.connected(3.0)
    assert backoff.next_wait_s(13.0) == 0.25


@given(st.floats(0, 0.999), st.integers(0, 50))
def test_chance_only_shortens_a_wait_by_half(chance: float, tries: int) -> None:
    """But what a server asks for is the least."""
    backoff = ReconnectBackoff(1e9, lambda: chance)
    for _ in range(tries):
        backoff.next_wait_s(0.0)
    wait = backoff.next_wait_s(0.0)
    assert wait is not None
    assert min(5.0, 0.25 * 2**tries) / 2 <= wait <= 5.0
    asked = backoff.next_wait_s(0.0, retry_after=30.0)
    assert asked is not None
    assert 30.0 <= asked <= 33.0


@pytest.mark.parametrize("code", [1001, 1005, 1006, 1011, 1012, 1013, 1015])
def test_codes_that_pass(code: int) -> None:
    """The server, or the way to it, will be better soon."""
    assert isinstance(judge_close(code, "", None, "ws://h"), ConnectionLost)


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 4401, 4403, 4408, 4999])
def test_codes_that_stay(code: int) -> None:
    """Trying again would meet the same; the line says where and why."""
    verdict = judge_close(code, "the reason", None, "ws://h")
    assert isinstance(verdict, ServerError)
    assert "ws://h" in str(verdict)
    assert "the reason" in str(verdict)


@pytest.mark.parametrize("reason", ["idle_timeout", "session_expired"])
def test_a_stream_that_reached_a_limit_says_which(reason: str) -> None:
    """By its code, so that a program may begin another; without a reason it is any fault."""
    verdict = judge_close(4408, reason, None, "ws://h")
    assert isinstance(verdict, ServerError)
    assert verdict.code == reason
    assert getattr(judge_close(4408, "", None, "ws://h"), "code", None) == "server_error"


def test_a_plain_end_is_no_fault() -> None:
    """1000 is how a stream ends."""
    assert judge_close(1000, "", None, "ws://h") is None


def test_a_full_server_says_when_to_come_back() -> None:
    """In the reason of its close frame, or in a header."""
    closed = judge_close(1013, "too_many_sessions; retry in 5 s", None, "ws://h")
    assert isinstance(closed, ConnectionLost)
    assert closed.retry_after == 5.0
    answered = judge_status(503, "12", b"not JSON", "ws://h")
    assert isinstance(answered, ConnectionLost)
    assert answered.retry_after == 12.0


@pytest.mark.parametrize(
    ("status", "code"),
    [(301, "invalid_url"), *((each, "server_error") for each in (400, 401, 403, 404, 426))],
)
def test_answers_that_stay(status: int, code: str) -> None:
    """They are told with what to do."""
    verdict = judge_status(status, None, b"", "ws://h")
    assert isinstance(verdict, ServerError)
    assert verdict.code == code


def test_the_servers_own_words_win() -> None:
    """It knows best what is wrong."""
    body = b'{"error":{"type":"invalid_request_error","code":"no_role","message":"not yours"}}'
    verdict = judge_status(403, None, body, "ws://h")
    assert str(verdict) == "ws://h: not yours"
    assert isinstance(verdict, ServerError)
    assert verdict.code == "no_role"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://h:8377", "http://h:8377/"),
        ("https://h/voice/v1/realtime?token=t", "https://h/voice/"),
        ("wss://me:pass@h/#x", "https://h/"),
    ],
)
def test_the_page_of_a_server_is_found_from_whatever_it_is_called(url: str, expected: str) -> None:
    """What stands there is for everybody: no secret goes with its address."""
    assert page_url(url) == expected


@pytest.mark.parametrize("said", ["the token is not known here", "it wants one; header `Bearer …`"])
def test_a_token_that_is_not_known_is_told_with_how_to_give_another(said: str) -> None:
    """Of this program; how the protocol has it is for programs."""
    error = ErrorBody(type="invalid_request_error", code="unauthorized", message=said)
    verdict = judge_status(401, None, msgspec.json.encode({"error": error}), "ws://h")
    assert str(verdict).startswith(f"ws://h: {said.partition(';')[0]}: give the right one (--token")
    assert "Bearer" not in str(verdict)


def test_a_token_that_was_taken_away_is_no_broken_rule() -> None:
    """The operator has taken its line out of the file while the stream went on."""
    verdict = judge_close(1008, "unauthorized", None, "ws://h")
    assert isinstance(verdict, ServerError)
    assert verdict.code == "unauthorized"
    assert "does not take our token any more" in str(verdict)
    assert "--token" in str(verdict)


def test_16_bit_sound_comes_through_unchanged() -> None:
    """Every value of a 16-bit file is sent as it was."""
    values = np.arange(-32768, 32768, dtype=np.int32)
    (raw,) = [b"".join(SoundFormat().pieces((values / 32768).astype(np.float32)))]
    assert np.array_equal(np.frombuffer(raw, "<i2"), values)


def test_samples_that_are_none_are_silence_and_loud_ones_are_clipped() -> None:
    """A driver's fault must not become a bang."""
    samples = np.array([np.nan, 2.0, -2.0, np.inf, 0.5], np.float32)
    raw = b"".join(SoundFormat(48_000, "f32le").pieces(samples))
    assert np.frombuffer(raw, "<f4").tolist() == [0.0, 1.0, -1.0, 1.0, 0.5]


def test_sound_is_cut_into_quarters_of_a_second() -> None:
    """However it comes."""
    assert [len(piece) for piece in SoundFormat(8000).pieces(bytes(9000))] == [4000, 4000, 1000]


@pytest.mark.parametrize(
    ("rate", "encoding"), [(7999, "s16le"), (192_001, "s16le"), (16_000, "pcmu"), (16_000, "mp3")]
)
def test_sound_that_no_server_takes_is_refused(rate: int, encoding: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match=r"rate|unknown"):
        SoundFormat(rate, encoding)  # type: ignore[arg-type]


@pytest.mark.parametrize("chunk", [b"odd", np.zeros((2, 2), np.float32), np.zeros(4, np.int16)])
def test_chunks_of_another_shape_are_refused(chunk: object) -> None:
    """A slip must not become noise."""
    with pytest.raises(ValueError, match=r"whole|expected"):
        list(SoundFormat().pieces(chunk))  # type: ignore[arg-type]


def test_a_tape_gives_silence_for_what_it_let_go() -> None:
    """So that places stay true."""
    tape = AudioBuffer(b"\xff")
    tape.append(bytes(range(10)))
    tape.forget(4)
    assert (tape.start, tape.end) == (4, 10)
    assert tape.read(2, 6) == b"\xff\xff\x04\x05"
    assert tape.read(8, 10) == b"\x08\x09"
    tape.forget(99)
    assert (tape.start, tape.end) == (10, 10)


def test_of_an_unknown_event_the_envelope_is_read() -> None:
    """Newer servers may say more."""
    assert read_event('{"type": "new", "session_id": "s", "seq": 3}') == Envelope("s", 3, 0)


@pytest.mark.parametrize(
    "message", ["", b"\xff", "\ud800", '{"x":' + "[" * 100_000, '{"seq": "a"}']
)
def test_what_is_no_event_ends_nothing(message: bytes | str) -> None:
    """Whatever a server says, its client goes on."""
    assert read_event(message) is None


def test_a_refusal_may_say_anything_at_all() -> None:
    """Its status says enough."""
    assert isinstance(
        judge_status(503, "nan", b'{"error":' + b"[" * 100_000, "ws://h"), ConnectionLost
    )
