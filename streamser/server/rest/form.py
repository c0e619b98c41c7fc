"""The form of a transcription: its file onto the disk, its fields into a record."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Literal, TypeAlias, cast, get_args

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from streamser.errors import ConfigError
from streamser.export.records import SOUNDS
from streamser.hosting.hosted import run_beside
from streamser.server.dialects.commands import LanguageSupport
from streamser.server.rest.exchange import RefusedUpload, refused

AnswerFormat: TypeAlias = Literal["json", "verbose_json", "text", "srt", "vtt"]

MODELS: Final = ("streamser", "whisper-1")
"""What the models of this server may be called; clients ask for the second by themselves."""
_FORM: Final = "multipart/form-data"
_MOST_PARTS: Final = 64
_FIELD_BYTES: Final = 65_536
FORM_BYTES: Final = 262_144
"""What the fields, and what stands around them, may take beside the file."""
_WRITTEN: Final = 1 << 20
"""Bytes of a file that are written at once."""
_ENDINGS: Final = SOUNDS | {".mpga", ".mpeg", ".mp2"}
_GRANULARITIES: Final = ("word", "segment")
_TRUE: Final = ("true", "1")
_FALSE: Final = ("false", "0", "")


class TranscriptionOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what is asked for of a file; ``words``: with their times."""

    model: str
    language: str | None = None
    prompt: str | None = None
    form: AnswerFormat = "json"
    words: bool = False
    streamed: bool = False


class UploadForm:
    """Take in a form, piece by piece; the file goes to the disk, and is gone after ``close``.

    Nobody else on the machine may read it. ``most`` is its length in bytes at most.
    """

    def __init__(self, content_type: str | None, most: int) -> None:
        kind, options = parse_options_header(content_type)
        if kind.decode("latin-1").lower() != _FORM:
            shown = kind.decode("latin-1")[:80] or "nothing"
            raise refused(415, "unsupported_media_type", f"send {_FORM}, not {shown}")
        boundary = options.get(b"boundary")
        if not boundary:
            raise refused(400, "invalid_form", f"the {_FORM} has no boundary")
        self._most = most
        self._taken = 0
        self._parts = 0
        self._name = b""
        self._disposition = b""
        self._value = bytearray()
        self._fields: dict[str, list[str]] = {}
        self._file: BinaryIO | None = None
        self._in_file = False
        self._held = bytearray()
        self._whole = False
        self.path: Path | None = None
        """Where the file is."""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_begin": self._begin_header,
                    "on_header_field": self._read_header_name,
                    "on_header_value": self._read_header_value,
                    "on_headers_finished": self._open_part,
                    "on_part_data": self._read_part,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise refused(400, "invalid_form", "the boundary is too long") from None

    async def read(self, body: AsyncIterator[bytes]) -> None:
        """Read a form to its end; raises ``RefusedUpload`` for one that cannot be used."""
        async for piece in body:
            self._taken += len(piece)
            if self._taken > self._most + FORM_BYTES:
                raise too_long(self._most)
            self._feed(piece)
            if len(self._held) >= _WRITTEN:
                await self._write()
        if not self._whole:
            raise refused(400, "invalid_form", "the form breaks off, or has another boundary")
        if self._file is None:
            raise refused(400, "missing_field", "the form has no file", param="file")
        await self._write()
        self._file.close()

    def order(self, languages: LanguageSupport, *, has_word_times: bool) -> TranscriptionOrder:
        """Read the fields; raises ``RefusedUpload`` for one that cannot be used."""
        return read_order(self._fields, languages, has_word_times=has_word_times)

    def close(self) -> None:
        """Delete the file."""
        if self._file is not None:
            self._file.close()
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink()

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise refused(400, "invalid_form", f"the form cannot be read: {error}") from None

    async def _write(self) -> None:
        assert self._file is not None, "only a file is held"
        held, self._held = self._held, bytearray()
        # A disk may take its time.
        await run_beside(partial(self._file.write, held), "streamser-upload")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise refused(400, "invalid_form", f"a form has {_MOST_PARTS} parts at most")
        self._disposition = b""

    def _begin_header(self) -> None:
        self._name = b""

    def _read_header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _read_header_value(self, data: bytes, start: int, end: int) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition += data[start:end]

    def _open_part(self) -> None:
        options = parse_options_header(self._disposition)[1]
        self._name = options.get(b"name", b"")
        self._value.clear()
        self._in_file = self._name == b"file"
        if self._in_file:
            if self._file is not None:
                raise refused(400, "invalid_form", "send one file a request", param="file")
            ending = Path(options.get(b"filename", b"").decode("utf-8", "replace")).suffix.lower()
            number, path = tempfile.mkstemp(
                ending if ending in _ENDINGS else "", prefix="streamser-upload-"
            )
            self.path, self._file = Path(path), os.fdopen(number, "wb")

    def _read_part(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._held += data[start:end]
            return
        self._value += data[start:end]
        if len(self._value) > _FIELD_BYTES:
            name = _text(self._name)
            raise refused(413, "field_too_long", f"{name} is too long", param=name)

    def _end_part(self) -> None:
        if not self._in_file:
            self._fields.setdefault(_text(self._name), []).append(_text(bytes(self._value)))
        self._in_file = False

    def _end(self) -> None:
        self._whole = True


def too_long(most: int) -> RefusedUpload:
    """Make what is raised for a file that is too long."""
    return refused(413, "file_too_big", f"a file has {most // 2**20} MiB at most", param="file")


def read_order(
    fields: Mapping[str, list[str]], languages: LanguageSupport, *, has_word_times: bool
) -> TranscriptionOrder:
    """Read the fields of a form; the last of several counts, and those unknown are ignored.

    Raises ``RefusedUpload`` for one that cannot be used. ``has_word_times``: words have some.
    """
    given = {name: values[-1].strip() for name, values in fields.items()}
    model = given.get("model", "")
    if not model:
        raise refused(400, "missing_field", f"name a model: {' or '.join(MODELS)}", param="model")
    if model not in MODELS:
        raise unknown_model(model)
    form = given.get("response_format") or "json"
    if form not in get_args(AnswerFormat):
        raise _unusable("response_format", form, f"one of {', '.join(get_args(AnswerFormat))}")
    _check_temperature(given.get("temperature") or "0")
    streamed = _flag("stream", given.get("stream", ""))
    if streamed and form not in ("json", "text"):
        raise _unusable("response_format", form, "json or text where stream is true")
    wanted = [
        each.strip()
        for name in ("timestamp_granularities[]", "timestamp_granularities")
        for each in fields.get(name, ())
    ]
    if strange := [each for each in wanted if each not in _GRANULARITIES]:
        raise _unusable("timestamp_granularities[]", strange[0], "word or segment")
    if wanted and form != "verbose_json":
        raise _unusable("response_format", form, "verbose_json for timestamp_granularities")
    if "word" in wanted and not has_word_times:
        why = "this server tells no times of words (its setting asr.word_times)"
        raise refused(400, "invalid_value", why, param="timestamp_granularities[]")
    try:
        language = languages.wanted(given.get("language") or None)
    except ConfigError as error:
        code = "invalid_value" if error.code == ConfigError.code else error.code
        raise refused(400, code, str(error), param="language") from None
    return TranscriptionOrder(
        model=model,
        language=language,
        prompt=given.get("prompt") or None,
        form=cast("AnswerFormat", form),
        words="word" in wanted,
        streamed=streamed,
    )


def unknown_model(name: str) -> RefusedUpload:
    """Make what is raised for a model that is not here."""
    why = f"there is no model {name[:80]!r} here: {' or '.join(MODELS)}"
    return refused(404, "model_not_found", why, param="model")


def _check_temperature(text: str) -> None:
    try:
        usable = 0.0 <= float(text) <= 1.0
    except ValueError:
        usable = False
    if not usable:
        raise _unusable("temperature", text, "a number from 0 to 1")


def _flag(name: str, text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise _unusable(name, text, "true or false")
    return text.lower() in _TRUE


def _unusable(name: str, text: str, wanted: str) -> RefusedUpload:
    return refused(400, "invalid_value", f"{name} must be {wanted}, not {text[:40]!r}", param=name)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
