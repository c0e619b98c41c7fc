"""What a recogniser says is written as an event, whatever a plug-in calls a transcript."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from streamser.audio.clip import SAMPLE_RATE, Clip
from streamser.errors import ModelError
from streamser.speech.transcriber import Transcript, Word, plain_transcript

CLIP = Clip("a", 1, 0, np.zeros(2 * SAMPLE_RATE, np.float32), final=True)


def plain(heard: Any) -> Transcript:
    """Read what a recogniser called odd has heard in two seconds."""
    return plain_transcript(heard, CLIP, "odd")


def test_a_transcript_is_what_it_was() -> None:
    """With its words, in any script."""
    heard = Transcript(
        "grüß dich 👋",
        (Word("grüß", 0, 800, 0.5), Word("dich 👋", 800, 1600)),
        "de",
        0.5,
        0.1,
        -0.3,
    )
    assert plain(heard) == heard


def test_no_reason_to_distrust_is_none() -> None:
    """A plug-in may leave it out in its own way; its words would be read from by nobody."""
    nothing: Any = None
    assert plain(Transcript("hello", distrust=nothing)).distrust == ""


def test_what_cannot_be_written_is_made_so() -> None:
    """Halves of surrogate pairs, numbers of numpy, and means of nothing."""
    heard = Transcript(
        "a \ud800 b",
        [Word("\ud800", np.int64(3), np.float32(7.0), np.float32(0.5))],  # type: ignore[arg-type]
        language="\ud800",
        confidence=np.float64(0.25),
        avg_logprob=float("nan"),
    )
    told = plain(heard)
    assert told == Transcript("a ? b", (Word("?", 3, 7, 0.5),), "?", 0.25)
    assert msgspec.json.decode(msgspec.json.encode(told), type=Transcript) == told


@pytest.mark.parametrize(
    ("heard", "what"),
    [
        (None, "gave NoneType"),
        (Transcript(None), "a text is NoneType"),  # type: ignore[arg-type]
        (Transcript(b"words"), "a text is bytes"),  # type: ignore[arg-type]
        (Transcript("a", ("b",)), "words are Words"),  # type: ignore[arg-type]
        (Transcript("a", (Word("a", None, 1),)), "place"),  # type: ignore[arg-type]
        (Transcript("a", confidence="high"), "confidence is str"),  # type: ignore[arg-type]
        (Transcript("word " * 1000), "more than 1200 letters for 2.0 s"),
        (Transcript("a", (Word("a" * 5000, 0, 1),)), "more than 1200 letters"),
    ],
)
def test_what_is_no_transcript_is_a_fault_of_the_model(heard: Any, what: str) -> None:
    """It names the recogniser: that utterance fails, and all goes on."""
    with pytest.raises(ModelError, match=f"^odd: .*{what}"):
        plain(heard)
