"""Raw sound: every encoding, cut anywhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.audio.source import SoundDecoder, frame_bytes, rate_of, usable
from streamser.errors import ConfigError
from streamser.events import AudioFormat

S16 = AudioFormat(type="audio/pcm", rate=16_000)
F32 = AudioFormat(type="audio/pcm", rate=16_000, encoding="f32le")
MU_LAW = AudioFormat(type="audio/pcmu")
A_LAW = AudioFormat(type="audio/pcma")


def decoded(form: AudioFormat, data: bytes) -> np.ndarray:
    """Decode all at once, to a flat array."""
    return SoundDecoder(form).decode(data)[:, 0]


@given(
    st.binary(max_size=64), st.lists(st.integers(0, 64), max_size=8), st.sampled_from([S16, F32])
)
def test_where_the_bytes_are_cut_does_not_matter(
    data: bytes, cuts: list[int], form: AudioFormat
) -> None:
    """A frame whose halves come in two messages is the same frame."""
    decoder = SoundDecoder(form)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [decoder.decode(data[a:b]) for a, b in itertools.pairwise(places)]
    assert np.array_equal(np.concatenate(parts)[:, 0], decoded(form, data), equal_nan=True)


def test_samples_of_16_bits_are_scaled_to_one() -> None:
    """Little-endian, full scale is 1."""
    values = np.array([0, 16384, -32768, 32767], "<i2")
    assert decoded(S16, values.tobytes()).tolist() == [0.0, 0.5, -1.0, 32767 / 32768]


def test_floats_are_taken_as_they_are() -> None:
    """What is no number is left to the intake, which counts it."""
    values = np.array([0.25, -1.5, np.nan], "<f4")
    assert np.array_equal(decoded(F32, values.tobytes()), values, equal_nan=True)


@pytest.mark.parametrize(
    ("form", "code", "value"),
    [
        # ITU-T G.711, tables 1a and 2a: decision value numbers scaled to 16 bits.
        (MU_LAW, 0xFF, 0), (MU_LAW, 0x7F, 0), (MU_LAW, 0x80, 32124), (MU_LAW, 0x00, -32124),
        (MU_LAW, 0xFE, 8), (MU_LAW, 0xEF, 132),
        (A_LAW, 0xD5, 8), (A_LAW, 0x55, -8), (A_LAW, 0xAA, 32256), (A_LAW, 0x2A, -32256),
        (A_LAW, 0xC5, 264), (A_LAW, 0xF5, 528),
    ],
)  # fmt: skip
def test_telephone_codes_mean_what_g711_says(form: AudioFormat, code: int, value: int) -> None:
    """Silence, the smallest steps and the largest values, in both laws."""
    assert decoded(form, bytes([code]))[0] * 32768 == value


@pytest.mark.parametrize("form", [MU_LAW, A_LAW])
def test_telephone_codes_cover_both_signs_alike(form: AudioFormat) -> None:
    """Each code has its negative."""
    values = decoded(form, bytes(range(256)))
    assert sorted(values) == sorted(-values)


def test_a_format_without_a_rate_gets_the_usual_one() -> None:
    """24 kHz, as OpenAI has it; telephones have 8 kHz."""
    assert usable(AudioFormat(type="audio/pcm")).rate == 24_000
    assert rate_of(usable(MU_LAW)) == 8_000
    assert [frame_bytes(form) for form in (S16, F32, A_LAW)] == [2, 4, 1]


@pytest.mark.parametrize("rate", [88_200, 96_000, 192_000])
def test_rates_of_studio_cards_are_taken(rate: int) -> None:
    """A browser may have no other rate to give."""
    assert usable(AudioFormat(type="audio/pcm", rate=rate)).rate == rate


@pytest.mark.parametrize(
    "form",
    [
        AudioFormat(type="audio/pcm", rate=7_999),
        AudioFormat(type="audio/pcm", rate=192_001),
        AudioFormat(type="audio/pcma", rate=16_000),
    ],
)
def test_a_rate_out_of_range_is_refused(form: AudioFormat) -> None:
    """The line says what can be used."""
    with pytest.raises(ConfigError, match=r"\d+"):
        usable(form)
