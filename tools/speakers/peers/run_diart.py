"""Let diart say who speaks in recordings, as they come; runs in an environment of its own.

    python run_diart.py NETWORKS SETTINGS WAV...

As ``run_sherpa.py``. diart's pipeline is as it comes, with its settings but for those given; both
networks are other ones than its own, which lie behind an account. CAM++ takes no weights: it is
given the frames in which a speaker is heard alone. What is described once is not described again
for another setting.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import kaldi_native_fbank
import numpy as np
import onnxruntime
import soundfile
import torch

RATE = 16_000
SETS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]])
ALONE = 0.5
"""Weight of a frame from which on diart holds it for one speaker's alone."""
LEAST = 20
"""Frames of 10 ms without which nothing is described."""


def without_torchaudio() -> None:
    """Do without torchaudio: for CPUs there is none that loads, and nothing here resamples."""
    parts = {"": ModuleType("torchaudio")}
    parts |= {name: ModuleType(f"torchaudio.{name}") for name in ("functional", "transforms")}
    vars(parts[""])["set_audio_backend"] = lambda _: None
    vars(parts["functional"])["resample"] = None
    for name, part in parts.items():
        sys.modules[part.__name__] = part
        if name:
            setattr(parts[""], name, part)


def opened(path: Path) -> onnxruntime.InferenceSession:
    """Open a graph for one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Network:
    """Be what diart calls a model: it moves to a device, and is asked."""

    def __init__(self, path: Path) -> None:
        self.graph = opened(path)
        self.kept: dict[bytes, np.ndarray] = {}

    def to(self, _: object) -> Network:
        """Stay where it is."""
        return self


class Segmentation(Network):
    """Say who is heard in chunks [n, 1, samples]: 0 or 1, [n, frames, 3], as pyannote would."""

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """Answer for a batch."""
        return torch.from_numpy(np.stack([self._heard(each) for each in waveform.numpy()]))

    def _heard(self, chunk: np.ndarray) -> np.ndarray:
        key = chunk.tobytes()
        if key not in self.kept:
            (found,) = self.graph.run(None, {"x": chunk[None].astype(np.float32)})
            self.kept[key] = SETS[found[0].argmax(axis=1)].astype(np.float32)
        return self.kept[key]


class Voice(Network):
    """Describe one speaker of each chunk, by weights [n, frames]; not a number where too little."""

    def __call__(self, waveform: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Answer for a batch."""
        pairs = zip(waveform.numpy()[:, 0], weights.numpy(), strict=True)
        return torch.from_numpy(np.stack([self._described(*pair) for pair in pairs]))

    def _described(self, chunk: np.ndarray, weights: np.ndarray) -> np.ndarray:
        key = chunk.tobytes() + weights.tobytes()
        if key not in self.kept:
            self.kept[key] = self._voice(chunk, weights)
        return self.kept[key]

    def _voice(self, chunk: np.ndarray, weights: np.ndarray) -> np.ndarray:
        frames = kaldi_frames(chunk)
        of = np.minimum(np.arange(len(frames)) * len(weights) // len(frames), len(weights) - 1)
        heard = weights[of] > ALONE
        if heard.sum() < LEAST:
            return np.full(192, np.nan, np.float32)
        chosen = frames[heard]
        chosen = chosen - chosen.mean(axis=0)
        (found,) = self.graph.run(None, {"frames": chosen[None].astype(np.float32)})
        voice: np.ndarray = found[0]
        return voice


def kaldi_frames(samples: np.ndarray) -> np.ndarray:
    """Return Kaldi's filter bank, 80 bands, without dither, [frames, 80]."""
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.samp_freq = RATE
    options.mel_opts.num_bins = 80
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(RATE, samples)
    bank.input_finished()
    return np.stack([bank.get_frame(each) for each in range(bank.num_frames_ready)])


def main() -> None:
    """Answer on standard output."""
    without_torchaudio()
    from diart import SpeakerDiarization, SpeakerDiarizationConfig
    from diart.models import EmbeddingModel, SegmentationModel
    from pyannote.core import Annotation, SlidingWindow, SlidingWindowFeature

    torch.set_num_threads(1)
    networks, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    ears = Segmentation(networks / "segmentation.onnx")
    voice = Voice(networks / "voice.onnx")
    for file in sys.argv[3:]:
        samples, _ = soundfile.read(file, dtype="float32")
        for name, setting in settings.items():
            config = SpeakerDiarizationConfig(
                segmentation=SegmentationModel(lambda: ears),
                embedding=EmbeddingModel(lambda: voice),
                **setting,
            )
            program = SpeakerDiarization(config)
            length, step = round(config.duration * RATE), round(config.step * RATE)
            # As diart pads files: what is said last is to be told as well.
            rest = np.zeros(round((config.latency - config.step) * RATE), np.float32)
            sound = np.concatenate([samples, rest])
            told = Annotation()
            for start in range(0, len(sound) - length + 1, step):
                window = SlidingWindow(1 / RATE, 1 / RATE, start / RATE)
                chunk = SlidingWindowFeature(sound[start : start + length, None], window)
                for found, _ in program([chunk]):
                    told.update(found)
            # As diart joins what it tells: gaps of 50 ms are none.
            turns = [
                (segment.start, segment.end, str(label))
                for segment, _, label in told.support(0.05).itertracks(yield_label=True)
            ]
            said = {"setting": name, "file": Path(file).name, "turns": turns}
            print(json.dumps(said), flush=True)
        ears.kept.clear()
        voice.kept.clear()


if __name__ == "__main__":
    main()
