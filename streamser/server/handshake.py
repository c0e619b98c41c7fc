"""Who may come in: by tokens, names, origins."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from streamser.errors import ConfigError
from streamser.server.dialects.commands import (
    ANY_LANGUAGE,
    Dialect,
    Interest,
    StreamSettings,
    parse_events,
    read_after,
)
from streamser.server.dialects.deepgram import DeepgramDialect, parse_listen
from streamser.server.dialects.openai_realtime import RealtimeDialect, parse_realtime
from streamser.server.dialects.oruk import ORUK, OrukDialect, PhraseSettings, phrase_stream
from streamser.server.limits import Admission, Refusal
from streamser.text import read_name

ENVIRONMENT: Final = "STREAMSER_TOKENS"
_ROLES: Final = frozenset({"send", "listen", "metrics"})
_BINDINGS: Final = ("meeting", "speaker")
_SHORTEST: Final = 16
_SUBPROTOCOLS: Final = ("streamser.token.", "openai-insecure-api-key.")
_BEARER: Final = re.compile(r"(?:bearer|token)\s+(\S+)", re.IGNORECASE)

INGEST: Final = {"/v1/ingest/attendee": "attendee", "/v1/ingest/recall": "recall"}
"""Where meeting bots send, and what they are."""
SOCKETS: Final = ("/v1/realtime", "/v1/events", "/v1/listen", *INGEST)
_SENDING: Final = ("/v1/realtime", "/v1/listen", *INGEST)
REST: Final = ("/v1/audio/transcriptions", "/v1/models")
_METRICS: Final = "/metrics"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_STREAM: Final = (16, 128)
_OF_BOTS: Final[tuple[str, ...]] = ("meeting", "language", "speakers")


class Principal(msgspec.Struct, frozen=True):
    """Name who connects, and what they may do: ``"send"``, ``"listen"``, ``"metrics"``.

    With a ``meeting`` only there, with a ``speaker`` only as that one.
    """

    name: str
    roles: frozenset[str]
    meeting: str | None = None
    speaker: str | None = None


ANYBODY: Final = Principal("anybody", _ROLES)


class Tokens:
    """Know the tokens of a server; without any, everybody may do everything.

    Never shows a token: not in ``repr``, not in errors.
    """

    def __init__(self, known: Mapping[str, Principal]) -> None:
        self._known = {_bytes(token): principal for token, principal in known.items()}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def owners(self) -> int:
        """Return how many names the tokens have."""
        return len({principal.name for principal in self._known.values()})

    def knows(self, principal: Principal) -> bool:
        """Return whether a token of this very principal is there, or none is asked for."""
        return not self._known or any(each is principal for each in self._known.values())

    def instead_of(self, before: Tokens) -> Tokens:
        """Return these tokens, with the principals that ``before`` has for those it has too."""
        renewed = Tokens({})
        renewed._known = {
            token: old if (old := before._known.get(token, principal)) == principal else principal
            for token, principal in self._known.items()
        }
        return renewed

    def principal(self, token: str | None) -> Principal | None:
        """Return whose token it is, in a time that tells nothing about the tokens."""
        if not self._known:
            return ANYBODY
        given, found = _bytes(token or ""), None
        for known, principal in self._known.items():
            if same_secret(known, given):
                found = principal
        return found


def read_tokens(path: str | None, environ: Mapping[str, str]) -> Tokens:
    """Read the tokens of a file and of ``STREAMSER_TOKENS``.

    A line, or a part between semicolons in the environment, is a name, the roles with a comma
    between, ``meeting=`` and ``speaker=`` where it is for one of them alone, and the token;
    ``#`` begins a comment. Names are written as in a URL: ``all%20hands``. Raises
    ``ConfigError``, never with a token.
    """
    lines: list[tuple[str, str]] = []
    if path is not None:
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise ConfigError(f"server.token_file {path}: {why}.") from None
        lines += [(f"{path}, line {n}", line) for n, line in enumerate(text.splitlines(), 1)]
    inline = environ.get(ENVIRONMENT, "").replace("\n", ";").split(";")
    lines += [(f"{ENVIRONMENT}, part {n}", line) for n, line in enumerate(inline, 1)]
    known: dict[str, Principal] = {}
    for place, line in lines:
        words = list(takewhile(lambda word: not word.startswith("#"), line.split()))
        if words:
            token, principal = _read_line(place, words)
            if token in known:
                raise ConfigError(f"{place}: this token is there already.")
            known[token] = principal
    if path is not None and not known:
        raise ConfigError(f"server.token_file {path}: there is no token in it.")
    return Tokens(known)


def offered_token(
    authorization: str | None, query: Mapping[str, list[str]], subprotocols: Iterable[str]
) -> str | None:
    """Return the token that a client has given: by header, query or subprotocol."""
    match = _BEARER.fullmatch((authorization or "").strip())
    if match:
        return match[1]
    if query.get("token"):
        return query["token"][-1]
    offered = list(subprotocols)
    for name in offered:
        for prefix in _SUBPROTOCOLS:
            if name.startswith(prefix):
                return name.removeprefix(prefix)
    # Deepgram's browser clients offer the word and the token as two subprotocols.
    if len(offered) == 2 and offered[0] in ("token", "bearer"):
        return offered[1]
    return None


def same_secret(known: str | bytes, given: str | bytes) -> bool:
    """Compare two secrets in a time that tells nothing about them but their length."""
    one, other = (each if isinstance(each, bytes) else _bytes(each) for each in (known, given))
    return hmac.compare_digest(one, other)


def _bytes(token: str) -> bytes:
    # Headers and the environment may hold any bytes, which come as halves of surrogate pairs.
    return token.encode("utf-8", "surrogateescape")


def _read_line(place: str, words: list[str]) -> tuple[str, Principal]:
    pairs = [word.partition("=")[::2] for word in words[2:-1]]
    given = dict(pairs)
    if len(words) < 3 or len(given) < len(pairs) or not given.keys() <= set(_BINDINGS):
        raise ConfigError(
            f"{place}: expected a name, roles and a token with spaces between, such as"
            f" `display listen TOKEN` or `ann send meeting=all%20hands speaker=Ann TOKEN`: the"
            f" token last, before it meeting= and speaker= alone, a space in a name as %20."
        )
    name, roles, token = words[0], frozenset(words[1].split(",")), words[-1]
    if not roles <= _ROLES:
        raise ConfigError(f"{place}: roles are send, listen and metrics, with commas between.")
    if given and "metrics" in roles:
        raise ConfigError(
            f"{place}: metrics tell of everybody: give that role a line without meeting= and"
            " speaker=."
        )
    if len(token) < _SHORTEST:
        raise ConfigError(f"{place}: a token needs {_SHORTEST} characters or more.")
    try:
        names = {key: read_name(unquote(value), key) for key, value in given.items()}
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}.") from None
    return token, Principal(name, roles, names.get("meeting"), names.get("speaker"))


class ConnectRequest(msgspec.Struct, frozen=True):
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


class SendGrant(msgspec.Struct, frozen=True, eq=False):
    """Let a client send; ``secret`` names a stream that may be resumed after event ``after``.

    Where it is not known here, its sound goes on at ``at_ms``.
    """

    principal: Principal
    dialect: Dialect
    asked: StreamSettings
    meeting: str | None
    secret: str | None
    after: int
    at_ms: int = 0


class ListenGrant(msgspec.Struct, frozen=True):
    """Let a client listen."""

    principal: Principal
    interest: Interest
    after: int | None


class IngestGrant(msgspec.Struct, frozen=True, eq=False):
    """Let a meeting bot send; each participant is set up as ``asked``."""

    principal: Principal
    kind: str
    asked: StreamSettings
    meeting: str | None
    secret: None = None


Grant: TypeAlias = SendGrant | ListenGrant | IngestGrant
Decision: TypeAlias = Grant | Refusal


class Handshake:
    """Decide about each request to connect; tokens are compared in constant time and never shown.

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
        self.languages = ANY_LANGUAGE
        """What may be asked for; known once the models are loaded."""

    def decide(self, request: ConnectRequest, request_id: str, now: str) -> Decision:
        """Say what a request gets; ``request_id`` and ``now`` (ISO 8601) are told to the client."""
        principal = self.authenticate(request)
        if isinstance(principal, Refusal):
            return principal
        decision = self._authorize(request, principal, request_id, now)
        return decision.of(principal.name) if isinstance(decision, Refusal) else decision

    def _authorize(
        self, request: ConnectRequest, principal: Principal, request_id: str, now: str
    ) -> Decision:
        query = request.query
        try:
            if request.path in _SENDING:
                decision = self._let_send(request, query, principal, request_id, now)
            else:
                decision = self._let_listen(query, principal)
        except ConfigError as error:
            return _unusable(str(error), error.code)
        if isinstance(decision, Refusal):
            return decision
        return self._admission.refuse_visit(principal.name) or decision

    def authenticate(self, request: ConnectRequest) -> Principal | Refusal:
        """Say who calls, by name of the server, origin and token; or why they may not."""
        if (stranger := self.check_origin(request)) is not None:
            return stranger
        try:
            query = request.query
        except ValueError:
            return _unusable("the address has too many parameters")
        token = offered_token(request.authorization, query, request.subprotocols)
        principal = self.tokens.principal(token)
        if principal is None:
            hint = "give a token: header `Authorization: Bearer …`, `?token=`, or a subprotocol"
            wrong = "the token is not known here" if token else f"this server wants a token; {hint}"
            return Refusal(401, 4401, "unauthorized", wrong)
        if request.path == _METRICS:
            # They tell of all meetings together.
            everywhere = "listen" in principal.roles and principal.meeting is None
            if not everywhere and "metrics" not in principal.roles:
                message = f"the token of {principal.name!r} may not read the metrics"
                return _forbidden(message).of(principal.name)
            return principal
        sends = request.path in _SENDING or request.path.startswith(REST)
        role: Literal["send", "listen"] = "send" if sends else "listen"
        if role not in principal.roles:
            message = f"the token of {principal.name!r} may not {role}"
            return _forbidden(message).of(principal.name)
        return principal

    def _let_listen(self, query: dict[str, list[str]], principal: Principal) -> Decision:
        if (stranger := _check_interest(query, principal)) is not None:
            return stranger
        if principal.meeting is not None:
            query["meeting"] = [principal.meeting]
        interest, after = parse_events(query)
        full = self._admission.refuse_listener(principal.name)
        return full or ListenGrant(principal, interest, after)

    def _let_send(
        self,
        request: ConnectRequest,
        query: Mapping[str, list[str]],
        principal: Principal,
        request_id: str,
        now: str,
    ) -> Decision:
        if (stranger := _check_names(query, principal)) is not None:
            return stranger
        own = {"meeting": principal.meeting, "speaker": principal.speaker}
        query = {**query, **{key: [name] for key, name in own.items() if name is not None}}
        if request.path == "/v1/listen":
            options = parse_listen(query, self._usual, self.languages)
            settings, meeting = parse_realtime(
                {key: query[key] for key in ("speaker", "meeting") if key in query},
                options.settings,
            )
            deepgram = DeepgramDialect(request_id, now, options)
            return SendGrant(principal, deepgram, settings, meeting, None, 0)
        if request.path in INGEST:
            if query.get("speaker"):
                return _forbidden("a bot sends everybody's sound: it is no single speaker's")
            known = {key: query[key] for key in _OF_BOTS if key in query}
            settings, meeting = parse_realtime(known, self._usual, self.languages)
            return IngestGrant(principal, INGEST[request.path], settings, meeting)
        settings, meeting = parse_realtime(query, self._usual, self.languages)
        if ORUK in request.subprotocols:
            usual = phrase_stream(settings, PhraseSettings(settings.language), self.languages)
            oruk = OrukDialect(request_id, usual, self.languages)
            return SendGrant(principal, oruk, usual, meeting, None, 0)
        secret, after, at_ms = None, 0, 0
        if query.get("stream"):
            secret = query["stream"][-1]
            if not _STREAM[0] <= len(secret) <= _STREAM[1]:
                raise ConfigError(f"stream: a secret of {_STREAM[0]} to {_STREAM[1]} characters")
            after = read_after(query.get("after", ["0"])[-1] or "0")
            at_ms = read_after(query.get("at", ["0"])[-1] or "0")
        dialect = RealtimeDialect(settings, self.languages, renames=principal.speaker is None)
        return SendGrant(principal, dialect, settings, meeting, secret, after, at_ms)

    def check_host(self, request: ConnectRequest) -> Refusal | None:
        """Return why a request by this name of the server is not answered, if it is not."""
        name = _name_of(request.host or "")
        if not len(self.tokens) and name not in self._hosts and "*" not in self._hosts:
            called = _readable(name[:80])
            message = (
                f"this server is not called {called!r}: add https://{called} (or http://) to"
                " server.origins"
            )
            return Refusal(403, 4403, "wrong_host", message)
        return None

    def check_origin(self, request: ConnectRequest) -> Refusal | None:
        """Return why a page may not ask here, or nobody by this name of the server, if so."""
        if (stranger := self.check_host(request)) is not None:
            return stranger
        origin = request.origin
        if origin is None or origin in self._origins or "*" in self._origins:
            return None
        # An origin is a scheme and a host, and nothing behind.
        if request.host and origin.partition("://")[2] == request.host:
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


def _check_names(query: Mapping[str, list[str]], principal: Principal) -> Refusal | None:
    """Return why a bound token may not go by the names that its client gives, if it may not."""
    for key, own in (("meeting", principal.meeting), ("speaker", principal.speaker)):
        if own is None or not query.get(key) or read_name(query[key][-1], key) == own:
            continue
        return _forbidden(f"the token of {principal.name!r} is for the {key} {own!r} alone")
    return None


def _check_interest(query: Mapping[str, list[str]], principal: Principal) -> Refusal | None:
    """Return why a bound token may not listen to what its client wants, if it may not."""
    if principal.meeting is None:
        return None
    if "all" in query or "session" in query:
        only = f"is for meeting={principal.meeting!r} alone, neither for all nor for a session"
        return _forbidden(f"the token of {principal.name!r} {only}")
    return _check_names({"meeting": query.get("meeting", [])}, principal)


def _forbidden(message: str) -> Refusal:
    return Refusal(403, 4403, "forbidden", message)


def _unusable(message: str, code: str = ConfigError.code) -> Refusal:
    # A setting that does not fit is the client's here, and stands in its query.
    code = "invalid_query" if code == ConfigError.code else code
    return Refusal(400, 1008, code, message)
