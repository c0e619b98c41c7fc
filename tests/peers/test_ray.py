"""Ray Serve has a model, our program asks it; it is killed, and streams go on."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from streamser.emotion.choose import choose_model
from streamser.emotion.model import EmotionModel, Prediction, Segment
from streamser.emotion.remote.link import RemoteAwayError, RemoteLink
from streamser.settings import EmotionSettings
from tests.cli.running import DEMO
from tests.emotion.fused.checkpoints import tiny_checkpoint
from tests.emotion.remote.deployment import finals
from tests.emotion.voices import speak
from tests.peers.peer import Peer
from tools.bench.ray_deployment import deployed_in_ray

RAY = Peer("ray", "")
pytestmark = [*RAY.marks, pytest.mark.timeout(300)]
CLIPS = [
    Segment(speak(120.0), "leave me alone"),
    Segment(speak(200.0), None),
    Segment(np.zeros(0, np.float32), "what a wonderful surprise"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tiny checkpoint of voice and words."""
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="module")
def here(checkpoint: Path) -> EmotionModel:
    """Load it here as well."""
    return choose_model(EmotionSettings(model=str(checkpoint), device="cpu"))


def readings(model: EmotionModel, clips: list[Segment]) -> list[Prediction]:
    """Let a model read clips of somebody it does not know."""
    speaker = model.new_speaker()
    return [speaker.predict(each) for each in model.extract(clips)]


def close(one: Prediction, other: Prediction) -> bool:
    """Tell whether two readings are the same but for the rounding of batches."""
    scores = [abs(one.scores[name] - other.scores[name]) for name in one.scores]
    return one.modalities == other.modalities and max(scores) < 1e-5


def test_a_model_in_ray_reads_as_it_does_here_and_its_death_costs_no_utterance(
    checkpoint: Path, here: EmotionModel, tmp_path: Path
) -> None:
    """Alone, for many at once, and in a recording; with Ray killed the model here goes on."""
    expected = readings(here, CLIPS)
    options = ("device=cpu", "max_batch=8", "wait_ms=20", "cpus=0.5", "replicas=2")
    with deployed_in_ray(RAY.python, tmp_path, f"model={checkpoint}", *options) as (url, child):
        model = choose_model(EmotionSettings(model="rules", remote=url, remote_s=20))
        assert (model.name, model.modalities) == ("tiny", ("audio", "text"))
        found = readings(model, CLIPS)
        assert [each.model for each in found] == ["tiny"] * 3
        assert all(close(one, other) for one, other in zip(found, expected, strict=True))

        asking = EmotionSettings(model="rules", remote=url, remote_s=20)
        many = [choose_model(asking) for _ in range(3)]
        with ThreadPoolExecutor(len(many)) as pool:
            together = list(pool.map(lambda each: readings(each, CLIPS), many))
        for some in together:
            assert all(close(one, other) for one, other in zip(some, found, strict=True))

        with pytest.raises(RemoteAwayError, match="answers 400: AskedClips cannot be read"):
            RemoteLink(url).wait_for(b"nonsense", 20)

        told = finals(DEMO, url)
        assert {event.emotion.model for event in told} == {"tiny"}
        assert [e.emotion.window for e in told] == [e.emotion.window for e in finals(DEMO, None)]

        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        # What Ray has started ends a moment later; whoever is asked meanwhile has read.
        while (found := readings(model, CLIPS))[0].model == "tiny":
            pass
        alone = readings(choose_model(EmotionSettings(model="rules")), CLIPS)
        assert found == [replace(each, model="rules") for each in alone]
