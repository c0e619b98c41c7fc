"""A microphone of several channels on the page, without a browser: mixed as files are."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from streamser.audio.clip import Samples
from streamser.audio.reader import Mixer
from streamser.audio.source import Frames

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")

SCRIPT = Path(__file__).with_name("mixing.mjs")
RATE = 16_000
LENGTH = 32 * 512
VOICE: Samples = (0.5 * np.sin(2 * np.pi * 220 * np.arange(LENGTH) / RATE)).astype(np.float32)
NOTHING: Samples = 0 * VOICE
BREAKS_OFF: Samples = np.concatenate([VOICE[: LENGTH // 2], NOTHING[LENGTH // 2 :]])


def sent(*changes: list[Samples]) -> Samples:
    """Return what the page sends of stretches of channels, in [-1, 1]."""
    task = {"rate": RATE, "changes": [[each.tolist() for each in one] for one in changes]}
    done = subprocess.run(
        ["node", str(SCRIPT)],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout), np.float32) / np.float32(32767)


@pytest.mark.parametrize(
    "channels",
    [
        [NOTHING, VOICE],
        [VOICE, -VOICE],
        [BREAKS_OFF, -VOICE],
        [BREAKS_OFF, -BREAKS_OFF, 0.001 * VOICE],
        [NOTHING] * 12 + [VOICE],
    ],
    ids=["the right one", "cancelling", "one breaks off", "two break off", "one of thirteen"],
)
def test_it_mixes_as_files_are_mixed(channels: list[Samples]) -> None:
    """To the last of 16 bits: a reading must not depend on where the sound comes from."""
    frames: Frames = np.stack(channels, axis=1).astype(np.float32)
    mixer = Mixer(RATE, len(channels))
    wanted = np.concatenate([mixer.feed(frames), mixer.flush()])
    got = sent(channels)
    assert len(got) >= LENGTH - 2 * 512
    assert np.abs(got - wanted[: len(got)]).max() <= 1.01 / 32767


def test_a_voice_on_the_second_input_is_heard() -> None:
    """At half its strength, which is 6 dB; all of it where the other channel cancels it."""
    assert np.abs(sent([NOTHING, VOICE])).max() >= 0.249
    assert np.abs(sent([VOICE, -VOICE])).max() >= 0.499


def test_one_channel_passes_as_it_is_and_another_may_come_and_go() -> None:
    """Nothing of one is held back, and nothing lost of what was held back of two."""
    assert np.abs(sent([VOICE]) - VOICE).max() <= 0.51 / 32767
    got = sent([VOICE[:2048]] * 2, [VOICE[2048:]])
    assert np.abs(got - VOICE).max() <= 1.01 / 32767
