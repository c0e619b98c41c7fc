"""Sound that is not what a client says it is: advised once, and no emotion made up of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.server.serving import EMOTION, Stage, demo, of_kind, whole

RIGHT = np.rint(demo(6.0) * 32767).astype("<i2")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Run a server."""
    stage = Stage()
    yield stage
    stage.close()


@pytest.mark.parametrize(
    ("kind", "encoding", "data"),
    [
        ("scale", "f32le", RIGHT.astype("<f4").tobytes()),
        ("byte_order", "s16le", RIGHT.astype(">i2").tobytes()),
        ("byte_order", "s16le", b"\0" + RIGHT.tobytes()),
        ("encoding", "s16le", (RIGHT / 32768).astype("<f4").tobytes()),
        ("container", "s16le", b"\x1aE\xdf\xa3" + RIGHT.tobytes()),
    ],
)
def test_wrong_sound_is_advised_once_and_not_read(
    stage: Stage, kind: str, encoding: str, data: bytes
) -> None:
    """By no error, for clients die of these; and whoever seems to speak is of no mood."""
    events = stage.play(whole(stage.server, data, rate="16000", encoding=encoding))
    (advice,) = of_kind(events, "streamser.advice")
    assert advice["kind"] == kind
    assert not of_kind(events, "error")
    for event in of_kind(events, EMOTION):
        assert event["emotion"]["category"] == "unsure"
        assert event["emotion"]["modalities"] == []


def test_right_sound_is_read_without_advice(stage: Stage) -> None:
    """Nothing is told of sound that is as announced."""
    events = stage.play(whole(stage.server, RIGHT.tobytes(), rate="16000"))
    assert not of_kind(events, "streamser.advice")
    assert all(event["emotion"]["modalities"] for event in of_kind(events, EMOTION))
    assert of_kind(events, EMOTION)
