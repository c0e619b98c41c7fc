from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from streamser.emotion.compact.model import JUDGE_INPUTS
from streamser.emotion.compact.speaker_stats import GROUPS, WIDTH
from streamser.emotion.fused.interfaces import Encoded
from tools.compact.export_judge import export_judge
from tools.compact.network import Judge, JudgeSettings, Voice


@pytest.fixture(scope="module")
def judge() -> Judge:
    """Return a small network with random weights."""
    torch.manual_seed(0)
    return Judge(JudgeSettings(hidden=16, tokens=2, width=8, heads=2, bridge_tokens=2)).eval()


@pytest.fixture(scope="module")
def session(judge: Judge, tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    """Export it."""
    path = tmp_path_factory.mktemp("judge") / "judge.onnx"
    export_judge(judge, path)
    return onnxruntime.InferenceSession(str(path))


@pytest.mark.parametrize("length", [1, 2, 40])
@pytest.mark.parametrize(
    ("audio", "text"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_the_graph_answers_as_the_network(
    judge: Judge,
    session: onnxruntime.InferenceSession,
    audio: bool,
    text: bool,
    length: int,
) -> None:
    """With either modality, both or none, any number of word pieces; weights have 16 bits."""
    rng = np.random.default_rng(length)
    sizes = (WIDTH, WIDTH, WIDTH, len(GROUPS), 1)
    voice = [rng.normal(size=(1, size)).astype(np.float32) for size in sizes]
    words = rng.normal(size=(1, length, 384)).astype(np.float32)
    given = [np.array([audio]), np.array([text])]
    feed = dict(zip(JUDGE_INPUTS, [*voice, words, *given], strict=True))
    logits, dimensions = session.run(["logits", "dimensions"], feed)
    with torch.inference_mode():
        answer = judge(
            Voice(*map(torch.from_numpy, voice)),
            Encoded(torch.from_numpy(words), torch.ones(1, length, dtype=torch.bool)),
            *map(torch.from_numpy, given),
        )
    np.testing.assert_allclose(logits, answer.logits.numpy(), atol=2e-3)
    np.testing.assert_allclose(dimensions, answer.dimensions.numpy(), atol=2e-3)
