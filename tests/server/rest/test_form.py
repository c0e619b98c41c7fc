"""A form, in whatever pieces it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamser.server.dialects.commands import ANY_LANGUAGE, LanguageSupport
from streamser.server.rest.exchange import RefusedUpload
from streamser.server.rest.form import TranscriptionOrder, UploadForm, read_order
from tests.server.rest.asking import BOUNDARY, form

TYPE = f"multipart/form-data; boundary={BOUNDARY}"
SOUND = b"\r\n--a-bound\r\n--" + bytes(range(256)) * 8
"""Bytes that look like a boundary, here and there."""


def taken(body: bytes, sizes: list[int]) -> tuple[bytes, Path, TranscriptionOrder]:
    """Read a form in pieces of these sizes; return its file, where that was, and its order."""

    async def pieces() -> AsyncIterator[bytes]:
        at = 0
        for size in [*sizes, len(body)]:
            if at < len(body):
                yield body[at : at + size]
            at += size

    async def scene() -> tuple[bytes, Path, TranscriptionOrder]:
        read = UploadForm(TYPE, 2**20)
        try:
            await read.read(pieces())
            assert read.path is not None
            order = read.order(ANY_LANGUAGE, has_word_times=True)
            return read.path.read_bytes(), read.path, order
        finally:
            read.close()

    return asyncio.run(scene())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=30))
def test_a_form_is_the_same_in_any_pieces(sizes: list[int]) -> None:
    """Its file, its fields, and that its file is gone afterwards."""
    fields = [("prompt", "naïve — 1"), ("response_format", "verbose_json"), ("what", "ever")]
    data, path, order = taken(form(SOUND, fields, "a.MP3"), sizes)
    assert data == SOUND
    assert path.suffix == ".mp3"
    assert not path.exists()
    assert order == TranscriptionOrder(model="streamser", prompt="naïve — 1", form="verbose_json")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a.raw", "a.sh", "x" * 400, ""])
def test_a_name_says_no_more_than_what_ending_sound_has(name: str) -> None:
    """Whatever else it says, the file has a name of ours, for us alone."""
    _, path, _ = taken(form(b"sound", name=name), [])
    assert path.name.startswith("streamser-upload-")
    assert path.suffix == ""


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    """But for those that are lists, as OpenAI's are."""
    fields = {
        "model": ["gpt", "whisper-1"],
        "response_format": ["verbose_json"],
        "timestamp_granularities[]": ["segment", "word"],
        "temperature": ["0.2"],
        "stream": ["False"],
        "language": ["de-DE"],
    }
    order = read_order(fields, ANY_LANGUAGE, has_word_times=True)
    assert order == TranscriptionOrder(
        model="whisper-1", language="de", form="verbose_json", words=True
    )


def test_a_language_that_the_recogniser_does_not_know_has_a_code_of_its_own() -> None:
    """As on a stream."""
    english = LanguageSupport("whisper", frozenset({"en"}))
    fields = {"model": ["streamser"], "language": ["de"]}
    with pytest.raises(RefusedUpload) as caught:
        read_order(fields, english, has_word_times=False)
    assert caught.value.refusal.code == "unsupported_language"
    assert caught.value.param == "language"
