"""The exported embedder gives what the network gives, for sound of any length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from streamser.errors import ModelError
from streamser.graphs import open_part
from streamser.speech.campplus import GRAPH
from tools.speakers.__main__ import main
from tools.speakers.export import Format, read_weights, rounded
from tools.speakers.network import CampPlusNetwork

RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write random weights in the published form; none of them is a neutral element."""
    torch.manual_seed(0)
    network = CampPlusNetwork()
    for name, value in network.state_dict().items():
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            value.uniform_(0.5, 1.5)
        elif value.ndim == 1:
            value.normal_(std=0.1)
    path = tmp_path_factory.mktemp("weights") / "campplus.pt"
    torch.save(network.state_dict(), path)
    return path


def test_the_graph_answers_as_the_network_does(weights: Path, tmp_path: Path) -> None:
    """At the edges of its segments of 100 frames, too; the folder tells what it holds."""
    assert main(["export", str(weights), "--out", str(tmp_path), "--format", "float"]) == 0
    graph, network = open_part(tmp_path, GRAPH, inputs=("frames",)), read_weights(weights)
    for length in (3, 10, 198, 199, 201, 400, 1_234):
        frames = RNG.normal(size=(1, length, 80)).astype(np.float32)
        (found,) = graph.run(["voice"], {"frames": frames})
        with torch.inference_mode():
            wanted = network(torch.from_numpy(frames)).numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())


def test_a_segment_is_masked_by_its_own_mean(weights: Path) -> None:
    """What comes 200 frames later changes no mask but by the mean over all."""
    layer: Any = read_weights(weights).xvector.get_submodule("block1.tdnnd1")
    frames = torch.from_numpy(RNG.normal(size=(1, 128, 250)).astype(np.float32))
    narrow = layer.nonlinear2(layer.linear1(layer.nonlinear1(frames)))
    masked = layer.cam_layer
    for first, last in ((0, 100), (100, 200), (200, 250)):
        context = narrow.mean(dim=2) + narrow[:, :, first:last].mean(dim=2)
        mask = masked.linear2(torch.relu(masked.linear1(context[:, :, None]))).sigmoid()
        wanted = (masked.linear_local(narrow) * mask)[:, :, first:last]
        segments = torch.zeros(1, 250, 3)
        for number in range(3):
            segments[:, 100 * number : 100 * (number + 1), number] = 1
        found = layer(frames, segments)[:, :, first:last]
        np.testing.assert_allclose(found.detach(), wanted.detach(), atol=1e-5)


@pytest.mark.parametrize(("form", "within"), [("half", 1e-3), ("int8", 3e-2)])
def test_weights_are_rounded_by_output(form: Format, within: float) -> None:
    """A loud filter does not make its neighbour coarse; what is small stays as it is."""
    weight = RNG.normal(size=(32, 16, 5)).astype(np.float32)
    weight[0] *= 100
    small = RNG.normal(size=32).astype(np.float32)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 9])
    wanted = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32, 5])
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"])],
        "one",
        [given],
        [wanted],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(small, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    sound = {"x": RNG.normal(size=(1, 16, 9)).astype(np.float32)}
    before = answer(model, sound)
    rounded(model.graph, form)
    onnx.checker.check_model(model)
    after = answer(model, sound)
    apart, whole = (np.linalg.norm(each, axis=2) for each in (after - before, before))
    assert ((apart > 0) & (apart < within * whole)).all()
    assert "b" in {each.name for each in model.graph.initializer}


def answer(model: onnx.ModelProto, sound: dict[str, Any]) -> np.ndarray:
    """Run a graph by the reference of ONNX itself."""
    found: Any = ReferenceEvaluator(model).run(None, sound)
    return np.asarray(found[0])


def test_other_weights_are_refused(tmp_path: Path) -> None:
    """Some other network, or no network at all."""
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    (tmp_path / "none.pt").write_bytes(b"nothing")
    for name in ("other.pt", "none.pt", "missing.pt"):
        with pytest.raises(ModelError, match="does not hold the weights of CAM"):
            read_weights(tmp_path / name)
