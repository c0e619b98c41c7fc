"""Teach Whisper's encoder to give in a short window what it gives in 30 s, and measure that.

The teacher is the encoder itself in the full window, the student the same with low-rank adapters
(Hu et al., arXiv:2106.09685) on every linear layer, in the window of the utterance and half a
second to one second behind it. No words are needed. Adapters and not all weights: the little free
speech that there is says 22 sentences, which 7 million weights would learn by heart.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from streamser.errors import ConfigError
from streamser.speech.whisper import WhisperOptions
from streamser.speech.whisper_encoder import (
    Encoded,
    LogMel,
    RememberingEncoder,
    complete,
    frames_needed,
    pad,
    read_encoder,
)
from tools.whisper_windows.lessons import read_clips, utterance
from tools.whisper_windows.trial import TrialWhisper, Way
from tools.whisper_windows.words import Kept, words_table

__all__ = [
    "Encoder",
    "Lesson",
    "Settings",
    "TaughtWhisper",
    "distil_table",
    "learn",
    "lessons",
]

_PERFECTLY: Final = "taught perfectly"
"""By the first steps of the full window, which is all that a student can learn."""
_WAYS: Final = (
    Way(None),
    Way(0.5, "in every layer"),
    *(Way(margin, "behind") for margin in (0.5, 1.0)),
    *(Way(1.0, f"{_PERFECTLY}: {kept}") for kept in ("nothing", "behind")),
    *(Way(margin, f"taught: {kept}") for kept in ("nothing", "behind") for margin in (1.0, 0.5)),
)
_MARGINS_S: Final = (0.5, 1.0)
_FULL: Final = 3000
_CHUNK: Final = 50
_BATCH: Final = 2
_CHECKS: Final = 24


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Settings(msgspec.Struct, frozen=True):
    """Say how an encoder is taught: how many utterances, how often each, and how fast."""

    utterances: int = 240
    epochs: int = 6
    seed: int = 0
    rank: int = 16
    rate: float = 1e-3


class Lesson(msgspec.Struct, frozen=True, eq=False):
    """Hold an utterance [bands, frames], and what the teacher makes of it and a second more."""

    features: LogMel
    encoded: Encoded


class _Adapted(nn.Module):
    """A linear layer that does not learn, and what is added to it, of low rank, that does."""

    def __init__(self, weights: dict[str, Any], name: str, rank: int) -> None:
        super().__init__()
        weight = torch.from_numpy(weights[f"{name}/weight"])
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", torch.from_numpy(weights[f"{name}/bias"]), persistent=False)
        self.down = nn.Parameter(torch.randn(rank, weight.shape[1]) / weight.shape[1] ** 0.5)
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))

    def forward(self, values: Tensor, taught: bool) -> Tensor:
        found = functional.linear(values, self.get_buffer("weight"), self.get_buffer("bias"))
        return found + (values @ self.down.T) @ self.up.T if taught else found


class Encoder(nn.Module):
    """Whisper's encoder with adapters, from the weights that ``read_encoder`` gives."""

    def __init__(self, weights: dict[str, Any], rank: int) -> None:
        super().__init__()
        self._heads = int(weights["num_heads"])
        self._fixed = {name: torch.from_numpy(np.array(each)) for name, each in weights.items()}
        names = [name for name in weights if name.endswith(("linear_0/weight", "linear_1/weight"))]
        self._depth = 1 + max(int(name.split("/")[0].removeprefix("layer_")) for name in names)
        self.adapted = nn.ModuleDict(
            {
                name.removesuffix("/weight"): _Adapted(weights, name.removesuffix("/weight"), rank)
                for name in sorted(names)
            }
        )

    def forward(self, features: Tensor, taught: bool) -> Tensor:
        """Encode a window [bands, frames] to [frames / 2, width], as taught or as published."""
        hidden = features
        for number, stride in ((1, 1), (2, 2)):
            kernel, bias = (self._fixed[f"conv{number}/{kind}"] for kind in ("weight", "bias"))
            hidden = functional.gelu(functional.conv1d(hidden, kernel, bias, stride, padding=1))
        values = hidden.T + self._fixed["position_encodings/encodings"][: hidden.shape[1]]
        for layer in (f"layer_{number}" for number in range(self._depth)):
            attention = f"{layer}/self_attention"
            normed = self._norm(values, f"{attention}/layer_norm")
            projected = self.adapted[f"{attention}/linear_0"](normed, taught)
            parts = projected.reshape(len(values), 3, self._heads, -1).permute(1, 2, 0, 3)
            found = functional.scaled_dot_product_attention(*parts)
            mixed = found.transpose(0, 1).reshape(values.shape)
            values = values + self.adapted[f"{attention}/linear_1"](mixed, taught)
            wide = self._norm(values, f"{layer}/ffn/layer_norm")
            wide = functional.gelu(self.adapted[f"{layer}/ffn/linear_0"](wide, taught))
            values = values + self.adapted[f"{layer}/ffn/linear_1"](wide, taught)
        return self._norm(values, "layer_norm")

    def _norm(self, values: Tensor, name: str) -> Tensor:
        gain, shift = self._fixed[f"{name}/gamma"], self._fixed[f"{name}/beta"]
        return functional.layer_norm(values, gain.shape, gain, shift)

    def encode(self, window: LogMel, taught: bool = True) -> Encoded:
        """Encode a window [bands, frames] without learning from it."""
        with torch.inference_mode():
            found: Encoded = self(torch.from_numpy(window), taught).numpy()
        return found


class TaughtWhisper(TrialWhisper):
    """Hear in the ways called "taught" by the encoder that was, or by a perfect one."""

    def __init__(self, options: WhisperOptions, encoder: Encoder) -> None:
        super().__init__(options)
        self._taught = encoder

    def _window(self, features: LogMel) -> Encoded:
        how, colon, kept = self.way.remembered.partition(": ")
        if not colon:
            return super()._window(features)
        window = _short(features, self.way.margin_s or 0.0)
        if how == _PERFECTLY:
            full = self._by_ctranslate2(pad(features, self._most))
            encoded = full[: window.shape[1] // 2]
        else:
            encoded = self._taught.encode(window)
        return complete(encoded, self._still) if kept == "behind" else encoded


def distil_table(
    model: Path, data: Path, sets: tuple[str, ...], partials: int, asked: Settings, folder: Path
) -> str:
    """Teach an encoder, hear every set with it and without; return Markdown.

    What was done is kept in ``folder``, and goes on from there. Raises ``ConfigError`` where
    something else was begun in it.
    """
    torch.set_num_threads(1)
    _claim(folder, model.name, asked)
    weights = read_encoder(model / "model.bin")
    torch.manual_seed(asked.seed)
    encoder = Encoder(weights, asked.rank)
    _note("what the teacher makes of it")
    told = lessons(encoder, data, "train", asked.utterances, asked.seed, folder)
    checks = lessons(encoder, data, "dev", _CHECKS, asked.seed, folder)
    before = _error(checks, lambda window: encoder.encode(window, taught=False))
    remembering = _error(checks, RememberingEncoder(weights).encode)
    _note(f"error {before:.4f}, {remembering:.4f} with silence in every layer")
    learn(encoder, told, checks, asked, folder / "student.pt")
    after = _error(checks, encoder.encode)
    table = words_table(
        model,
        data,
        sets,
        german=1,
        partials=partials,
        kept=Kept(folder / "heard.json"),
        ways=_WAYS,
        whisper=lambda options: TaughtWhisper(options, encoder),
    )
    length = sum(lesson.features.shape[1] for lesson in told) / 100 / len(told)
    return (
        f"{table}\n\nTaught with {len(told)} utterances of {length:.1f} s, {asked.epochs} times"
        f" each, rank {asked.rank}, seed {asked.seed}. Mean squared error of {len(checks)} others,"
        f" of other speakers, 0.5 s behind them, as a part of the variance: {before:.3f} before,"
        f" {after:.3f} after, {remembering:.3f} with silence in every layer."
    )


def lessons(
    encoder: Encoder, data: Path, split: str, count: int, seed: int, folder: Path
) -> list[Lesson]:
    """Make utterances and let the published encoder hear them in 30 s; keep them in ``folder``."""
    clips: list[LogMel] = []
    found: list[Lesson] = []
    for begin in range(0, count, _CHUNK):
        path = folder / f"{split}-{begin}.npz"
        numbers = range(begin, min(count, begin + _CHUNK))
        if not path.exists():
            clips = clips or read_clips(data, split)
            made = {}
            for number in numbers:
                features = utterance(clips, np.random.default_rng([seed, number]))
                steps = len(_short(features, _MARGINS_S[1]).T) // 2
                encoded = encoder.encode(pad(features, _FULL), taught=False)[:steps]
                made[f"features {number}"] = features
                made[f"encoded {number}"] = encoded.astype(np.float16)
            unfinished = path.with_suffix(".part.npz")
            np.savez(unfinished, **made)  # type: ignore[arg-type]
            unfinished.rename(path)
            _note(f"{split}: {numbers[-1] + 1} of {count}")
        with np.load(path) as kept:
            found += [
                Lesson(kept[f"features {number}"], kept[f"encoded {number}"].astype(np.float32))
                for number in numbers
            ]
    return found


def learn(
    encoder: Encoder,
    told: list[Lesson],
    checks: list[Lesson],
    asked: Settings,
    state: Path,
    note: Callable[[str], None] = _note,
) -> None:
    """Teach the adapters by Adam, with a rate that falls to nothing.

    Every epoch is kept in the file ``state``, and what is there is not learnt again.
    """
    adam = torch.optim.Adam(encoder.parameters(), lr=asked.rate)
    first = 0
    if state.exists():
        kept = torch.load(state, weights_only=True)
        encoder.load_state_dict(kept["encoder"])
        adam.load_state_dict(kept["adam"])
        first = kept["epochs"]
    most = asked.epochs * -(-len(told) // _BATCH)
    for epoch in range(first, asked.epochs):
        rng = np.random.default_rng([asked.seed, epoch])
        order = rng.permutation(len(told))
        batches = np.array_split(order, -(-len(told) // _BATCH))
        for done, batch in enumerate(batches, epoch * len(batches)):
            for group in adam.param_groups:
                group["lr"] = asked.rate * (1 - done / most)
            adam.zero_grad()
            for number in batch:
                window = torch.from_numpy(_short(told[number].features, rng.uniform(*_MARGINS_S)))
                right = torch.from_numpy(told[number].encoded[: window.shape[1] // 2])
                wrong = functional.mse_loss(encoder(window, True), right) / len(batch)
                torch.autograd.backward(wrong)
            adam.step()
        kept = {"encoder": encoder.state_dict(), "adam": adam.state_dict(), "epochs": epoch + 1}
        torch.save(kept, state)
        note(f"epoch {epoch + 1}: error {_error(checks, encoder.encode):.4f}")


def _error(checks: list[Lesson], encode: Callable[[LogMel], Encoded]) -> float:
    """Return the mean squared error in windows with 0.5 s behind, over the variance."""
    pairs = list(_pairs(checks, encode))
    wrong = sum(float(np.square(ours - right).sum()) for ours, right in pairs)
    whole = np.concatenate([right for _, right in pairs])
    return wrong / float(np.square(whole - whole.mean(axis=0)).sum())


def _pairs(
    checks: list[Lesson], encode: Callable[[LogMel], Encoded]
) -> Iterator[tuple[Encoded, Encoded]]:
    for lesson in checks:
        encoded = encode(_short(lesson.features, _MARGINS_S[0]))
        yield encoded, lesson.encoded[: len(encoded)]


def _short(features: LogMel, margin_s: float) -> LogMel:
    return pad(features, frames_needed(features.shape[1], _FULL, margin_s))


def _claim(folder: Path, model: str, asked: Settings) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "settings.json"
    ours = msgspec.json.encode({"model": model, "settings": asked})
    if settings.exists() and settings.read_bytes() != ours:
        raise ConfigError(f"{folder} holds another try: give another folder, or delete it")
    settings.write_bytes(ours)
