"""The exported embedder gives what the network gives, for sound of any length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from streamser.errors import ModelError
from streamser.graphs import open_graph, open_part
from streamser.speech import overlap
from streamser.speech.campplus import GRAPH, TimeMeans, whole_means, window_means
from tools.speakers.__main__ import main
from tools.speakers.export import (
    Format,
    export_whole_voice,
    read_segmentation,
    read_voice,
    rounded,
)
from tools.speakers.network import CampPlusNetwork
from tools.speakers.segmentation import SegmentationNetwork

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


def random_segmentation(path: Path) -> None:
    """Write random weights of the other network in the published form."""
    torch.manual_seed(0)
    network = SegmentationNetwork()
    network.load_state_dict(_filters(network.state_dict()))
    torch.save({"state_dict": network.state_dict()}, path)


@pytest.fixture(scope="module")
def graph(weights: Path) -> Any:
    """Export it, once; the folder tells what it holds."""
    asked = ["export", "voice", str(weights), "--out", str(weights.parent), "--format", "float"]
    assert main(asked) == 0
    return open_part(weights.parent, GRAPH, inputs=("frames", *TimeMeans._fields))


def test_the_graph_answers_as_the_network_does(weights: Path, graph: Any) -> None:
    """At the edges of its segments of 100 places, too."""
    network = read_voice(weights)
    for length in (3, 10, 198, 199, 201, 400, 1_234):
        frames = RNG.normal(size=(1, length, 80)).astype(np.float32)
        means = whole_means((length + 1) // 2)
        (found,) = graph.run(["voices"], {"frames": frames, **means._asdict()})
        wanted = said(network, frames, means)
        np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())


def test_the_graph_for_others_describes_a_sound_by_its_frames_alone(
    weights: Path, tmp_path: Path
) -> None:
    """As ours does with the means of the whole, in segments of 100 places."""
    network = read_voice(weights)
    export_whole_voice(network, tmp_path / "whole.onnx", "float")
    others = open_graph(tmp_path / "whole.onnx", inputs=("frames",))
    for length in (10, 199, 400, 1_234):
        frames = RNG.normal(size=(1, length, 80)).astype(np.float32)
        (found,) = others.run(["voice"], {"frames": frames})
        wanted = said(network, frames, whole_means((length + 1) // 2))
        np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())


def test_windows_are_described_in_one_pass(weights: Path, graph: Any) -> None:
    """And what is said of one does not depend on what others are asked for."""
    frames = RNG.normal(size=(1, 300, 80)).astype(np.float32)
    means = window_means(48_240, [(0, 24_000), (12_000, 36_000), (24_240, 48_240)])
    (found,) = graph.run(["voices"], {"frames": frames, **means._asdict()})
    wanted = said(read_voice(weights), frames, means)
    assert found.shape == (3, 192)
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())
    (alone,) = graph.run(
        ["voices"], {"frames": frames, **means._replace(pooled=means.pooled[:, 1:2])._asdict()}
    )
    np.testing.assert_allclose(alone[0], found[1], atol=1e-4 * np.abs(found).max())


def said(network: CampPlusNetwork, frames: np.ndarray, means: TimeMeans) -> np.ndarray:
    """Ask the network itself."""
    with torch.inference_mode():
        given = (torch.from_numpy(np.ascontiguousarray(each)) for each in (frames, *means))
        return np.asarray(network(*given))


def test_the_segmentation_answers_as_the_network_does(tmp_path: Path) -> None:
    """Its filters become constants; sound may have any length from two frames on."""
    path = tmp_path / "segmentation.pt"
    random_segmentation(path)
    asked = ["export", "segmentation", str(path), "--out", str(tmp_path), "--format", "float"]
    assert main(asked) == 0
    graph = open_part(tmp_path, overlap.GRAPH, inputs=("samples",))
    network = read_segmentation(path)
    for length in (1_261, 16_000, 40_000):
        samples = RNG.normal(scale=0.1, size=(1, length)).astype(np.float32)
        (found,) = graph.run(["sets"], {"samples": samples})
        with torch.inference_mode():
            wanted = network(torch.from_numpy(samples)).numpy()
        assert found.shape == (1, 1 + (length - 991) // overlap.STEP, 7)
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_a_segment_is_masked_by_its_own_mean(weights: Path) -> None:
    """What comes 200 frames later changes no mask but by the mean over all."""
    layer: Any = read_voice(weights).xvector.get_submodule("block1.tdnnd1")
    frames = torch.from_numpy(RNG.normal(size=(1, 128, 250)).astype(np.float32))
    narrow = layer.nonlinear2(layer.linear1(layer.nonlinear1(frames)))
    masked = layer.cam_layer
    for first, last in ((0, 100), (100, 200), (200, 250)):
        context = narrow.mean(dim=2) + narrow[:, :, first:last].mean(dim=2)
        mask = masked.linear2(torch.relu(masked.linear1(context[:, :, None]))).sigmoid()
        wanted = (masked.linear_local(narrow) * mask)[:, :, first:last]
        contexts, held, _ = map(torch.from_numpy, whole_means(250))
        found = layer(frames, contexts, held)[:, :, first:last]
        np.testing.assert_allclose(found.detach(), wanted.detach(), atol=1e-5)


@pytest.mark.parametrize(("form", "step"), [("half", 2**-11), ("int8", 0.5 / 127)])
def test_weights_are_rounded_by_output(tmp_path: Path, form: Format, step: float) -> None:
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
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    sound = {"x": RNG.normal(size=(1, 16, 9)).astype(np.float32)}
    before = answer(model, tmp_path / "one.onnx", sound)
    rounded(model.graph, form)
    onnx.checker.check_model(model)
    after = answer(model, tmp_path / "one.onnx", sound)
    apart = np.abs(after - before).max(axis=(0, 2))
    most = step * np.abs(weight).max(axis=(1, 2)) * np.abs(sound["x"]).sum()
    assert ((apart > 0) & (apart < most)).all()
    assert "b" in {each.name for each in model.graph.initializer}


def _filters(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Fill in bands from 0 to 4 kHz, and the times and window of half a filter."""
    bank = "sincnet.conv1d.0.filterbank"
    times = 2 * torch.pi * torch.arange(-125, 0.0)[None] / 16_000
    bands = {"low_hz_": torch.arange(40.0)[:, None] * 100, "band_hz_": torch.full((40, 1), 100.0)}
    window = torch.hamming_window(251, periodic=False)[:125]
    made = bands | {"n_": times, "window_": window}
    return state | {f"{bank}.{name}": value for name, value in made.items()}


def answer(model: onnx.ModelProto, path: Path, sound: dict[str, Any]) -> np.ndarray:
    """Run a graph as the program does."""
    onnx.save(model, path)
    (found,) = open_graph(path, inputs=("x",), unpacked=True).run(None, sound)
    return np.asarray(found)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    """Some other network, or no network at all."""
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    (tmp_path / "none.pt").write_bytes(b"nothing")
    for name in ("other.pt", "none.pt", "missing.pt"):
        with pytest.raises(ModelError, match="does not hold the weights of CAM"):
            read_voice(tmp_path / name)
