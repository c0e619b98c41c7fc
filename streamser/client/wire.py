"""What client and server agree on: where it is, how sound is written, how events are read."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

import msgspec

from streamser.certificates import trusting
from streamser.errors import StreamserError
from streamser.events import (
    AnyEvent,
    EmotionBody,
    EmotionCompleted,
    SpeakersChanged,
    WordTiming,
    decode_event,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

REALTIME = "/v1/realtime"
EVENTS = "/v1/events"
_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_SECRET = frozenset("@?#")
"""What may follow, or stand before, a password or a token."""

_SOCKS = ("socks5", "socks5h", "socks4", "socks4a")
_PROXIES = ("http", "https", *_SOCKS)

Encoding: TypeAlias = Literal["s16le", "f32le", "pcmu", "pcma"]
_WIDTH: dict[Encoding, int] = {"s16le": 2, "f32le": 4, "pcmu": 1, "pcma": 1}
_SILENCE: dict[Encoding, bytes] = {
    "s16le": b"\0\0",
    "f32le": b"\0\0\0\0",
    "pcmu": b"\xff",
    "pcma": b"\xd5",
}
_PIECE_S = 0.25
_G711_RATE = 8000
_RAW = (bytes, bytearray, memoryview)

BEGIN_AGAIN: Final = ("idle_timeout", "session_expired")
"""Codes with which a server ends a stream that may be begun anew: a muted user, a long call."""
HARMLESS: Final = "input_audio_buffer_commit_empty"
"""Code of a commit for which there was nothing: who asks at every pause need not know."""

_TIMES = ("audio_start_ms", "audio_end_ms", "audio_ms", "since_ms")


class ServerError(StreamserError):
    """Report a server that cannot be reached, refuses us, or has ended the stream.

    ``code`` is the server's own where it gave one.
    """

    code = "server_error"


class ConnectionLost(Exception):  # noqa: N818 - never leaves the package; it is no fault, but a wait
    """Say that there is no connection now, though there may be one later.

    ``retry_after`` is the seconds the server asks for, ``None`` where it asks for none.
    """

    def __init__(self, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after = retry_after


def endpoint(url: str, path: str, query: Mapping[str, str | None]) -> str:
    """Return the websocket address of an endpoint of the server at ``url``.

    ``url`` is ``ws://``, ``wss://``, ``http://`` or ``https://``. ``path`` is put behind its own
    path, under which a proxy may have put the server; an endpoint at its end is replaced. Its own
    query stays, but for what ``query`` sets (``None``: not). Raises ``ServerError`` with the code
    ``invalid_url`` for anything else.
    """
    parts = _split(url)
    own = dict(parse_qsl(parts.query, keep_blank_values=True))
    given = {key: value for key, value in query.items() if value is not None}
    prefix = parts.path.rstrip("/")
    for endpoint in (REALTIME, EVENTS):
        prefix = prefix.removesuffix(endpoint)
    return SplitResult(
        _SCHEMES[parts.scheme],
        parts.netloc,
        prefix.rstrip("/") + path,
        urlencode(own | given),
        "",
    ).geturl()


def redacted(url: str) -> str:
    """Return an address as it may be shown and logged: no token, stream secret or password."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return "an address that cannot be read"
    # A slash in a password makes its end look like a path.
    path = "" if "@" in parts.path else parts.path
    return SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], path, "", "").geturl()


def page_url(url: str) -> str:
    """Return the address of the page of the server at ``url``, without secrets, for people.

    Raises ``ServerError`` for what is no address.
    """
    return f"http{redacted(endpoint(url, '/', {})).removeprefix('ws')}"


def is_secure(url: str) -> bool:
    """Return whether an address asks for TLS; raises ``ServerError`` for what is none."""
    return _SCHEMES[_split(url).scheme] == "wss"


def is_this_machine(url: str) -> bool:
    """Return whether an address means the machine that we run on, by its name or number.

    Raises ``ServerError`` for what is no address.
    """
    host = (_split(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        number = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    number = mapped or number
    # Who connects to "every address" reaches this machine.
    return number.is_loopback or number.is_unspecified


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        # The port is looked at only when asked for.
        usable = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
        # What cannot be a name of a machine is told here, and not by the resolver.
        usable = usable and bool((parts.hostname or "").encode("idna"))
    except ValueError:
        usable = False
    if not usable:
        told = "this" if _SECRET & set(url) else repr(url)
        raise ServerError(
            f"{told} is no address of a server: write it like ws://127.0.0.1:8377"
            " or wss://example.org",
            code="invalid_url",
        )
    return parts


class Route(msgspec.Struct, frozen=True, eq=False):
    """Hold a proxy's address, ``None`` for none, and what TLS is spoken with, if not the usual."""

    proxy: str | None = None
    tls: ssl.SSLContext | None = None

    @property
    def told(self) -> str:
        """Return the words that name the proxy, if there is one, without its password."""
        return "" if self.proxy is None else f" through the proxy {redacted(self.proxy)}"


def plan_route(
    url: str,
    *,
    proxy: str | None = None,
    ca: str | Path | None = None,
    tls: ssl.SSLContext | None = None,
) -> Route:
    """Return the way to the server at ``url``.

    Proxies of the environment are never used: they would see token and sound. ``ca`` is a PEM
    file with the only certificates that are believed, ``tls`` a whole context instead. Raises
    ``ServerError`` with the code ``invalid_proxy`` or ``invalid_certificate`` for what cannot be
    used, and ``ValueError`` for both ``ca`` and ``tls``.
    """
    if ca is not None and tls is not None:
        raise ValueError("give ca or ssl: a context has certificates of its own")
    if (ca is not None or tls is not None) and not is_secure(url):
        raise ServerError(
            f"{redacted(url)} speaks no TLS: write wss://, or leave the certificate out.",
            code="invalid_certificate",
        )
    if proxy is not None:
        _check_proxy(url, proxy)
    return Route(proxy, tls if ca is None else _trust(ca))


def unused_proxy(url: str) -> str:
    """Return a sentence about a proxy of the environment that may be needed, or nothing."""
    if is_this_machine(url):
        return ""
    from urllib.request import getproxies

    found = getproxies()
    if not any(name in found for name in ("http", "https", "socks", "all")):
        return ""
    return (
        " A proxy that the environment names is not used: where it is needed, give it with"
        " --proxy URL (in Python, proxy=…)."
    )


def _check_proxy(url: str, proxy: str) -> None:
    if is_this_machine(url):
        raise ServerError(
            f"{redacted(url)} is this machine: what is sent to it must not leave it; leave the"
            " proxy out.",
            code="invalid_proxy",
        )
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in _PROXIES and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ServerError(
            "this is no address of a proxy: write it like http://proxy.example.org:3128"
            " or socks5h://127.0.0.1:1080",
            code="invalid_proxy",
        )
    if parts.scheme in _SOCKS and find_spec("python_socks") is None:
        raise ServerError(
            "a SOCKS proxy needs one more package: pip install 'python-socks[asyncio]'",
            code="invalid_proxy",
        )


def _trust(ca: str | Path) -> ssl.SSLContext:
    try:
        return trusting(ca)
    except ValueError as why:
        raise ServerError(
            f"{ca}: {why}; give a PEM file with the server's certificate, or that of who signed it",
            code="invalid_certificate",
        ) from None


class SoundFormat(msgspec.Struct, frozen=True):
    """Describe a mono stream of raw sound; ``rate`` in frames a second, 8000 to 192000.

    Raises ``ValueError`` for a rate or an encoding that no server takes.
    """

    rate: int = 16_000
    encoding: Encoding = "s16le"

    def __post_init__(self) -> None:
        """Refuse what cannot be sent."""
        if self.encoding not in _WIDTH:
            known = ", ".join(get_args(Encoding))
            raise ValueError(f"unknown encoding {self.encoding!r}: use one of {known}")
        if not 8000 <= self.rate <= 192_000:
            raise ValueError(f"a rate of {self.rate} Hz cannot be sent: 8000 to 192000 can")
        if self.encoding in ("pcmu", "pcma") and self.rate != _G711_RATE:
            raise ValueError(f"{self.encoding} is sound at {_G711_RATE} Hz: pass rate=8000")

    @property
    def width(self) -> int:
        """Return the bytes of a frame."""
        return _WIDTH[self.encoding]

    @property
    def silence(self) -> bytes:
        """Return a silent frame."""
        return _SILENCE[self.encoding]

    def pieces(self, chunk: bytes | npt.NDArray[np.float32]) -> Iterator[bytes]:
        """Write sound in pieces of at most a quarter of a second.

        ``chunk`` is raw sound of whole frames, or float32 of shape (n,) in [-1, 1]: more is
        clipped, NaN becomes 0. Raises ``ValueError`` for anything else.
        """
        raw = bytes(chunk) if isinstance(chunk, _RAW) else self._write(chunk)
        if len(raw) % self.width:
            raise ValueError(
                f"{len(raw)} bytes are no whole number of {self.encoding} samples: send whole ones"
            )
        step = int(self.rate * _PIECE_S) * self.width
        for at in range(0, len(raw), step):
            yield raw[at : at + step]

    def _write(self, samples: npt.NDArray[np.float32]) -> bytes:
        import numpy as np

        if samples.ndim != 1 or samples.dtype.kind != "f":
            raise ValueError(
                f"expected float samples of shape (n,), got {samples.dtype} of {samples.shape}"
            )
        finite = np.clip(np.nan_to_num(samples, posinf=1.0, neginf=-1.0), -1.0, 1.0)
        if self.encoding == "f32le":
            return finite.astype("<f4").tobytes()
        if self.encoding == "s16le":
            # By 32768, as every decoder has it: what was 16 bits before comes through unchanged.
            scaled = np.minimum(np.rint(finite * np.float32(32768.0)), 32767)
            written: bytes = scaled.astype("<i2").tobytes()
            return written
        raise ValueError(f"samples cannot be written as {self.encoding}: send it as bytes")


class Envelope(msgspec.Struct, frozen=True):
    """Hold what every event has, of one whose type nobody here knows."""

    session_id: str = ""
    seq: int = 0
    cursor: int = 0


def read_event(message: bytes | str) -> AnyEvent | Envelope | None:
    """Read a message; an unknown type, or known fields in an unknown form, give the envelope.

    ``None``: it is no event at all. Newer servers may say what they like.
    """
    try:
        return decode_event(message)
    except msgspec.DecodeError:
        pass
    try:
        return msgspec.json.decode(message, type=Envelope)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def shift_times(event: AnyEvent, offset_ms: int) -> AnyEvent:
    """Return an event with all its places in the sound moved by ``offset_ms``.

    After a server was restarted the clock of the new session begins at ``ClientSession.offset_ms``.
    """
    if not offset_ms:
        return event
    changes: dict[str, Any] = {
        name: getattr(event, name) + offset_ms for name in _TIMES if hasattr(event, name)
    }
    emotion = getattr(event, "emotion", None)
    if isinstance(emotion, EmotionBody):
        changes["emotion"] = _moved(emotion, offset_ms)
    words: tuple[WordTiming, ...] = getattr(event, "words", ())
    if words:
        changes["words"] = tuple(_shifted(word, offset_ms) for word in words)
    if isinstance(event, EmotionCompleted):
        changes["parts"] = tuple(_shifted(part, offset_ms) for part in event.parts)
    elif isinstance(event, SpeakersChanged):
        changes["changes"] = tuple(
            msgspec.structs.replace(
                change, parts=tuple(_shifted(part, offset_ms) for part in change.parts)
            )
            for change in event.changes
        )
    return msgspec.structs.replace(event, **changes)


def _moved(emotion: EmotionBody, by: int) -> EmotionBody:
    return msgspec.structs.replace(emotion, window=_shifted(emotion.window, by))


def _shifted(span: Any, by: int) -> Any:
    return msgspec.structs.replace(span, start_ms=span.start_ms + by, end_ms=span.end_ms + by)
