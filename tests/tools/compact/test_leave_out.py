"""Who is left out does not teach, and is all that is judged."""

from __future__ import annotations

from tests.tools.compact.tiny_voices import tiny_voices
from tools.compact.leave_out import without


def test_what_is_left_out_teaches_nothing() -> None:
    """All of a speaker goes, of every other everything stays."""
    voices = tiny_voices()
    rest = without(voices, ["tiny/speaker1", "tiny/nobody"])
    kept = [name != "tiny/speaker1" for name in voices.speakers]
    assert set(rest.speakers) == {"tiny/speaker0", "tiny/speaker2"}
    assert (rest.values == voices.values[:, kept]).all()
    assert (rest.pools == voices.pools[kept]).all()
    assert rest.ids == tuple(name for name, keep in zip(voices.ids, kept, strict=True) if keep)
