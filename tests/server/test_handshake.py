"""Who comes through the door, by which name, and with which token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.events import AudioFormat
from streamser.server.dialects.commands import (
    Command,
    Configure,
    LanguageSupport,
    Refuse,
    StreamSettings,
)
from streamser.server.dialects.deepgram import DeepgramDialect
from streamser.server.dialects.openai_realtime import RealtimeDialect
from streamser.server.handshake import (
    ConnectRequest,
    Decision,
    Handshake,
    ListenGrant,
    SendGrant,
    Tokens,
    offered_token,
    read_tokens,
)
from streamser.server.limits import Admission, Refusal
from streamser.settings import EndpointingSettings, PartialSettings, ServerSettings

USUAL = StreamSettings(
    format=AudioFormat(type="audio/pcm", rate=24_000),
    endpointing=EndpointingSettings(),
    partial=PartialSettings(),
)
SENDER, LISTENER, BOTH = "s" * 16, "l" * 16, "b" * 16
TOKENS = f"mic send {SENDER}; display listen {LISTENER}; all send,listen {BOTH}"


def tokens(text: str = TOKENS) -> Tokens:
    """Read tokens from an environment."""
    return read_tokens(None, {"STREAMSER_TOKENS": text})


def decide(
    target: str,
    *,
    known: Tokens | None = None,
    origins: tuple[str, ...] = (),
    host: str = "localhost:8377",
    origin: str | None = None,
    authorization: str | None = None,
    subprotocols: tuple[str, ...] = (),
) -> Decision:
    """Decide about a call to a server that is ready."""
    admission = Admission(ServerSettings())
    admission.ready = True
    handshake = Handshake(known or tokens(""), admission, USUAL, origins, ("voice.example",))
    handshake.languages = LanguageSupport("faster-whisper/tiny.en", frozenset({"en"}))
    request = ConnectRequest(target, host, origin, authorization, subprotocols)
    return handshake.decide(request, "visit", "2026-01-01T00:00:00Z")


def code(decision: Decision) -> str | None:
    """Return why a call was refused."""
    return decision.code if isinstance(decision, Refusal) else None


def test_a_path_is_found_behind_slashes_that_say_nothing() -> None:
    """Each leads to its own dialect."""
    for path, dialect in (("//v1/realtime/", RealtimeDialect), ("/v1/listen/", DeepgramDialect)):
        decision = decide(path)
        assert isinstance(decision, SendGrant)
        assert isinstance(decision.dialect, dialect)
    assert isinstance(decide("/v1/events/?all"), ListenGrant)


def test_without_tokens_everybody_on_this_machine_may_do_everything() -> None:
    """The usual case of somebody who tries it."""
    assert isinstance(decide("/v1/realtime?intent=transcription"), SendGrant)
    assert isinstance(decide("/v1/listen"), SendGrant)
    assert isinstance(decide("/v1/events?all"), ListenGrant)


@pytest.mark.parametrize(
    "given",
    [
        {"target": f"/v1/realtime?token={SENDER}"},
        {"authorization": f"Bearer {SENDER}"},
        {"authorization": f"Token {SENDER}"},
        {"subprotocols": ("streamser.v1", f"streamser.token.{SENDER}")},
        {"subprotocols": ("realtime", f"openai-insecure-api-key.{SENDER}")},
        {"subprotocols": ("token", SENDER)},
    ],
)
def test_a_token_may_come_in_any_way_that_clients_have(given: dict[str, str]) -> None:
    """A header, the address, or a subprotocol, where browsers can set nothing else."""
    decision = decide(**{"target": "/v1/realtime", **given}, known=tokens())  # type: ignore[arg-type]
    assert isinstance(decision, SendGrant)
    assert decision.principal.name == "mic"


def test_no_token_and_a_wrong_one_are_refused_alike() -> None:
    """By 401, or 4401 where the socket is open already; the token is not repeated."""
    for target in ("/v1/realtime", "/v1/realtime?token=wrongwrongwrongwrong"):
        decision = decide(target, known=tokens())
        assert isinstance(decision, Refusal)
        assert (decision.status, decision.close_code, decision.code) == (401, 4401, "unauthorized")
        assert "wrongwrong" not in decision.message


@pytest.mark.parametrize(
    ("target", "token"),
    [("/v1/realtime", LISTENER), ("/v1/listen", LISTENER), ("/v1/events?all", SENDER)],
)
def test_a_token_only_opens_what_its_roles_say(target: str, token: str) -> None:
    """Who may listen may not send, and the other way round."""
    decision = decide(target, known=tokens(), authorization=f"Bearer {token}")
    assert code(decision) == "forbidden"
    assert code(decide(target, known=tokens(), authorization=f"Bearer {BOTH}")) is None


@pytest.mark.parametrize(
    ("host", "origin", "why"),
    [
        ("localhost:8377", None, None),
        ("localhost:8377", "http://localhost:8377", None),
        ("voice.example", "https://voice.example", None),
        ("localhost:8377", "https://evil.example", "wrong_origin"),
        ("localhost:8377", "null", "wrong_origin"),
        ("localhost:8377", "http://localhost:9", "wrong_origin"),
        # A page whose host has been pointed at this machine: name and origin agree.
        ("evil.example", "http://evil.example", "wrong_host"),
        ("", None, "wrong_host"),
    ],
)
def test_pages_of_other_sites_may_not_connect(
    host: str, origin: str | None, why: str | None
) -> None:
    """A browser sends its page's origin; without tokens the server's own name counts as well."""
    assert code(decide("/v1/events?all", host=host, origin=origin)) == why


def test_other_origins_can_be_allowed() -> None:
    """By name."""
    allowed = ("https://board.example",)
    assert code(decide("/v1/events?all", origin=allowed[0], origins=allowed)) is None


@pytest.mark.parametrize(
    "target",
    [
        "/v1/events", "/v1/events?all&meeting=x", "/v1/events?meeting=", "/v1/events?all&after=-1",
        "/v1/realtime?rate=1", "/v1/realtime?stream=short", "/v1/listen?encoding=opus",
        "/v1/realtime?stream=0123456789abcdef&after=x", "/v1/listen?channels=2",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_followed_is_refused(target: str) -> None:
    """With 400, or 1008."""
    decision = decide(target)
    assert isinstance(decision, Refusal)
    assert (decision.status, decision.close_code, decision.code) == (400, 1008, "invalid_query")


def test_a_listener_says_what_it_wants() -> None:
    """A meeting, a session or all; some types; after some event."""
    decision = decide("/v1/events?meeting=m&types=streamser.emotion.*,error&after=7")
    assert isinstance(decision, ListenGrant)
    assert decision.interest.meeting == "m"
    assert decision.interest.types == ("streamser.emotion.*", "error")
    assert decision.after == 7


def test_a_deepgram_client_may_name_speaker_and_meeting_too() -> None:
    """In the address, where their library lets one add to it."""
    decision = decide("/v1/listen?encoding=linear16&sample_rate=8000&speaker=Ann&meeting=m")
    assert isinstance(decision, SendGrant)
    assert (decision.asked.speaker, decision.meeting, decision.asked.format.rate) == (
        "Ann",
        "m",
        8000,
    )


def test_there_is_room_until_there_is_none() -> None:
    """In all, and for each token; a listener takes no stream's place."""
    admission = Admission(ServerSettings(max_sessions=3, token_share=0.7, max_listeners=1))
    admission.shares = True
    assert code_of(admission.refuse_stream("a")) == "not_ready"
    admission.ready = True
    admission.enter_stream("a")
    admission.enter_stream("a")
    assert code_of(admission.refuse_stream("a")) == "too_many_sessions_of_token"
    assert code_of(admission.refuse_stream("b")) is None
    admission.enter_stream("b")
    refusal = admission.refuse_stream("c")
    assert refusal is not None
    assert (refusal.status, refusal.close_code, refusal.retry_s) == (503, 1013, 5)
    assert "retry in 5 s" in refusal.reason
    assert code_of(admission.refuse_listener("a")) is None
    admission.enter_listener("b")
    assert code_of(admission.refuse_listener("a")) == "too_many_listeners"
    admission.leave_stream("a")
    assert code_of(admission.refuse_stream("a")) is None
    admission.closing = True
    assert code_of(admission.refuse_stream("a")) == "shutting_down"


def test_who_connects_again_and_again_is_told_to_wait() -> None:
    """Streams and listeners alike: each is a line in the log and an event for everybody."""
    clock = [0.0]
    admission = Admission(ServerSettings(max_sessions=64, max_listeners=256), lambda: clock[0])
    admission.ready = True
    handshake = Handshake(
        tokens(f"mic send,listen {SENDER}\nben send {BOTH}"), admission, USUAL, (), ()
    )

    def connect(path: str, token: str = SENDER) -> str | None:
        return code(
            handshake.decide(ConnectRequest(f"{path}token={token}", "localhost"), "visit", "")
        )

    paths = ("/v1/realtime?", "/v1/events?all&", "/v1/listen?", "/v1/realtime?encoding=mp3&")
    told = [connect(path) for _ in range(400) for path in paths]
    # Everybody may come back twice; who is refused for another reason has not come.
    assert told.count(None) == 2 * (64 + 256)
    assert set(told) == {None, "invalid_query", "too_many_visits"}
    assert connect("/v1/realtime?", BOTH) is None
    clock[0] = 1.0
    assert [connect("/v1/realtime?") for _ in range(100)].count(None) == 20


def code_of(refusal: Refusal | None) -> str | None:
    """Return why there is no room."""
    return None if refusal is None else refusal.code


def test_tokens_come_from_a_file_with_comments(tmp_path: Path) -> None:
    """And from the environment beside it."""
    file = tmp_path / "tokens"
    file.write_text(f"# who  roles  token\nmic send {SENDER}  # in the hall\n\n")
    both = read_tokens(str(file), {"STREAMSER_TOKENS": f"display listen {LISTENER}"})
    assert len(both) == 2
    assert both.principal(SENDER) is not None
    assert both.principal(SENDER[:-1]) is None
    assert both.principal(None) is None


@pytest.mark.parametrize(
    "text",
    [
        f"{SENDER}",
        f"mic write {SENDER}",
        "mic send tooshortatoken",
        f"mic send {SENDER}; again send {SENDER}",
        f"mic send {SENDER} more",
    ],
)
def test_tokens_that_cannot_be_are_refused_without_being_shown(text: str) -> None:
    """The line says where and how, not which token."""
    with pytest.raises(ConfigError) as refused:
        tokens(text)
    assert "STREAMSER_TOKENS, part" in str(refused.value)
    assert SENDER not in str(refused.value)
    assert "tooshort" not in str(refused.value)


def test_a_token_file_must_be_there_and_not_empty(tmp_path: Path) -> None:
    """A server that was to have tokens does not start without."""
    empty = tmp_path / "tokens"
    empty.write_text("# nothing yet\n")
    for path in (str(empty), str(tmp_path / "none"), str(tmp_path)):
        with pytest.raises(ConfigError, match="token_file"):
            read_tokens(path, {})


def test_a_token_is_not_found_where_none_is() -> None:
    """An empty header and other schemes are no token."""
    assert offered_token("Basic abc", {}, ()) is None
    assert offered_token("", {"token": [""]}, ("streamser.v1",)) == ""


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/listen"])
def test_a_language_that_is_not_known_is_refused_at_the_door(path: str) -> None:
    """Both dialects, with a code of its own; the region of one that is known does not matter."""
    refused = decide(f"{path}?language=de")
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.close_code) == ("unsupported_language", 1008)
    assert "knows only English" in refused.message
    let_in = decide(f"{path}?language=en-GB")
    assert isinstance(let_in, SendGrant)
    assert let_in.asked.language == "en"


ANN = "a" * 16
GUEST = "g" * 16
BOUND = f"ann send meeting=all%20hands speaker=Ann {ANN}; guest listen meeting=all%20hands {GUEST}"


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/listen"])
@pytest.mark.parametrize("asked", ["", "&meeting=all++hands&speaker=Ann"])
def test_a_token_for_one_meeting_and_speaker_names_both(path: str, asked: str) -> None:
    """Whether the client says so or not."""
    decision = decide(f"{path}?token={ANN}{asked}", known=tokens(BOUND))
    assert isinstance(decision, SendGrant)
    assert (decision.meeting, decision.asked.speaker) == ("all hands", "Ann")


@pytest.mark.parametrize(
    "target",
    [
        f"/v1/realtime?token={ANN}&meeting=board",
        f"/v1/realtime?token={ANN}&speaker=Ben",
        f"/v1/listen?token={ANN}&speaker=Ben",
        f"/v1/events?token={GUEST}&all",
        f"/v1/events?token={GUEST}&meeting=all+hands&all",
        f"/v1/events?token={GUEST}&session=sess_1",
        f"/v1/events?token={GUEST}&meeting=board",
        f"/v1/realtime?token={GUEST}",
    ],
)
def test_a_token_for_one_meeting_opens_no_other(target: str) -> None:
    """Nor a session that may be of another, nor all of them."""
    assert code(decide(target, known=tokens(BOUND))) == "forbidden"


@pytest.mark.parametrize("asked", ["", "&meeting=all%20hands"])
def test_a_listener_of_one_meeting_hears_that(asked: str) -> None:
    """It need not say which."""
    decision = decide(f"/v1/events?token={GUEST}{asked}", known=tokens(BOUND))
    assert isinstance(decision, ListenGrant)
    assert decision.interest.meeting == "all hands"


@pytest.mark.parametrize("name", ["Ben", None])
def test_a_token_for_one_speaker_stays_that_one(name: str | None) -> None:
    """An update to another name is refused, and changes nothing; its own is none."""
    decision = decide(f"/v1/realtime?token={ANN}", known=tokens(BOUND))
    assert isinstance(decision, SendGrant)

    def rename(speaker: str | None) -> Command:
        own = {"type": "session.update", "session": {"streamser": {"speaker": speaker}}}
        (action,) = decision.dialect.receive(json.dumps(own))
        return action

    refused = rename(name)
    assert isinstance(refused, Refuse)
    assert (refused.error.code, refused.error.param) == ("forbidden", "session.streamser.speaker")
    kept = rename("Ann")
    assert isinstance(kept, Configure)
    assert kept.settings.speaker == "Ann"


@pytest.mark.parametrize(
    "bound",
    ["meeting=", "room=hall", "meeting=a meeting=b", f"meeting={'m' * 81}", "meeting=%0a"],
)
def test_a_token_that_is_bound_to_nothing_that_is_known_is_refused(bound: str) -> None:
    """A typing error must not make a token for all meetings."""
    with pytest.raises(ConfigError, match="STREAMSER_TOKENS, part 1") as refused:
        tokens(f"ann send {bound} {ANN}")
    assert ANN not in str(refused.value)


@pytest.mark.parametrize("bound", ["meeting=hall", "speaker=Ann"])
def test_metrics_are_for_no_meeting_and_no_speaker(bound: str) -> None:
    """They tell of all: such a line would promise what it does not keep."""
    for roles in ("metrics", "send,listen,metrics"):
        with pytest.raises(ConfigError, match=r"part 1: metrics tell of everybody.*without"):
            tokens(f"ann {roles} {bound} {ANN}")


def test_a_comment_begins_with_a_word() -> None:
    """A sign within a token is a part of it."""
    secret = "0123#456789abcdef"
    known = tokens(f"mic send {secret} # the hall's")
    assert known.principal(secret) is not None
    assert known.principal(secret.partition("#")[0]) is None


def test_metrics_have_a_role_of_their_own() -> None:
    """Which opens nothing else; who may listen everywhere may read them too."""
    known = tokens(f"grafana metrics {ANN}; guest listen meeting=hall {GUEST}; all listen {BOTH}")
    handshake = Handshake(known, Admission(ServerSettings()), USUAL, (), ())

    def opens(token: str, path: str) -> bool:
        return not isinstance(
            handshake.authenticate(ConnectRequest(f"{path}?token={token}", "localhost")), Refusal
        )

    assert [opens(token, "/metrics") for token in (ANN, GUEST, BOTH)] == [True, False, True]
    for path in ("/v1/events", "/v1/meetings", "/v1/realtime"):
        assert not opens(ANN, path)
