"""What a user, or whoever wrote their files, may configure: TOML, environment, flags, tokens."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from streamser.errors import ConfigError
from streamser.server.handshake import read_tokens
from streamser.settings_loader import EffectiveSettings, explain_settings, preset_path
from streamser.training.settings import load_train_settings, train_preset_folder
from tests.fuzz.mutation import JSON_VALUES, spoil_bytes, spoil_lines, spoil_text
from tests.fuzz.target import Target, forbidding, require

__all__ = ["TARGET"]

_VALUES = (
    "0", "-1", "1", "0.5", "1e400", "nan", "inf", "-inf", "true", "none", "''", "[]", "{}",
    "[1, 2]", "{a = 1}", '"x"', '"none"', "1979-05-27", "07:32:00", "0xffffffffffffffffff", "²",
    "9" * 5000, "[" * 2000, "{a=" * 2000, '"""', "\ud800", "1_000", "٣", "auto", "a:b", " ",
)  # fmt: skip


def _whole(found: EffectiveSettings) -> None:
    """Whatever was accepted must make sense: it can be shown, and holds no nan."""
    for key, value, origin, _ in found.rows():
        require(bool(key and origin), "every value has an origin")
        require(not (isinstance(value, float) and math.isnan(value)), f"{key} is a number")


def _read_file(data: bytes, folder: Path) -> None:
    path = folder / "settings.toml"
    path.write_bytes(data)
    _whole(explain_settings(str(path), environ={}))


def _read_training(data: bytes, folder: Path) -> None:
    head, _, rest = data.partition(b"\0\n")
    path = folder / "train.toml"
    path.write_bytes(head)
    assignments = rest.decode("utf-8", "surrogateescape").split("\n") if rest else []
    load_train_settings(str(path), assignments)


def _read_environment(data: bytes, folder: Path) -> None:
    lines = data.decode("utf-8", "surrogateescape").replace("\0", "").split("\n")
    pairs = [line.partition("=") for line in lines]
    _whole(explain_settings(environ={name: value for name, _, value in pairs}))


def _read_flags(data: bytes, folder: Path) -> None:
    flags: dict[str, Any] = {}
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        key, _, text = line.partition("=")
        try:
            flags[key] = json.loads(text)
        except (ValueError, RecursionError):
            flags[key] = text
    _whole(explain_settings("embedded", flags=flags, environ={}))


def _read_names(data: bytes, folder: Path) -> None:
    names = data.decode("utf-8", "surrogateescape").split("\n")
    for name in names[:5]:
        # A word that starts a device file would have no end; users may have them.
        if "/dev" not in name and "/proc" not in name:
            _whole(explain_settings(name, environ={}))


def _read_tokens(data: bytes, folder: Path) -> None:
    inline, _, text = data.partition(b"\0")
    path = folder / "tokens"
    path.write_bytes(text)
    environ = {"STREAMSER_TOKENS": inline.decode("utf-8", "surrogateescape")}
    for where in (None, str(path)):
        try:
            tokens = read_tokens(where, environ)
        except ConfigError as error:
            # No word of a line is told but its place: any of them might be the token.
            told = str(error)
            for word in text.decode("utf-8", "replace").split():
                require(len(word) < 16 or word not in told, "no token is told")
        else:
            require(not len(tokens) or tokens.principal("") is None, "no token opens no door")
            require(not len(tokens) or tokens.principal("x") is None, "nor does another")


_TOKENS = (
    b"anna send,listen a-long-enough-token; ben send 0123456789abcdef\0"
    b"# comment\ncarla listen fedcba9876543210 # more\n"
)
_ENVIRONMENT = (
    b"STREAMSER_ASR_ENGINE=none\nSTREAMSER_ENDPOINTING_THRESHOLD=0.4\nSTREAMSER_OFFLINE=true\n"
    b"STREAMSER_AUDIO_DEVICE=3\nSTREAMSER_CONFIG=embedded\nSTREAMSER_SERVER_SPEED=4.5\nHOME=/x"
)
_FLAGS = (
    b'asr.engine="none"\nserver.port=0\nmood.time_constant_s=12.5\naudio.device="mic"\n'
    b"audio.channel=null\nendpointing.release=0.2\noffline=true"
)
_ASSIGNMENTS = b"\0\nmodel.text=none\nmodel.heads.dimensions=valence,arousal\nseed=3"

_ENTRIES: tuple[tuple[str, Callable[[bytes, Path], None]], ...] = (
    ("file", _read_file),
    ("environment", _read_environment),
    ("flags", _read_flags),
    ("name", _read_names),
    ("tokens", _read_tokens),
    ("training", _read_training),
)


def _seeds(folder: Path) -> list[bytes]:
    everything = "\n".join(f"{key} = {_toml(value)}" for key, value in _defaults())
    presets = [path.read_bytes() for path in sorted(preset_path("x").parent.glob("*.toml"))]
    trainings = [path.read_bytes() for path in sorted(train_preset_folder().glob("*.toml"))]
    cases = [(0, everything.encode()), *((0, preset) for preset in presets)]
    cases += [(1, _ENVIRONMENT), (2, _FLAGS), (3, b"embedded\nsettings.toml\n/x/y.toml\n~/a.toml")]
    cases += [(4, _TOKENS), *((5, text + _ASSIGNMENTS) for text in trainings)]
    return [bytes([entry]) + text for entry, text in cases]


def _defaults() -> list[tuple[str, Any]]:
    rows = explain_settings(environ={}).rows()
    return [(key, value) for key, value, _, _ in rows]


def _toml(value: Any) -> str:
    return '"none"' if value is None else json.dumps(value)


def _mutate(data: bytes, rng: Random) -> bytes:
    entry = data[0] % len(_ENTRIES) if data else 0
    body = data[1:]
    if rng.random() < 0.15:
        return bytes([entry]) + spoil_bytes(body, rng)
    text = body.decode("utf-8", "surrogateescape")
    choice = rng.random()
    if choice < 0.3:
        text = spoil_text(text, rng)
    elif choice < 0.5:
        text = spoil_lines(text, rng, [text])
    else:
        lines = text.split("\n")
        for _ in range(rng.choice((1, 1, 3))):
            at = rng.randrange(len(lines))
            key, equals, _ = lines[at].partition("=")
            if entry == 2 and rng.random() < 0.5:
                lines[at] = f"{key}={json.dumps(rng.choice(JSON_VALUES))}"
            else:
                lines[at] = f"{key}{equals or '='}{rng.choice(_VALUES)}"
        text = "\n".join(lines)
    return bytes([entry]) + text.encode("utf-8", "surrogatepass").replace(b"\xed\xb3", b"\xff")


def _check(data: bytes, folder: Path) -> str:
    name, entry = _ENTRIES[data[0] % len(_ENTRIES)] if data else _ENTRIES[0]
    try:
        with forbidding():
            entry(data[1:], folder)
    except ConfigError as error:
        require("\n" not in str(error), "one line")
        return f"{name}: refused"
    return f"{name}: accepted"


TARGET = Target(name="config", seeds=_seeds, mutate=_mutate, check=_check, seconds=15.0)
