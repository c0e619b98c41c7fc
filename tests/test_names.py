"""Names that look the same are the same, in every script."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.errors import ConfigError
from streamser.events import AudioFormat
from streamser.server.dialects.commands import StreamSettings
from streamser.server.dialects.openai_realtime import parse_realtime
from streamser.settings import EndpointingSettings, PartialSettings
from streamser.text import printable, read_name

_PERSIAN = "علی\u200cرضا"
_SINHALA = "චන්ද්\u200dරිකා"
_FAMILY = "👩\u200d👩\u200d👧"
_ON_FIRE = "❤\ufe0f\u200d🔥"
_SCOTLAND = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.mark.parametrize("name", [_PERSIAN, _SINHALA, _FAMILY, _ON_FIRE, f"Ann {_SCOTLAND}"])
def test_joiners_are_parts_of_names(name: str) -> None:
    """Without them a Persian or Sinhala name is another word, and a family four people."""
    assert read_name(name, "speaker") == name
    assert printable(f"{name}: hello").startswith(name.removesuffix(_SCOTLAND))


@pytest.mark.parametrize("name", ["Zoë", "Nguyễn Thị Hồng", "김민준", "Åsa"])
def test_composed_and_decomposed_are_one_person(name: str) -> None:
    """Macs send file names decomposed, keyboards compose."""
    apart = unicodedata.normalize("NFD", name)
    assert apart != name
    assert read_name(apart, "speaker") == read_name(name, "speaker") == name


@pytest.mark.parametrize(
    "typed",
    ["\u200fדנה", "דנה\u200e", "\u202bדנה\u202c", "\u2068דנה\u2069", "\ufeffדנה", "דנ\u200bה"],
)
def test_marks_of_direction_make_no_other_person(typed: str) -> None:
    """They come along when a name is copied; nobody sees them, and none stays open."""
    assert read_name(typed, "speaker") == "דנה"


@pytest.mark.parametrize(
    "typed", ["An\u200dn", "Ann\u200c", "\u200dAnn", "A\u00adnn", "Ann\u200d\u200d"]
)
def test_a_joiner_that_joins_nothing_makes_no_other_person(typed: str) -> None:
    """Else somebody could come as Ann beside Ann."""
    assert read_name(typed, "speaker") == "Ann"


def test_blanks_of_every_width_are_blanks() -> None:
    """Japanese keyboards have a wide one, French ones one that does not break."""
    assert read_name(" 山田\u3000太郎 ", "speaker") == "山田 太郎"
    assert read_name("Ann\u00a0 B.", "speaker") == "Ann B."


@pytest.mark.parametrize(
    "name",
    ["", " ", "\u200d", "\u200f", "a\nb", "a\x00b", "a\x1b[2Jb", "x" * 81, "\u2028", "\ud800"],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    """Nothing to see, line ends, control characters, too long."""
    with pytest.raises(ConfigError, match="speaker: a name has 1 to 80 printable characters"):
        read_name(name, "speaker")


@given(st.text(max_size=20))
def test_a_name_is_read_once_and_for_all(text: str) -> None:
    """What came out goes in unchanged, and so does its decomposed form."""
    try:
        name = read_name(text, "speaker")
    except ConfigError:
        return
    assert read_name(name, "speaker") == name
    assert read_name(unicodedata.normalize("NFD", name), "speaker") == name


def test_the_query_of_a_stream_reads_names_so() -> None:
    """Speaker and meeting both."""
    query = {"speaker": [_PERSIAN + "\u200e"], "meeting": ["Cafe\u0301"]}
    usual = StreamSettings(
        format=AudioFormat(type="audio/pcm", rate=24_000),
        endpointing=EndpointingSettings(),
        partial=PartialSettings(),
    )
    settings, meeting = parse_realtime(query, usual)
    assert (settings.speaker, meeting) == (_PERSIAN, "Café")
