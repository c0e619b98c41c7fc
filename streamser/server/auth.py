"""Who may send and who may listen."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import msgspec

from streamser.errors import ConfigError
from streamser.text import read_name

__all__ = ["ENVIRONMENT", "Principal", "Tokens", "offered_token", "read_tokens", "same_secret"]

ENVIRONMENT: Final = "STREAMSER_TOKENS"

_ROLES: Final = frozenset({"send", "listen", "metrics"})
_BINDINGS: Final = ("meeting", "speaker")
_SHORTEST: Final = 16
_SUBPROTOCOLS: Final = ("streamser.token.", "openai-insecure-api-key.")
_BEARER: Final = re.compile(r"(?:bearer|token)\s+(\S+)", re.IGNORECASE)


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
