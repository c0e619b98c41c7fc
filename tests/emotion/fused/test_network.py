from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from streamser.audio.clip import Samples
from streamser.emotion.frontend import Mel, Sound
from streamser.emotion.fused.compact_encoders import CompactAcoustic, CompactText, train_word_pieces
from streamser.emotion.fused.config import (
    CompactAcousticConfig,
    CompactTextConfig,
    FusedConfig,
    FusionConfig,
    HeadsConfig,
    PretrainedAcousticConfig,
    PretrainedTextConfig,
    WhisperAcousticConfig,
)
from streamser.emotion.fused.interfaces import (
    AudioBatch,
    Encoded,
    FusedInput,
    FusedOutput,
    TextBatch,
)
from streamser.emotion.fused.network import FusedModel, check_config
from streamser.errors import ConfigError
from tests.emotion.fused.reference import gelu, linear, randomise, weights_of

FRAME = 400
TEXTS = ("I am so happy to see you", "go away", "nothing was wrong, she said, and then she cried")
VARIANTS: dict[str, dict[str, Any]] = {
    "mixed_kv": {"mode": "mixed_kv"},
    "same_kv": {"mode": "same_kv"},
    "no bridge tokens": {"bridge_tokens": 0},
    "no cross-attention": {"cross_attention": False},
    "concat": {"mode": "concat"},
}
variants = pytest.mark.parametrize("switches", VARIANTS.values(), ids=VARIANTS.keys())


class Hearing(nn.Module):
    """A stand-in encoder: one vector for each 25 ms; remembers how many rows it was given."""

    width = 10

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FRAME, self.width)
        self.rows: list[int] = []

    def prepare(self, clips: Sequence[Sound]) -> AudioBatch:
        sounds = [clip for clip in clips if not isinstance(clip, Mel)]
        lengths = torch.tensor([max(1, len(sound) // FRAME) for sound in sounds])
        values = torch.zeros(len(sounds), int(lengths.max()) * FRAME)
        for row, sound in zip(values, sounds, strict=True):
            cut = torch.from_numpy(sound)[: len(row)]
            row[: len(cut)] = cut
        return AudioBatch(values, lengths)

    def forward(self, batch: AudioBatch) -> Encoded:
        self.rows.append(len(batch.values))
        hidden = torch.tanh(self.linear(batch.values.unflatten(1, (-1, FRAME))))  # type: ignore[no-untyped-call]
        mask = torch.arange(hidden.shape[1]) < batch.lengths[:, None]
        return Encoded(hidden.masked_fill(~mask[:, :, None], 0.0), mask)


class Reading(nn.Module):
    """A stand-in encoder: one vector for each letter."""

    width = 6

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(128, self.width)
        self.rows: list[int] = []

    def prepare(self, texts: Sequence[str]) -> TextBatch:
        ids = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            row[: len(text)] = torch.tensor([ord(letter) for letter in text])
        return TextBatch(ids, ids > 0)

    def forward(self, batch: TextBatch) -> Encoded:
        self.rows.append(len(batch.ids))
        hidden = self.letters(batch.ids)
        return Encoded(hidden.masked_fill(~batch.mask[:, :, None], 0.0), batch.mask)

    def save_assets(self, directory: Path) -> None:
        """Write nothing: letters are known."""


def config_of(switches: dict[str, Any] | None = None, **more: Any) -> FusedConfig:
    """Return a tiny model of two encoders with some switches of its fusion set."""
    fusion = FusionConfig(
        **{"width": 8, "heads": 2, "feedforward": 2, "bridge_tokens": 3, **(switches or {})}
    )
    parts = {"acoustic": CompactAcousticConfig(), "text": CompactTextConfig(), "fusion": fusion}
    return FusedConfig(**{**parts, **more})


def model_of(config: FusedConfig) -> FusedModel:
    """Build a model on the stand-in encoders, the same at every call."""
    torch.manual_seed(0)
    return FusedModel(
        config,
        None if config.acoustic is None else Hearing(),
        None if config.text is None else Reading(),
    ).eval()


def sound(milliseconds: int, seed: int = 0) -> Samples:
    """Synthesise a tone in noise."""
    noise = np.random.default_rng(seed).normal(0, 0.05, 16 * milliseconds)
    tone = 0.3 * np.sin(np.arange(16 * milliseconds) * (0.05 + 0.02 * seed))
    made: Samples = (tone + noise).astype(np.float32)
    return made


SOUNDS: list[Sound | None] = [sound(300, 1), sound(900, 2), None, sound(500, 3), None]
WORDS: list[str | None] = [TEXTS[0], None, TEXTS[1], TEXTS[2], None]


def answer(model: FusedModel, sounds: Sequence[Sound | None], texts: Sequence[str | None]) -> Any:
    """Run a batch without gradients."""
    with torch.no_grad():
        return model(model.prepare(sounds, texts))


def row_of(output: FusedOutput, item: int) -> FusedOutput:
    """Cut one item out of an answer."""
    return FusedOutput(*(tensor[item : item + 1] for tensor in output))


def close(got: FusedOutput, expected: FusedOutput, tolerance: float = 1e-5) -> None:
    """Compare all that the model says."""
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=0)


@variants
def test_batch_of_one_is_batch_of_many(switches: dict[str, Any]) -> None:
    """An item alone gets what it gets among neighbours, whichever modality it or they lack."""
    model = model_of(config_of(switches))
    together = answer(model, SOUNDS, WORDS)
    for item, (clip, text) in enumerate(zip(SOUNDS, WORDS, strict=True)):
        close(answer(model, [clip], [text]), row_of(together, item))
    order = [3, 0, 4, 2, 1]
    turned = answer(model, [SOUNDS[item] for item in order], [WORDS[item] for item in order])
    for place, item in enumerate(order):
        close(row_of(turned, place), row_of(together, item))


@variants
def test_batch_of_one_is_batch_of_many_with_real_encoders(switches: dict[str, Any]) -> None:
    """The same holds end to end with the compact encoders, from samples and letters."""
    acoustic = CompactAcousticConfig(width=16, heads=2, layers=1)
    text = CompactTextConfig(width=12, heads=2, layers=1, vocabulary=80)
    torch.manual_seed(0)
    model = FusedModel(
        config_of(switches, acoustic=acoustic, text=text),
        CompactAcoustic(acoustic),
        CompactText(text, train_word_pieces(TEXTS, 80)),
    ).eval()
    together = answer(model, SOUNDS, WORDS)
    assert together.category_logits.isfinite().all()
    for item, (clip, words) in enumerate(zip(SOUNDS, WORDS, strict=True)):
        close(answer(model, [clip], [words]), row_of(together, item))
    model.train()
    output = model(model.prepare(SOUNDS, WORDS))
    (output.category_logits.square().sum() + output.dimensions.sum()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is None or weight.grad.isfinite().all(), name


@variants
def test_answers_have_their_shapes_and_ranges(switches: dict[str, Any]) -> None:
    """Logits [B, 4], dimensions [B, 2] in (0, 1), embeddings that are zero where absent."""
    output = answer(model_of(config_of(switches)), SOUNDS, WORDS)
    assert output.category_logits.shape == (5, 4)
    assert output.dimensions.shape == (5, 2)
    assert bool(((output.dimensions > 0) & (output.dimensions < 1)).all())
    assert all(tensor.isfinite().all() for tensor in output)
    heard = [bool(row.any()) for row in output.audio_embedding]
    read = [bool(row.any()) for row in output.text_embedding]
    assert heard == [clip is not None for clip in SOUNDS]
    assert read == [text is not None for text in WORDS]


@variants
def test_each_modality_counts(switches: dict[str, Any]) -> None:
    """Another voice, other words, or one of them gone: the answer changes each time."""
    model = model_of(config_of(switches))
    clip, text = sound(400, 1), TEXTS[0]
    answers = answer(
        model, [clip, sound(400, 2), clip, None, clip], [text, text, TEXTS[1], text, None]
    )
    logits = answers.category_logits
    assert torch.pdist(logits).min() > 1e-4


@variants
def test_rows_of_an_absent_modality_are_neither_encoded_nor_seen(switches: dict[str, Any]) -> None:
    """Encoders are given the present rows only; what lies in an absent one cannot matter."""
    model = model_of(config_of(switches))
    batch = model.prepare(SOUNDS, WORDS)
    expected = model(batch)
    assert isinstance(model.acoustic, Hearing)
    assert isinstance(model.text, Reading)
    assert model.acoustic.rows == [3]
    assert model.text.rows == [3]
    assert batch.audio is not None
    assert batch.text is not None
    values = batch.audio.values.clone()
    values[~batch.has_audio] = torch.nan
    ids = batch.text.ids.clone()
    ids[~batch.has_text] = 10**6  # no such letter
    poisoned = FusedInput(
        AudioBatch(values, batch.audio.lengths),
        TextBatch(ids, batch.text.mask),
        batch.has_audio,
        batch.has_text,
    )
    close(model(poisoned), expected, tolerance=0)


@variants
def test_dropping_a_modality_from_a_batch_is_never_having_had_it(switches: dict[str, Any]) -> None:
    """Modality masking may just clear ``has_audio`` or ``has_text``: of some items, or all."""
    model = model_of(config_of(switches))
    clips, texts = [sound(300, 1), sound(500, 2)], [TEXTS[0], TEXTS[1]]
    whole = model.prepare(clips, texts)
    for kept in ([True, False], [False, False]):
        dropped = whole._replace(has_text=torch.tensor(kept))
        lacking = [text if keep else None for text, keep in zip(texts, kept, strict=True)]
        with torch.no_grad():
            close(model(dropped), answer(model, clips, lacking))


def test_prepare_says_what_is_there() -> None:
    """None, no samples, no frames, and blank text are absent; a silent sound is present."""
    acoustic = CompactAcousticConfig(width=8, heads=2, layers=1)
    model = FusedModel(config_of(acoustic=acoustic), CompactAcoustic(acoustic), Reading())
    frames = np.zeros((40, 64), np.float32)
    batch = model.prepare(
        [None, sound(0), Mel(frames[:0]), np.zeros(8000, np.float32), Mel(frames)],
        ["yes", "", " \n", None, "no"],
    )
    assert batch.has_audio.tolist() == [False, False, False, True, True]
    assert batch.has_text.tolist() == [True, False, False, False, True]
    assert batch.audio is not None
    assert batch.text is not None
    assert len(batch.audio.values) == len(batch.audio.lengths) == 5
    assert batch.audio.lengths[:3].tolist() == [0, 0, 0]
    assert batch.text.mask.sum(dim=1).tolist() == [3, 0, 0, 0, 2]
    nobody = model.prepare([None, sound(0)], [None, ""])
    assert nobody.audio is None
    assert nobody.text is None
    assert nobody.has_audio.tolist() == nobody.has_text.tolist() == [False, False]
    with pytest.raises(ValueError, match="2 sounds do not go with 1 texts"):
        model.prepare([None, None], ["yes"])


@variants
@pytest.mark.parametrize("lost", ["acoustic", "text"])
def test_a_model_of_one_modality_ignores_the_other(switches: dict[str, Any], lost: str) -> None:
    """A model that only hears or only reads takes the same calls and says the same for both."""
    model = model_of(config_of(switches, **{lost: None}))
    batch = model.prepare(SOUNDS, WORDS)
    assert (batch.audio is None) == (lost == "acoustic")
    assert (batch.text is None) == (lost == "text")
    none: list[None] = [None] * 5
    told = answer(model, SOUNDS, WORDS)
    if lost == "acoustic":
        close(answer(model, none, WORDS), told, tolerance=0)
    else:
        close(answer(model, SOUNDS, none), told, tolerance=0)
    assert torch.pdist(told.category_logits[[0, 3]]).min() > 1e-5
    assert list(model.branch_parameters("audio" if lost == "acoustic" else "text")) == []


@variants
def test_nothing_at_all_gives_one_finite_answer(switches: dict[str, Any]) -> None:
    """Items with neither modality are allowed, get the same answer, and break no gradient."""
    model = model_of(config_of(switches)).train()
    output = model(model.prepare([None, None, sound(300)], ["", None, None]))
    assert all(tensor.isfinite().all() for tensor in output)
    (output.category_logits.sum() + output.dimensions.sum()).backward()
    grads = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert grads
    assert all(grad.isfinite().all() for grad in grads)
    alone = answer(model.eval(), [None, None], [None, ""])
    close(row_of(alone, 0), row_of(alone, 1), tolerance=0)


@pytest.mark.parametrize("hidden", [0, 5])
def test_single_task_models_have_one_head(hidden: int) -> None:
    """No categories, or no dimensions: that head is empty and has no weights."""
    both, categories, dimensions = (
        model_of(config_of(heads=heads))
        for heads in (
            HeadsConfig(hidden=hidden),
            HeadsConfig(hidden=hidden, dimensions=()),
            HeadsConfig(hidden=hidden, categories=()),
        )
    )
    told = answer(categories, SOUNDS, WORDS)
    assert told.category_logits.shape == (5, 4)
    assert told.dimensions.shape == (5, 0)
    told = answer(dimensions, SOUNDS, WORDS)
    assert told.category_logits.shape == (5, 0)
    assert told.dimensions.shape == (5, 2)

    def weights(model: nn.Module) -> int:
        return sum(weight.numel() for weight in model.parameters())

    classifier = 8 * 5 + 5 + 5 * 4 + 4 if hidden else 8 * 4 + 4
    regressor = 8 * 5 + 5 + 5 * 2 + 2 if hidden else 8 * 2 + 2
    assert weights(both) - weights(categories) == regressor
    assert weights(both) - weights(dimensions) == classifier


def test_heads_answer_what_the_configuration_names() -> None:
    """Two categories and three dimensions make two logits and three values."""
    heads = HeadsConfig(
        categories=("sad", "angry"), dimensions=("valence", "arousal", "dominance"), hidden=4
    )
    told = answer(model_of(config_of(heads=heads)), SOUNDS, WORDS)
    assert told.category_logits.shape == (5, 2)
    assert told.dimensions.shape == (5, 3)


@pytest.mark.parametrize("hidden", [0, 5])
def test_heads_are_their_equations(hidden: int) -> None:
    """Linear, or with a hidden layer of GELU; the regressor's outputs through a sigmoid."""
    model = model_of(config_of(heads=HeadsConfig(hidden=hidden)))
    for seed, part in enumerate((model.fusion, model.classifier, model.regressor)):
        randomise(part.double(), seed)
    read: list[np.ndarray[Any, Any]] = []
    model.fusion.register_forward_hook(lambda *call: read.append(call[-1].fused.numpy()))
    told = answer(model, SOUNDS, WORDS)

    def head(name: str) -> np.ndarray[Any, Any]:
        weights = weights_of(model).below(name)
        if not hidden:
            return linear(read[0], weights)
        return linear(gelu(linear(read[0], weights.below("1"))), weights.below("4"))

    np.testing.assert_allclose(told.category_logits, head("classifier"), rtol=0, atol=1e-12)
    expected = 1 / (1 + np.exp(-head("regressor")))
    np.testing.assert_allclose(told.dimensions, expected, rtol=0, atol=1e-12)
    assert np.ptp(told.dimensions.numpy(), axis=0).min() > 1e-3


def test_dropout_acts_in_training_alone() -> None:
    """Evaluation repeats itself exactly; training with dropout does not."""
    heads = HeadsConfig(hidden=16, dropout=0.5)
    model = model_of(config_of({"dropout": 0.5}, heads=heads))
    batch = model.prepare(SOUNDS, WORDS)
    close(model(batch), model(batch), tolerance=0)
    model.train()
    assert not torch.equal(model(batch).category_logits, model(batch).category_logits)


def test_branches_and_encoders_name_their_weights() -> None:
    """A branch is encoder, projection and refinement; bridge tokens and heads are in neither."""
    model = model_of(config_of())
    names = {id(weight): name for name, weight in model.named_parameters()}

    def tops(weights: Any) -> set[str]:
        return {names[id(weight)] for weight in weights}

    audio, text = tops(model.branch_parameters("audio")), tops(model.branch_parameters("text"))
    shared = set(names.values()) - audio - text
    assert not audio & text
    assert {name.split(".")[0] for name in audio} == {"acoustic", "fusion"}
    assert {name.split(".")[0] for name in text} == {"text", "fusion"}
    assert all(".branches.audio." in name for name in audio if name.startswith("fusion"))
    assert any(".refinement." in name for name in audio)
    assert any(".projection." in name for name in text)
    assert {".".join(name.split(".")[:2]) for name in shared} == {
        "fusion.meeting",
        "classifier.weight",
        "classifier.bias",
        "regressor.weight",
        "regressor.bias",
    }
    assert list(model.encoder_parameters()) == []
    pretrained = model_of(
        config_of(
            acoustic=PretrainedAcousticConfig(name="any"), text=PretrainedTextConfig(name="any")
        )
    )
    assert [id(weight) for weight in pretrained.encoder_parameters()] == [
        id(weight)
        for encoder in (pretrained.acoustic, pretrained.text)
        if encoder is not None
        for weight in encoder.parameters()
    ]
    mixed = model_of(config_of(text=PretrainedTextConfig(name="any")))
    assert mixed.text is not None
    assert len(list(mixed.encoder_parameters())) == len(list(mixed.text.parameters()))


def test_a_frozen_branch_does_not_move() -> None:
    """With the audio branch frozen, the words' branch and the bridge tokens still learn."""
    model = model_of(config_of()).train()
    for weight in model.branch_parameters("audio"):
        weight.requires_grad_(False)
    model(model.prepare(SOUNDS, WORDS)).category_logits.square().sum().backward()
    assert all(weight.grad is None for weight in model.branch_parameters("audio"))
    assert all(weight.grad is not None for weight in model.branch_parameters("text"))
    assert model.fusion.get_parameter("meeting.tokens.audio").grad is not None


def test_half_precision_encoders_feed_full_precision_heads() -> None:
    """Under bf16 autocast the answers stay float32 and near the full-precision ones."""
    model = model_of(config_of())
    batch = model.prepare(SOUNDS, WORDS)
    with torch.no_grad():
        expected = model(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            told = model(batch)
    assert told.category_logits.dtype == told.dimensions.dtype == torch.float32
    torch.testing.assert_close(told.category_logits, expected.category_logits, atol=0.1, rtol=0)
    assert not torch.equal(told.category_logits, expected.category_logits)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (config_of({"heads": 3}), "fusion.width 8 is not divisible by fusion.heads 3"),
        (config_of(acoustic=None, text=None), "acoustic encoder, a text encoder, or both"),
        (config_of(heads=HeadsConfig(categories=(), dimensions=())), "a model needs a task"),
        (config_of(heads=HeadsConfig(categories=("sad",))), "two categories at least"),
        (config_of(heads=HeadsConfig(categories=("sad", "bored"))), "unknown 'bored'; known: neu"),
        (config_of(heads=HeadsConfig(categories=("sad", "sad"))), "'sad' is there more than once"),
        (config_of(heads=HeadsConfig(dimensions=("power",))), "unknown 'power'; known: valence"),
        (
            config_of(heads=HeadsConfig(dimensions=("arousal", "arousal"))),
            "heads.dimensions: 'arousal' is there more than once",
        ),
        (
            config_of(acoustic=WhisperAcousticConfig(used_layers=(0,))),
            "name one layer at least, from 1",
        ),
        (
            config_of(acoustic=WhisperAcousticConfig(used_layers=(2, 1))),
            "acoustic.used_layers = 2, 1: name each once, the lowest first",
        ),
        (config_of(acoustic=WhisperAcousticConfig(used_layers=(1, 1))), "name each once"),
    ],
)
def test_impossible_configurations_are_refused(config: FusedConfig, message: str) -> None:
    """Each is one clear line, before any encoder is looked at."""
    with pytest.raises(ConfigError, match=message):
        check_config(config)
    with pytest.raises(ConfigError, match=message):
        FusedModel(config, None, None)


def test_encoders_must_match_the_configuration() -> None:
    """An encoder that is configured must be given, and the reverse."""
    with pytest.raises(ConfigError, match="acoustic encoder must be both configured and given"):
        FusedModel(config_of(), None, Reading())
    with pytest.raises(ConfigError, match="text encoder must be both configured and given"):
        FusedModel(config_of(text=None), Hearing(), Reading())


def test_switches_that_concat_does_not_use_are_ignored() -> None:
    """Concat has the same weights whatever is said of cross-attention and bridge tokens."""
    plain = model_of(config_of({"mode": "concat"}))
    said = model_of(config_of({"mode": "concat", "cross_attention": False, "bridge_tokens": 0}))
    close(answer(said, SOUNDS, WORDS), answer(plain, SOUNDS, WORDS), tolerance=0)


def test_a_model_is_rebuilt_from_its_configuration_and_weights() -> None:
    """The configuration as JSON and the state dict are the whole model."""
    model = model_of(config_of())
    config = msgspec.json.decode(msgspec.json.encode(model.config), type=FusedConfig)
    again = FusedModel(config, Hearing(), Reading()).eval()
    before: Tensor = answer(again, SOUNDS, WORDS).category_logits
    again.load_state_dict(model.state_dict())
    close(answer(again, SOUNDS, WORDS), answer(model, SOUNDS, WORDS), tolerance=0)
    assert not torch.equal(before, answer(model, SOUNDS, WORDS).category_logits)
