"""Who comes through the door: path, origin, token, role, room; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

import msgspec

from streamser.errors import ConfigError
from streamser.server.actions import ANY_TONGUE, Dialect, StreamSettings
from streamser.server.admission import Admission, Refusal
from streamser.server.auth import Principal, Tokens, offered_token
from streamser.server.deepgram import DeepgramDialect, parse_listen
from streamser.server.hub import Interest
from streamser.server.listener import parse_events
from streamser.server.realtime import RealtimeDialect, parse_realtime
from streamser.text import read_name

__all__ = ["SOCKETS", "Call", "Gate", "Listening", "Sending", "Visit"]

SOCKETS: Final = ("/v1/realtime", "/v1/events", "/v1/listen")
_SENDING: Final = ("/v1/realtime", "/v1/listen")
_METRICS: Final = "/metrics"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_STREAM: Final = (16, 128)


class Call(msgspec.Struct, frozen=True):
    """Hold what a client brings along when it connects."""

    target: str
    host: str | None = None
    origin: str | None = None
    authorization: str | None = None
    subprotocols: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Return the path alone, without slashes that say nothing."""
        # A server's address that ends in a slash gets a path that begins with one.
        return "/" + "/".join(part for part in self.target.partition("?")[0].split("/") if part)

    @property
    def query(self) -> dict[str, list[str]]:
        """Return the query, also parameters without a value."""
        query = _readable(self.target.partition("?")[2])
        return parse_qs(query, keep_blank_values=True, max_num_fields=100)


class Sending(msgspec.Struct, frozen=True, eq=False):
    """Let a client send; ``secret`` names a stream that may be resumed after event ``after``."""

    principal: Principal
    dialect: Dialect
    asked: StreamSettings
    meeting: str | None
    secret: str | None
    after: int


class Listening(msgspec.Struct, frozen=True):
    """Let a client listen."""

    principal: Principal
    interest: Interest
    after: int | None


Visit: TypeAlias = Sending | Listening | Refusal


class Gate:
    """Decide about each call; tokens are compared in constant time and never shown.

    ``hosts`` are the names under which the server may be called where no token is asked for:
    without that, a page that renames its own host to this machine's could connect.
    """

    def __init__(
        self,
        tokens: Tokens,
        admission: Admission,
        usual: StreamSettings,
        origins: tuple[str, ...],
        hosts: tuple[str, ...],
    ) -> None:
        self.tokens = tokens
        """May be others later."""
        self._admission = admission
        self._usual = usual
        self._origins = origins
        self._hosts = (*_LOOPBACK, *hosts)
        self.tongues = ANY_TONGUE
        """What may be asked for; known once the models are loaded."""

    def decide(self, call: Call, visit_id: str, now: str) -> Visit:
        """Say what a call may do; ``visit_id`` and ``now`` (ISO 8601) are told to the client."""
        principal = self.admit(call)
        if isinstance(principal, Refusal):
            return principal
        visit = self._receive(call, principal, visit_id, now)
        return visit.of(principal.name) if isinstance(visit, Refusal) else visit

    def _receive(self, call: Call, principal: Principal, visit_id: str, now: str) -> Visit:
        query = call.query
        try:
            if call.path in _SENDING:
                visit = self._let_send(call.path, query, principal, visit_id, now)
            else:
                visit = self._let_listen(query, principal)
        except ConfigError as error:
            return _unusable(str(error), error.code)
        if isinstance(visit, Refusal):
            return visit
        return self._admission.refuse_visit(principal.name) or visit

    def admit(self, call: Call) -> Principal | Refusal:
        """Say who calls, by name of the server, origin and token; or why they may not."""
        if (stranger := self._judge_origin(call)) is not None:
            return stranger
        try:
            query = call.query
        except ValueError:
            return _unusable("the address has too many parameters")
        token = offered_token(call.authorization, query, call.subprotocols)
        principal = self.tokens.principal(token)
        if principal is None:
            hint = "give a token: header `Authorization: Bearer …`, `?token=`, or a subprotocol"
            wrong = "the token is not known here" if token else f"this server wants a token; {hint}"
            return Refusal(401, 4401, "unauthorized", wrong)
        if call.path == _METRICS:
            # They tell of all meetings together.
            everywhere = "listen" in principal.roles and principal.meeting is None
            if not everywhere and "metrics" not in principal.roles:
                message = f"the token of {principal.name!r} may not read the metrics"
                return _forbidden(message).of(principal.name)
            return principal
        role: Literal["send", "listen"] = "send" if call.path in _SENDING else "listen"
        if role not in principal.roles:
            message = f"the token of {principal.name!r} may not {role}"
            return _forbidden(message).of(principal.name)
        return principal

    def _let_listen(self, query: dict[str, list[str]], principal: Principal) -> Visit:
        if (stranger := _judge_interest(query, principal)) is not None:
            return stranger
        if principal.meeting is not None:
            query["meeting"] = [principal.meeting]
        interest, after = parse_events(query)
        full = self._admission.refuse_listener(principal.name)
        return full or Listening(principal, interest, after)

    def _let_send(
        self,
        path: str,
        query: Mapping[str, list[str]],
        principal: Principal,
        visit_id: str,
        now: str,
    ) -> Visit:
        if (stranger := _judge_names(query, principal)) is not None:
            return stranger
        own = {"meeting": principal.meeting, "speaker": principal.speaker}
        query = {**query, **{key: [name] for key, name in own.items() if name is not None}}
        if path == "/v1/listen":
            options = parse_listen(query, self._usual, self.tongues)
            settings, meeting = parse_realtime(
                {key: query[key] for key in ("speaker", "meeting") if key in query},
                options.settings,
            )
            dialect = DeepgramDialect(visit_id, now, options)
            return Sending(principal, dialect, settings, meeting, None, 0)
        settings, meeting = parse_realtime(query, self._usual, self.tongues)
        secret, after = None, 0
        if query.get("stream"):
            secret = query["stream"][-1]
            if not _STREAM[0] <= len(secret) <= _STREAM[1]:
                raise ConfigError(f"stream: a secret of {_STREAM[0]} to {_STREAM[1]} characters")
            text = query.get("after", ["0"])[-1] or "0"
            if not (text.isascii() and text.isdigit() and len(text) <= 16):
                raise ConfigError(f"after is the number of an event, not {text[:40]!r}")
            after = int(text)
        spoken = RealtimeDialect(settings, self.tongues, renames=principal.speaker is None)
        return Sending(principal, spoken, settings, meeting, secret, after)

    def judge_host(self, call: Call) -> Refusal | None:
        """Return why a call by this name of the server is not answered, if it is not."""
        name = _name_of(call.host or "")
        if not len(self.tokens) and name not in self._hosts and "*" not in self._hosts:
            called = _readable(name[:80])
            message = (
                f"this server is not called {called!r}: add https://{called} (or http://) to"
                " server.origins"
            )
            return Refusal(403, 4403, "wrong_host", message)
        return None

    def _judge_origin(self, call: Call) -> Refusal | None:
        if (stranger := self.judge_host(call)) is not None:
            return stranger
        origin = call.origin
        if origin is None or origin in self._origins or "*" in self._origins:
            return None
        # An origin is a scheme and a host, and nothing behind.
        if call.host and origin.partition("://")[2] == call.host:
            return None
        message = f"pages of {_readable(origin[:80])} may not connect: add it to server.origins"
        return Refusal(403, 4403, "wrong_origin", message)


def _readable(text: str) -> str:
    """Return a part of a request's head as text: UTF-8, whatever HTTP says about it.

    Bytes that are not ASCII come as halves of surrogate pairs, which cannot be sent on.
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _judge_names(query: Mapping[str, list[str]], principal: Principal) -> Refusal | None:
    """Return why a bound token may not go by the names that its client gives, if it may not."""
    for key, own in (("meeting", principal.meeting), ("speaker", principal.speaker)):
        if own is None or not query.get(key) or read_name(query[key][-1], key) == own:
            continue
        return _forbidden(f"the token of {principal.name!r} is for the {key} {own!r} alone")
    return None


def _judge_interest(query: Mapping[str, list[str]], principal: Principal) -> Refusal | None:
    """Return why a bound token may not listen to what its client wants, if it may not."""
    if principal.meeting is None:
        return None
    if "all" in query or "session" in query:
        only = f"is for meeting={principal.meeting!r} alone, neither for all nor for a session"
        return _forbidden(f"the token of {principal.name!r} {only}")
    return _judge_names({"meeting": query.get("meeting", [])}, principal)


def _forbidden(message: str) -> Refusal:
    return Refusal(403, 4403, "forbidden", message)


def _unusable(message: str, code: str = ConfigError.code) -> Refusal:
    # A setting that does not fit is the client's here, and stands in its query.
    code = "invalid_query" if code == ConfigError.code else code
    return Refusal(400, 1008, code, message)
