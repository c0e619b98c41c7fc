"""What a refusal or a close means: try again, or tell the user; pure."""

from __future__ import annotations

import re

import msgspec

from streamser.client.errors import Broken, ServerError
from streamser.events import ErrorBody

__all__ = ["judge_close", "judge_status"]

_PASSING_CODES = frozenset({1001, 1005, 1006, 1011, 1012, 1013, 1015})
_PASSING_STATUSES = frozenset({429, 500, 502, 503, 504})
_RETRY = re.compile(r"retry in (\d+(?:\.\d+)?)\s*s")
_LONGEST_RETRY_S = 3600.0

_TOKEN_ADVICE = "give the right one (--token, STREAMSER_TOKEN; in Python, token=…)"
_STATUS_ADVICE = {
    401: f"the server wants a token: {_TOKEN_ADVICE}",
    403: "this token may not do that: give one with the right role",
    404: "there is no streamser server at this address: see its host, port and path",
}
_SENDS_ON = "it sends us on to another address, where we do not follow; give the one that it means"
_CLOSE_ADVICE = {
    1008: "the server says that we broke a rule",
    1009: "the server found a message too big: send smaller chunks",
    4401: _STATUS_ADVICE[401],
    4403: _STATUS_ADVICE[403],
    4408: "the server ended the session: it was idle, or too long; connect anew",
}


_WITHDRAWN = f"the server does not take our token any more: {_TOKEN_ADVICE}"


class _Refusal(msgspec.Struct):
    error: ErrorBody


def judge_status(
    status: int, retry_after: str | None, body: bytes, server: str
) -> Broken | ServerError:
    """Say what an HTTP answer other than an open websocket means.

    ``retry_after`` and ``body`` are the answer's header and content, ``server`` its address as
    it may be shown.
    """
    said = _said(body)
    if status in _PASSING_STATUSES:
        why = said.message if said is not None else f"it answers with HTTP {status}"
        return Broken(why, _seconds(retry_after) if status in (429, 503) else None)
    if 300 <= status < 400:
        # Its own words may repeat the address, with its secrets.
        return ServerError(f"{server}: {_SENDS_ON}.", code="invalid_url")
    why = _STATUS_ADVICE.get(status, f"it answers with HTTP {status}: see the address")
    if said is not None:
        # How a token is given in the protocol is of no use to whom this line is for.
        what = said.message.partition(";")[0]
        why = f"{what}: {_TOKEN_ADVICE}" if status == 401 else said.message
    return ServerError(
        f"{server}: {why}",
        code=said.code if said is not None else None,
    )


def judge_close(
    code: int, reason: str, said: ErrorBody | None, server: str
) -> Broken | ServerError | None:
    """Say what the end of a connection means; ``None``: the stream is over, all is well.

    ``said`` is what the server had to say before, if it refused us.
    """
    if code == 1000:
        return None
    if code in _PASSING_CODES:
        retry = _RETRY.search(reason)
        asked = min(float(retry[1]), _LONGEST_RETRY_S) if retry is not None else None
        why = said.message if said is not None else reason or _passing(code)
        return Broken(why, asked if asked is not None or code != 1013 else 1.0)
    if code == 1008 and reason == "unauthorized":
        return ServerError(f"{server}: {_WITHDRAWN}", code=reason)
    advice = _CLOSE_ADVICE.get(code, f"the server closed the connection with code {code}")
    detail = said.message if said is not None else f"{advice} ({reason})" if reason else advice
    return ServerError(f"{server}: {detail}", code=said.code if said is not None else None)


def _passing(code: int) -> str:
    if code in (1001, 1012):
        return "the server is going away"
    if code == 1013:
        return "the server is full, or we were too slow for it"
    return "the connection broke"


def _seconds(header: str | None) -> float:
    try:
        # A date is allowed as well; nobody sends one for a wait of seconds.
        return min(max(0.0, float(header or "")), _LONGEST_RETRY_S)
    except ValueError:
        return 1.0


def _said(body: bytes) -> ErrorBody | None:
    try:
        return msgspec.json.decode(body, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
