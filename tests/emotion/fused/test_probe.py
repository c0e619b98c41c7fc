from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn

from streamser.emotion.fused import model as module
from streamser.emotion.fused.checkpoint import Checkpoint
from streamser.emotion.fused.config import PretrainedAcousticConfig
from streamser.emotion.fused.interfaces import AcousticEncoder
from streamser.emotion.fused.model import (
    FusedEmotionModel,
    check_runs,
    choose_format,
    identify,
    keep_format,
    warm_shapes,
)
from streamser.emotion.fused.network import FusedModel
from streamser.emotion.fused.pretrained_encoders import load_pretrained_acoustic
from streamser.emotion.fused.running import CANDIDATES, CUDA, PROCESSOR, Format, Formats, Shapes
from streamser.emotion.model import Segment
from streamser.errors import ModelError
from streamser.machine import KeptChoices
from tests.emotion.fused.checkpoints import TINY, tiny_model
from tests.emotion.fused.tiny import tiny_acoustic


def at_work(model: FusedModel, precision: Format = "float32", **more: Shapes) -> FusedEmotionModel:
    """Return a model at work."""
    checkpoint = Checkpoint(model=model, calibrations={}, directory=Path("tiny"))
    return FusedEmotionModel(checkpoint, "tiny", precision, **more)


def spoken() -> list[Segment]:
    """Return clips of many lengths, with words and without."""
    rng = np.random.default_rng(0)
    return [
        Segment(samples=(0.1 * rng.standard_normal(n)).astype(np.float32), text=text)
        for n, text in ((40_000, "so be it"), (700, None), (0, "alone"), (9_000, None), (0, None))
    ]


class Slow:
    """A clock by which every look at it takes a time that depends on the format in use."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds, self.now = seconds, 0.0
        self.model: FusedEmotionModel | None = None

    def __call__(self) -> float:
        assert self.model is not None
        self.now += self.seconds[self.model.formats.format]
        return self.now


def choose(model: FusedEmotionModel, **seconds: float) -> str:
    """Choose by made-up times of float32, bfloat16 and int8."""
    clock = Slow(seconds)
    clock.model = model
    return choose_format(model, clock)


@pytest.mark.parametrize("best", ["float32", "bfloat16", "int8"])
def test_the_fastest_format_is_taken_and_told(best: str) -> None:
    """The model answers in it from then on, and the line has every time."""
    model = at_work(tiny_model(TINY))
    seconds = {name: 0.1 if name == best else 0.3 for name in ("float32", "bfloat16", "int8")}
    line = choose(model, **seconds)
    assert model.formats.format == best
    assert line.startswith(f"{best}, the fastest of float32 ")
    assert line.count(" ms") == 3


def test_a_format_that_answers_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast it is."""
    monkeypatch.setattr(module, "BOUND", 1e-9)
    model = at_work(tiny_model(TINY))
    line = choose(model, float32=0.3, bfloat16=0.1, int8=0.1)
    assert model.formats.format == "float32"
    assert line.count("from float32, at most") == 2


def test_a_format_that_cannot_be_had_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch without quantisation, or too little time, costs no start."""
    monkeypatch.setitem(__import__("sys").modules, "torch.ao.quantization", None)
    model = at_work(tiny_model(TINY))
    assert "int8 left out (this version of torch" in choose(
        model, float32=0.3, bfloat16=0.1, int8=0.1
    )
    with pytest.raises(ModelError, match="choose bfloat16 or float32"):
        at_work(tiny_model(TINY), "int8")
    late = choose(at_work(tiny_model(TINY)), float32=11.0, bfloat16=1.0, int8=1.0)
    assert late.startswith("float32, the fastest of float32 1.1e+04 ms, bfloat16 left out (no time")
    assert late.count("no time left to try it") == 2


def test_what_is_fast_enough_tries_nothing() -> None:
    """A small model is exact and quick at once."""
    model = at_work(tiny_model(TINY))
    assert choose(model, float32=0.01) == "float32, which takes float32 10 ms"


def test_the_second_load_takes_what_the_first_has_chosen_without_a_trial(tmp_path: Path) -> None:
    """However fast the formats are then; another model is tried for itself."""
    kept = KeptChoices(tmp_path / "choices.json")
    times = {"float32": 0.3, "bfloat16": 0.1, "int8": 0.2}

    def load(identity: str, seconds: dict[str, float]) -> tuple[str, str, float]:
        clock = Slow(seconds)
        clock.model = at_work(tiny_model(TINY))
        line = keep_format(clock.model, identity, kept, clock)
        return clock.model.formats.format, line, clock.now

    assert load("one", times)[:2] == ("bfloat16", load("other", times)[1])
    slower = {"float32": 0.1, "bfloat16": 9.0, "int8": 9.0}
    assert load("one", slower) == ("bfloat16", f"bfloat16, as chosen here before ({kept.path})", 0)
    assert load("third", slower)[0] == "float32"


def test_what_another_process_chose_meanwhile_stands(tmp_path: Path) -> None:
    """Two that load a model for the first time at once answer alike from then on."""
    kept = KeptChoices(tmp_path / "choices.json")
    clock = Slow({"float32": 0.3, "bfloat16": 0.1, "int8": 0.2})
    clock.model = at_work(tiny_model(TINY))
    keep_format(clock.model, "one", kept, clock)
    chosen = kept.path.read_text().replace("bfloat16", "int8")

    class Late(KeptChoices):
        def keep(self, key: str, choice: str) -> str:
            self.path.write_text(chosen)
            return super().keep(key, choice)

    kept.path.unlink()
    line = keep_format(clock.model, "one", Late(kept.path), clock)
    assert line.startswith("int8, as another process has chosen")
    assert clock.model.formats.format == "int8"


def test_models_are_told_apart_by_their_weights() -> None:
    """The same weights are the same model, wherever they lie."""
    torch.manual_seed(1)
    model = tiny_model(TINY)
    first = identify(model)
    assert identify(model) == first
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    assert identify(model) != first


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_formats_stay_close_to_float32(precision: Format) -> None:
    """And heads and norms stay in it."""
    plain, other = at_work(tiny_model(TINY)), at_work(tiny_model(TINY), precision)
    for one, two in zip(plain.extract(spoken()), other.extract(spoken()), strict=True):
        np.testing.assert_allclose(one.logits, two.logits, atol=0.1)
        np.testing.assert_allclose(one.dimensions, two.dimensions, atol=0.02)
    assert {weight.dtype for weight in other._model.classifier.parameters()} == {torch.float32}


def test_kept_half_weights_say_what_autocast_says() -> None:
    """They are what it would convert at every pass."""
    model = at_work(tiny_model(TINY))
    model.formats.format = "bfloat16"  # autocast, and nothing converted
    expected = model.extract(spoken())
    model.formats.use("bfloat16")
    assert model.extract(spoken()) == expected
    model.formats.use("float32")
    model.formats.settle()
    assert model.extract(spoken()) != expected


def test_a_format_that_does_not_run_is_known_at_the_start() -> None:
    """Named with the reason, not met by the first speaker."""
    model = at_work(tiny_model(TINY))
    check_runs(model)

    def refuse(*args: object) -> None:
        raise TypeError("linear(): argument 'weight' must be Tensor, not method")

    model._model.fusion.register_forward_pre_hook(refuse)
    with pytest.raises(ModelError, match=r"tiny cannot compute in float32 \(linear\(\): argument"):
        check_runs(model)


def test_int8_answers_alone_as_in_company() -> None:
    """Its scales are of a whole pass, so nobody shares one."""
    model = at_work(tiny_model(TINY), "int8")
    clips = spoken()
    assert model.extract(clips) == [model.extract([clip])[0] for clip in clips]


def test_int8_is_for_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere it is refused with what to choose."""
    found = Formats(tiny_model(TINY))
    monkeypatch.setattr(found, "device", "cuda")
    with pytest.raises(ModelError, match="choose bfloat16 on cuda"):
        found.use("int8")
    assert CANDIDATES["cuda"][0] == "bfloat16"


@pytest.mark.parametrize("family", ["hubert", "hubert-base", "wavlm", "whisper", None])
@pytest.mark.parametrize("shapes", [CUDA, PROCESSOR, Shapes(forward_s=0.0)])
def test_shapes_do_not_change_what_is_found(
    family: str | None, shapes: Shapes, tmp_path: Path
) -> None:
    """Padded to few lengths, filled up, parted or one by one: a clip is a clip."""
    model = tiny_model(TINY)
    if family is not None:
        where = str(tiny_acoustic(family, tmp_path / family))  # type: ignore[arg-type]
        acoustic = load_pretrained_acoustic(PretrainedAcousticConfig(name=where))
        config = replace(TINY, acoustic=acoustic.config)
        model = FusedModel(config, acoustic, model.text).eval()
    assert isinstance(model.acoustic, AcousticEncoder)
    clips = spoken()
    shaped = at_work(model, shapes=shapes).extract(clips)
    for clip, found in zip(clips, shaped, strict=True):
        (alone,) = at_work(model, shapes=Shapes(forward_s=0.0)).extract([clip])
        np.testing.assert_allclose(found.logits, alone.logits, atol=1e-5)
        np.testing.assert_allclose(found.dimensions, alone.dimensions, atol=1e-5)
        assert found.modalities == alone.modalities


def test_warming_meets_every_shape_of_sound_that_will_come() -> None:
    """Clips of half a second to 10 s, up to 8 at a time, bring no new one."""
    model = at_work(tiny_model(TINY), shapes=CUDA)
    met: set[tuple[int, ...]] = set()
    acoustic = model._model.acoustic
    assert isinstance(acoustic, nn.Module)
    acoustic.register_forward_pre_hook(lambda _, given: met.add(tuple(given[0].values.shape)))
    warm_shapes(model)
    warmed = set(met)
    for seconds in (0.55, 0.8, 1.1, 2.7, 5.0, 7.3, 10.0):
        sound = np.zeros(int(16_000 * seconds), np.float32)
        for clips in (1, 3, 5, 8):
            model.extract([Segment(samples=sound, text=None)] * clips)
    assert met == warmed
