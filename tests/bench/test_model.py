from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from msgspec.structs import replace
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from streamser.bench import products
from streamser.bench.architectures import KNOWN, random_model
from streamser.bench.model import ModelBench, ModelReport, available_mib, run_model_bench
from streamser.bench.model_case import CaseTask, Measured, measure
from streamser.bench.model_tables import model_markdown
from streamser.bench.products import Product, products_of, time_products
from streamser.cli.bench import app
from streamser.emotion.fused.config import (
    FusedConfig,
    FusionConfig,
    LoraConfig,
    PretrainedAcousticConfig,
    PretrainedTextConfig,
    WhisperAcousticConfig,
)
from streamser.emotion.fused.pretrained import ACOUSTIC_FAMILIES, TEXT_FAMILIES, rebuild
from streamser.errors import ConfigError, ModelError, StreamserError
from streamser.training.settings import RunSettings, TrainSettings, load_train_settings
from tests.emotion.fused.tiny import tiny_acoustic, tiny_text
from tests.scripted_whisper import build_babbling_whisper

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TrainSettings:
    """Return the settings of a tiny model with pretrained encoders."""
    root = tmp_path_factory.mktemp("encoders")
    model = FusedConfig(
        acoustic=PretrainedAcousticConfig(name=str(tiny_acoustic("hubert", root / "hubert"))),
        text=PretrainedTextConfig(name=str(tiny_text("deberta-v2", root / "deberta"))),
        fusion=FusionConfig(width=16, heads=2, bridge_tokens=3),
    )
    return TrainSettings(model=model, run=RunSettings(device="cpu", precision="float32"))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a small Whisper of CTranslate2, of two layers."""
    return build_babbling_whisper(tmp_path_factory.mktemp("whispers") / "whisper")


def task_of(settings: TrainSettings, mode: str, **changes: object) -> CaseTask:
    """Return a short case."""
    wanted = {"batch": 2, "seconds": 0.5, "tokens": 6, "repeats": 2, "budget_s": 1.0, **changes}
    return msgspec.convert(
        {"settings": msgspec.to_builtins(settings), "mode": mode, **wanted}, CaseTask
    )


def test_measures_answering_and_learning(settings: TrainSettings) -> None:
    """Learning takes about three times the work of answering, less what is frozen."""
    answer, learn = (measure(task_of(settings, mode)) for mode in ("infer", "train"))
    assert (
        answer.parameters
        == learn.parameters
        == sum(weight.numel() for weight in random_model(settings.model).parameters())
    )
    assert 0 < learn.learning < learn.parameters
    assert 1.5 * answer.gflop < learn.gflop < 3.0 * answer.gflop
    assert len(answer.times_s) == 2
    assert min(*answer.times_s, *learn.times_s, answer.products_s, learn.products_s) > 0
    assert answer.ratio == pytest.approx(answer.median_s / answer.products_s)
    assert answer.peak_mib > 50
    assert (answer.device, answer.precision) == ("cpu", "float32")


def test_work_grows_with_the_batch(settings: TrainSettings) -> None:
    """Twice the utterances are twice the products, but for those of relative positions."""
    one, two = (measure(task_of(settings, "infer", batch=size)) for size in (4, 8))
    assert 1.9 < two.gflop / one.gflop <= 2.0


def test_half_precision_is_measured_as_such(settings: TrainSettings) -> None:
    """With autocast the products that are timed are those of bfloat16."""
    half = replace(settings, run=replace(settings.run, precision="bfloat16"))
    found = measure(task_of(half, "infer"))
    assert found.precision == "bfloat16"
    linear, given = nn.Linear(8, 4), torch.ones(2, 8)

    def run() -> None:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            linear(given)

    assert [product.dtype for product in products_of(run)] == [torch.bfloat16]


def _backward(run: Callable[[], torch.Tensor]) -> Callable[[], object]:
    return lambda: run().square().sum().backward()  # type: ignore[no-untyped-call]


def _linear() -> Callable[[], object]:
    layer, given = nn.Linear(12, 7), torch.randn(2, 5, 12, requires_grad=True)
    return _backward(lambda: layer(given))


def _convolution() -> Callable[[], object]:
    layer = nn.Sequential(nn.Conv1d(6, 8, 5, stride=2, padding=1), nn.Conv1d(8, 4, 3, dilation=2))
    given = torch.randn(3, 6, 40, requires_grad=True)
    return _backward(lambda: layer(given))


def _attention() -> Callable[[], object]:
    query, key = (torch.randn(2, 3, size, 8, requires_grad=True) for size in (9, 7))
    # With dropout the CPU has no kernel for it all: these are plain products.
    return _backward(
        lambda: functional.scaled_dot_product_attention(query, key, key, dropout_p=0.1)
    )


@pytest.mark.parametrize("build", [_linear, _convolution, _attention])
def test_counts_what_torch_counts(build: Callable[[], Callable[[], object]]) -> None:
    """The work of the products found is the work that torch's own counter finds."""
    run = build()
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    found = products_of(run)
    assert sum(product.flops * count for product, count in found.items()) == (
        counter.get_total_flops()
    )
    assert counter.get_total_flops() > 0


def test_counts_grouped_convolutions() -> None:
    """Backward is twice forward in groups too, where torch's own counter says more."""
    layer, given = nn.Conv1d(6, 8, 5, groups=2), torch.randn(3, 6, 20, requires_grad=True)
    forward = Product(2, 3 * 16, 3 * 5, 4, torch.float32)
    found = products_of(_backward(lambda: layer(given)))
    assert found[forward] == 1
    assert sum(product.flops * count for product, count in found.items()) == 3 * forward.flops


def test_counts_attention_in_one_kernel() -> None:
    """Attention counts as its two products, and backward as five, whatever kernel runs it."""
    query, key = (torch.randn(2, 3, size, 8, requires_grad=True) for size in (9, 7))
    found = products_of(_backward(lambda: functional.scaled_dot_product_attention(query, key, key)))
    scores, values = (6, 9, 8, 7), (6, 9, 7, 8)
    forward = [scores, values]
    backward = [scores, (6, 7, 9, 8), (6, 9, 8, 7), (6, 9, 7, 8), (6, 7, 9, 8)]
    shapes = sorted(tuple(product[:4]) for product in found.elements())
    assert shapes == sorted([*forward, *backward])


def test_products_count_as_often_as_they_occur(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a shape counts once for each time it occurs; of a long one, by its rows."""
    small = Product(1, 64, 64, 64, torch.float32, right=True)
    long = Product(3, 320_000, 4, 4, torch.bfloat16, left=True)
    assert small.flops == 2 * 64**3
    assert time_products({}, CPU) == 0
    assert time_products({small: 1, long: 2}, CPU, budget_s=0.1) > 0
    timed: list[Product] = []

    def take_a_second(product: Product, device: torch.device, budget_s: float) -> float:
        timed.append(product)
        return 1.0

    monkeypatch.setattr(products, "_time", take_a_second)
    assert time_products({small: 7, long: 2}, CPU) == pytest.approx(7 + 2 * 320_000 / 32_768)
    assert timed == [small, long._replace(m=32_768)]


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("hubert-large-ll60k", 315.4),
        ("hubert-base-ls960", 94.4),
        ("deberta-v3-large", 434.0),
        ("deberta-v3-base", 183.8),
    ],
)
def test_known_architectures_have_their_published_size(name: str, millions: float) -> None:
    """The table gives models of the size that their authors and the hub tell."""
    with torch.device("meta"):
        model = rebuild(KNOWN[name], {**ACOUSTIC_FAMILIES, **TEXT_FAMILIES})
    weights = sum(weight.numel() for weight in model.parameters())
    assert weights / 1e6 == pytest.approx(millions, rel=0.002)


def test_presets_need_no_download() -> None:
    """Every pretrained encoder of the presets is in the table."""
    for preset in ("paper", "base"):
        model = load_train_settings(preset).model
        assert isinstance(model.acoustic, PretrainedAcousticConfig)
        assert isinstance(model.text, PretrainedTextConfig)
        for name in (model.acoustic.name, model.text.name):
            assert name.rpartition("/")[2] in KNOWN


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
def test_whispers_layers_are_of_their_published_size_without_a_download(
    lora: LoraConfig | None,
) -> None:
    """Convolutions, 30 s of positions and three layers of tiny.en: 6.4 million weights."""
    acoustic = WhisperAcousticConfig(lora=lora)
    with torch.device("meta"):
        model = random_model(FusedConfig(acoustic=acoustic, fusion=FusionConfig(width=8, heads=2)))
    assert model.acoustic is not None
    known = [weight for name, weight in model.acoustic.named_parameters() if "lora" not in name]
    assert sum(weight.numel() for weight in known) / 1e6 == pytest.approx(6.43, abs=0.01)
    with pytest.raises(ModelError, match="tiny has 4 layers"):
        random_model(FusedConfig(acoustic=replace(acoustic, name="tiny", used_layers=(5,))))


@pytest.mark.parametrize("preset", ["ablation", "base", "compact", "paper", "whisper"])
@pytest.mark.parametrize(
    "learns", [("frozen=all",), ("frozen=none",), ("frozen=features", "lora.rank=2")]
)
def test_a_whisper_learns_in_every_training_preset(
    whisper: Path, preset: str, learns: tuple[str, ...]
) -> None:
    """In the precision that it asks for; that of a directory is as large as it is there."""
    ears = ["kind=whisper", f"name={whisper}", "used_layers=1,2", *learns]
    small = ["text=none", "fusion.width=16", "fusion.heads=2", "fusion.bridge_tokens=2"]
    pairs = [f"model.acoustic.{pair}" for pair in ears] + [f"model.{pair}" for pair in small]
    settings = load_train_settings(preset, [*pairs, "run.device=cpu", "run.threads=1"])
    found = measure(task_of(settings, "train", repeats=1))
    everything = sum(weight.numel() for weight in random_model(settings.model).parameters())
    assert found.parameters == everything
    assert 0 < found.learning < everything
    assert found.precision == ("bfloat16" if preset == "paper" else "float32")


def test_a_case_that_outgrows_the_memory_is_reported(settings: TrainSettings) -> None:
    """A process that takes more than it may is stopped, and the table says so."""
    bench = ModelBench(
        config="tiny", settings=settings, modes=("infer",), batches=(1,), memory_mib=40
    )
    told: list[str] = []
    report = run_model_bench(bench, told.append)
    (case,) = report.cases
    assert case.measured is None
    assert case.why == "did not fit in 0.0 GiB"
    assert case.why in told[-1]
    assert "did not fit" in model_markdown(report)


def test_free_memory_is_told_where_it_can_be() -> None:
    """What is free is more than nothing, and on Linux it is known."""
    free = available_mib()
    assert (free is not None and free > 0) or not Path("/proc/meminfo").exists()


def test_a_fault_is_no_lack_of_memory(settings: TrainSettings) -> None:
    """A model that cannot be built ends the run with its own line."""
    acoustic = replace(settings.model.acoustic, lora=LoraConfig(), frozen="all")  # type: ignore[type-var]
    broken = replace(settings, model=replace(settings.model, acoustic=acoustic))
    bench = ModelBench(config="tiny", settings=broken, modes=("infer",), batches=(1,))
    with pytest.raises(StreamserError, match="exclude each other"):
        run_model_bench(bench, lambda line: None)


def test_the_command_prints_and_writes_its_table(tmp_path: Path) -> None:
    """One line for each case on the screen, the same in Markdown, everything in JSON."""
    files = ["--json", str(tmp_path / "r.json"), "--markdown", str(tmp_path / "r.md")]
    sizes = ["--batch", "1,2", "--seconds", "0.5", "--mode", "infer", "--device", "cpu"]
    done = CliRunner().invoke(app, ["model", "compact", *sizes, *files])
    assert done.exit_code == 0, done.output
    report = msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=ModelReport)
    assert [(case.mode, case.batch) for case in report.cases] == [("infer", 1), ("infer", 2)]
    assert all(isinstance(case.measured, Measured) for case in report.cases)
    markdown = (tmp_path / "r.md").read_text()
    assert "| answer | 1 |" in markdown
    assert "| answer | 2 |" in markdown
    assert "compact, width 96" in done.output


def test_the_command_refuses_what_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Odd sizes, files in no folder, models without checkpointing, no torch: one line each."""
    runner = CliRunner()
    for wrong in ("0", "1,,2", "many", "-1"):
        done = runner.invoke(app, ["model", "compact", f"--batch={wrong}"])
        assert isinstance(done.exception, ConfigError)
        assert "--batch" in str(done.exception)
    done = runner.invoke(app, ["model", "compact", "--json", str(tmp_path / "no" / "r.json")])
    assert "does not exist" in str(done.exception)
    done = runner.invoke(app, ["model", "compact", "--checkpointing"])
    assert "no pretrained encoder" in str(done.exception)
    monkeypatch.setitem(sys.modules, "streamser.bench.model", None)
    done = runner.invoke(app, ["model", "compact"])
    assert isinstance(done.exception, ModelError)
    assert "pip install" in str(done.exception)
