"""Who may send and who may listen."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from streamser.errors import ConfigError

__all__ = ["ENVIRONMENT", "Principal", "Tokens", "offered_token", "read_tokens", "same_secret"]

ENVIRONMENT: Final = "STREAMSER_TOKENS"

_ROLES: Final = frozenset({"send", "listen"})
_SHORTEST: Final = 16
_SUBPROTOCOLS: Final = ("streamser.token.", "openai-insecure-api-key.")
_BEARER: Final = re.compile(r"(?:bearer|token)\s+(\S+)", re.IGNORECASE)


class Principal(msgspec.Struct, frozen=True):
    """Name who connects, and what they may do: ``"send"``, ``"listen"``."""

    name: str
    roles: frozenset[str]


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
    between, and the token; ``#`` begins a comment. Raises ``ConfigError``, never with a token.
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
        words = line.partition("#")[0].split()
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
    if len(words) != 3:
        raise ConfigError(
            f"{place}: expected a name, roles and a token with spaces between, such as"
            f" `display listen TOKEN`; found {len(words)} of them."
        )
    name, roles, token = words[0], frozenset(words[1].split(",")), words[2]
    if not roles <= _ROLES:
        raise ConfigError(f"{place}: roles are send, listen, or send,listen.")
    if len(token) < _SHORTEST:
        raise ConfigError(f"{place}: a token needs {_SHORTEST} characters or more.")
    return token, Principal(name, roles)
