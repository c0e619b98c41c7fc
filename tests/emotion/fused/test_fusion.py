from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from streamser.emotion.fused.config import FusionConfig
from streamser.emotion.fused.fusion import Fused, Fusion, MultiHeadAttention
from streamser.emotion.fused.interfaces import Encoded
from streamser.errors import ConfigError
from tests.emotion.fused.reference import fuse, randomise, weights_of

AUDIO_WIDTH, TEXT_WIDTH, WIDTH = 10, 6, 8

# Longer audio, longer text, equal, no text, no audio, neither.
AUDIO_LENGTHS = [9, 2, 4, 5, 0, 0]
TEXT_LENGTHS = [3, 6, 4, 0, 7, 0]

VARIANTS: dict[str, dict[str, Any]] = {
    "mixed_kv": {"mode": "mixed_kv"},
    "mixed_kv, two refinements": {"mode": "mixed_kv", "refinement": 2},
    "mixed_kv, no refinement": {"mode": "mixed_kv", "refinement": 0},
    "mixed_kv, no feed-forward": {"mode": "mixed_kv", "feedforward": 0},
    "same_kv": {"mode": "same_kv"},
    "same_kv, no refinement": {"mode": "same_kv", "refinement": 0},
    "no bridge tokens": {"bridge_tokens": 0},
    "no bridge tokens, no refinement": {"bridge_tokens": 0, "refinement": 0},
    "no cross-attention": {"cross_attention": False},
    "no cross-attention, no refinement": {"cross_attention": False, "refinement": 0},
    "concat": {"mode": "concat"},
    "concat, no refinement": {"mode": "concat", "refinement": 0},
}
variants = pytest.mark.parametrize("switches", VARIANTS.values(), ids=VARIANTS.keys())


def settings(switches: dict[str, Any], **more: Any) -> FusionConfig:
    """Return a tiny fusion with some switches set."""
    return FusionConfig(
        **{"width": WIDTH, "heads": 2, "feedforward": 2, "bridge_tokens": 3, **switches, **more}
    )


def sequences(lengths: list[int], width: int, *, extra: int = 0, seed: int = 0) -> Encoded:
    """Draw a batch; an item's rows depend on its place alone, not on padding."""
    size = max(1, *lengths) + extra
    mask = torch.arange(size) < torch.tensor(lengths)[:, None]
    rows = torch.zeros(len(lengths), size, width, dtype=torch.float64)
    for item, length in enumerate(lengths):
        generator = torch.Generator().manual_seed(100 * seed + item)
        rows[item, :length] = torch.randn(length, width, generator=generator, dtype=torch.float64)
    return Encoded(rows, mask)


def item_of(encoded: Encoded, item: int) -> Encoded:
    """Cut one item out of a batch, with no padding but the one position that it must have."""
    length = max(1, int(encoded.mask[item].sum()))
    return Encoded(encoded.hidden[item : item + 1, :length], encoded.mask[item : item + 1, :length])


def built(config: FusionConfig, acoustic: int | None, text: int | None) -> Fusion:
    """Build a fusion in float64 with random weights, biases too."""
    fusion = Fusion(config, acoustic, text).double().eval()
    randomise(fusion, seed=1)
    return fusion


def group(fusion: Fusion, name: str) -> MultiHeadAttention:
    """Return the cross-attention of one group of queries."""
    attention = fusion.get_submodule(f"meeting.attention.{name}")
    assert isinstance(attention, MultiHeadAttention)
    return attention


def close(got: Fused, expected: Fused, tolerance: float = 1e-12) -> None:
    """Compare all three vectors."""
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=0)


def assert_equations(
    config: FusionConfig, widths: tuple[int, int], frames: list[int], tokens: list[int]
) -> None:
    """Compare each item of a padded batch with the equations for the unpadded item alone."""
    fusion = built(config, *widths)
    weights = weights_of(fusion)
    audio = sequences(frames, widths[0], extra=2, seed=1)
    text = sequences(tokens, widths[1], extra=1, seed=2)
    got = fusion(audio, text)
    for item in range(len(frames)):
        expected = fuse(
            config,
            weights,
            {
                "audio": audio.hidden[item, : frames[item]].numpy() if frames[item] else None,
                "text": text.hidden[item, : tokens[item]].numpy() if tokens[item] else None,
            },
        )
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one[item].detach().numpy(), other, atol=1e-10, rtol=0)


@variants
@pytest.mark.parametrize("widths", [(AUDIO_WIDTH, TEXT_WIDTH), (WIDTH, WIDTH)])
def test_fusion_is_its_equation(switches: dict[str, Any], widths: tuple[int, int]) -> None:
    """Whichever sequence is longer, and whichever is missing, the equations are met."""
    assert_equations(settings(switches), widths, AUDIO_LENGTHS, TEXT_LENGTHS)


@variants
@pytest.mark.parametrize("seed", range(3))
def test_fusion_is_its_equation_at_any_length(switches: dict[str, Any], seed: int) -> None:
    """Random lengths, heads and numbers of tokens meet the equations too."""
    chance = np.random.default_rng(seed)
    frames, tokens = chance.integers(0, 12, 6).tolist(), chance.integers(0, 8, 6).tolist()
    asked = {"bridge_tokens": int(chance.integers(1, 6)), **switches}
    config = settings(asked, heads=int(chance.choice([1, 2, 4, 8])))
    assert_equations(config, (AUDIO_WIDTH, TEXT_WIDTH), frames, tokens)


@variants
@pytest.mark.parametrize("modality", ["audio", "text"])
def test_fusion_of_one_modality_is_its_equation(switches: dict[str, Any], modality: str) -> None:
    """A model that only hears, or only reads, works in every mode."""
    config = settings(switches)
    only_audio = modality == "audio"
    fusion = built(config, *((AUDIO_WIDTH, None) if only_audio else (None, TEXT_WIDTH)))
    weights = weights_of(fusion)
    lengths = [4, 1, 0, 6]
    given = sequences(lengths, AUDIO_WIDTH if only_audio else TEXT_WIDTH, extra=2)
    got = fusion(given, None) if only_audio else fusion(None, given)
    for item, length in enumerate(lengths):
        rows = given.hidden[item, :length].numpy() if length else None
        expected = fuse(config, weights, {modality: rows})
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one[item].detach().numpy(), other, atol=1e-10, rtol=0)


@variants
def test_one_modality_alone_leaves_no_weight_idle(switches: dict[str, Any]) -> None:
    """What a missing modality would need is not built, so every weight gets a gradient."""
    fusion = built(settings(switches), None, TEXT_WIDTH)
    fusion(None, sequences([4, 2], TEXT_WIDTH)).fused.square().sum().backward()
    assert [name for name, weight in fusion.named_parameters() if weight.grad is None] == []


@variants
def test_gradients_are_right_with_and_without_each_modality(switches: dict[str, Any]) -> None:
    """Analytic gradients equal numeric ones in both sequences and in every weight."""
    fusion = built(settings(switches, width=4, bridge_tokens=2), 4, 3)
    audio, text = sequences([3, 1, 2, 0, 0], 4, seed=1), sequences([2, 2, 0, 1, 0], 3, seed=2)
    names = [name for name, _ in fusion.named_parameters()]
    weights = list(fusion.parameters())

    def call(*tensors: Tensor) -> tuple[Tensor, ...]:
        given = (Encoded(tensors[0], audio.mask), Encoded(tensors[1], text.mask))
        parameters = dict(zip(names, tensors[2:], strict=True))
        told: Fused = torch.func.functional_call(fusion, parameters, given)
        return tuple(told)

    rows = (audio.hidden.requires_grad_(), text.hidden.requires_grad_())
    assert torch.autograd.gradcheck(lambda *two: call(*two, *weights), rows)
    assert torch.autograd.gradcheck(call, (*rows, *weights), fast_mode=True)


@variants
def test_neighbours_and_padding_do_not_matter(switches: dict[str, Any]) -> None:
    """An item alone gives what it gives in any batch with any padding."""
    fusion = built(settings(switches), AUDIO_WIDTH, TEXT_WIDTH)
    audio = sequences(AUDIO_LENGTHS, AUDIO_WIDTH, seed=1)
    text = sequences(TEXT_LENGTHS, TEXT_WIDTH, seed=2)
    together = fusion(audio, text)
    padded = fusion(
        sequences(AUDIO_LENGTHS, AUDIO_WIDTH, seed=1, extra=30),
        sequences(TEXT_LENGTHS, TEXT_WIDTH, seed=2, extra=3),
    )
    close(padded, together)
    for item in range(len(AUDIO_LENGTHS)):
        alone = fusion(item_of(audio, item), item_of(text, item))
        close(alone, Fused(*(tensor[item : item + 1] for tensor in together)))


@variants
def test_what_lies_in_padded_rows_does_not_matter(switches: dict[str, Any]) -> None:
    """An encoder that leaves something in its padding changes nothing."""
    fusion = built(settings(switches), AUDIO_WIDTH, TEXT_WIDTH)
    audio = sequences(AUDIO_LENGTHS, AUDIO_WIDTH, seed=1)
    text = sequences(TEXT_LENGTHS, TEXT_WIDTH, seed=2)
    dirty = [
        Encoded(each.hidden.masked_fill(~each.mask[:, :, None], 7.0), each.mask)
        for each in (audio, text)
    ]
    close(fusion(*dirty), fusion(audio, text))


@variants
def test_an_absent_modality_has_no_embedding_and_no_gradient(switches: dict[str, Any]) -> None:
    """Absent is zero, present is not; an item with neither is finite."""
    fusion = built(settings(switches), AUDIO_WIDTH, TEXT_WIDTH)
    audio = sequences(AUDIO_LENGTHS, AUDIO_WIDTH, seed=1)
    text = sequences(TEXT_LENGTHS, TEXT_WIDTH, seed=2)
    audio.hidden.requires_grad_()
    told = fusion(audio, text)
    for embedding, lengths in ((told.audio, AUDIO_LENGTHS), (told.text, TEXT_LENGTHS)):
        assert [bool(row.any()) for row in embedding] == [length > 0 for length in lengths]
    assert told.fused.isfinite().all()
    told.fused.square().sum().backward()
    assert audio.hidden.grad is not None
    assert audio.hidden.grad.isfinite().all()
    moved = [bool(rows.any()) for rows in audio.hidden.grad]
    assert moved == [length > 0 for length in AUDIO_LENGTHS]


@variants
@pytest.mark.parametrize("lost", ["audio", "text"])
def test_an_item_that_lacks_one_modality_is_still_alive(
    switches: dict[str, Any], lost: str
) -> None:
    """What remains decides: two voices without words, or two texts without voice, differ."""
    fusion = built(settings(switches), AUDIO_WIDTH, TEXT_WIDTH)
    told = [
        fusion(
            sequences([0 if lost == "audio" else 5], AUDIO_WIDTH, seed=seed),
            sequences([0 if lost == "text" else 5], TEXT_WIDTH, seed=seed),
        ).fused
        for seed in (1, 2)
    ]
    assert (told[0] - told[1]).norm() > 0.01 * told[0].norm()


def test_without_text_the_paper_gives_a_constant_and_a_mean_of_the_voice() -> None:
    """mixed_kv: the audio group sees values of zero, the text group weighs all values alike."""
    fusion = built(settings(VARIANTS["mixed_kv"]), AUDIO_WIDTH, TEXT_WIDTH)
    audio = sequences([9], AUDIO_WIDTH, seed=1)
    told = fusion(audio, sequences([0], TEXT_WIDTH))
    of_audio, of_text = group(fusion, "audio"), group(fusion, "text")
    constant = of_audio.output(of_audio.value.bias)
    mean = of_text.output(of_text.value(told.audio[0]))
    torch.testing.assert_close(told.fused[0], (constant + mean) / 2, atol=1e-12, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_refinement_keeps_a_short_text_alive_among_many_frames(seed: int) -> None:
    """mixed_kv reads text at the indices of 224 frames: 12 words must reach past index 12.

    Without refinement the audio group reads zeros at 212 of 224 places; refinement first
    leaves a summary of the words at each of them.
    """

    def reach(refinement: int) -> float:
        torch.manual_seed(seed)
        config = settings({"mode": "mixed_kv"}, width=64, heads=4, refinement=refinement)
        fusion = Fusion(config, 64, 64).double().eval()
        read = []
        group(fusion, "audio").register_forward_hook(
            lambda module, inputs, told: read.append(told.detach().mean(dim=1))
        )
        audio = sequences([224], 64, seed=1)
        for text in (2, 3):
            fusion(audio, sequences([12], 64, seed=text))
        return float((read[0] - read[1]).norm())

    assert reach(1) > 8 * reach(0) > 0


def test_mixed_keys_and_values_meet_by_index() -> None:
    """mixed_kv: turning the words' order round changes the answer, in same_kv it does not."""
    changes = []
    for mode in ("mixed_kv", "same_kv"):
        fusion = built(settings({"mode": mode, "refinement": 0}), WIDTH, WIDTH)
        audio, text = sequences([5], WIDTH, seed=1), sequences([5], WIDTH, seed=2)
        turned = Encoded(text.hidden.flip(1), text.mask)
        change = fusion(audio, text).fused - fusion(audio, turned).fused
        changes.append(float(change.detach().norm()))
    assert changes[0] > 1e-3
    assert changes[1] < 1e-12


def test_switches_remove_their_weights() -> None:
    """The number of weights is that of the parts switched on, and of nothing else."""
    tokens, forward = 3, 2
    attention = 4 * (WIDTH * WIDTH + WIDTH)
    inner = forward * WIDTH
    feedforward = 2 * WIDTH * inner + inner + WIDTH + 2 * WIDTH
    layer = attention + 2 * WIDTH + feedforward
    projections = (AUDIO_WIDTH + 1) * WIDTH + (TEXT_WIDTH + 1) * WIDTH
    bridge = 2 * tokens * WIDTH
    expected = {
        "mixed_kv": projections + 2 * layer + 2 * attention + bridge,
        "mixed_kv, two refinements": projections + 4 * layer + 2 * attention + bridge,
        "mixed_kv, no refinement": projections + 2 * attention + bridge,
        "mixed_kv, no feed-forward": projections + 2 * (layer - feedforward + attention) + bridge,
        "same_kv": projections + 2 * layer + 2 * attention + bridge,
        "same_kv, no refinement": projections + 2 * attention + bridge,
        "no bridge tokens": projections + 2 * layer + 2 * attention,
        "no bridge tokens, no refinement": projections + 2 * attention,
        "no cross-attention": projections + 2 * layer,
        "no cross-attention, no refinement": projections,
        "concat": projections + 2 * layer + 2 * WIDTH * WIDTH + WIDTH,
        "concat, no refinement": projections + 2 * WIDTH * WIDTH + WIDTH,
    }
    assert expected == {
        name: sum(
            weight.numel()
            for weight in Fusion(settings(switches), AUDIO_WIDTH, TEXT_WIDTH).parameters()
        )
        for name, switches in VARIANTS.items()
    }


def test_equal_widths_need_no_projection() -> None:
    """An encoder as wide as the fusion passes straight through."""
    plain = Fusion(settings({"cross_attention": False, "refinement": 0}), WIDTH, WIDTH)
    assert list(plain.parameters()) == []


@variants
def test_dropout_acts_in_training_alone(switches: dict[str, Any]) -> None:
    """With dropout of one half, evaluation equals the fusion without dropout."""
    noisy = Fusion(settings(switches, dropout=0.5), AUDIO_WIDTH, TEXT_WIDTH).double()
    plain = Fusion(settings(switches, dropout=0.0), AUDIO_WIDTH, TEXT_WIDTH).double()
    plain.load_state_dict(noisy.state_dict())
    audio, text = sequences([5, 4], AUDIO_WIDTH), sequences([3, 6], TEXT_WIDTH)
    close(noisy.eval()(audio, text), plain.train()(audio, text), tolerance=0)
    noisy.train()
    has_dropout = any(isinstance(module, MultiHeadAttention) for module in noisy.modules())
    changes = not torch.equal(noisy(audio, text).fused, noisy(audio, text).fused)
    assert changes == has_dropout


def test_bridge_tokens_start_apart() -> None:
    """Tokens of unit variance: each begins with a question of its own."""
    torch.manual_seed(0)
    fusion = Fusion(FusionConfig(width=64, heads=4), 64, 64)
    for name in ("audio", "text"):
        tokens = fusion.get_parameter(f"meeting.tokens.{name}")
        assert tokens.shape == (30, 64)
        assert float(tokens.detach().std()) == pytest.approx(1, abs=0.1)


def test_a_fusion_takes_the_modalities_it_was_built_for() -> None:
    """Neither modality is no model; one too few or too many is a wrong call."""
    with pytest.raises(ConfigError, match="acoustic encoder, a text encoder, or both"):
        Fusion(settings({}), None, None)
    fusion = built(settings({}), None, TEXT_WIDTH)
    with pytest.raises(ValueError, match="takes text"):
        fusion(sequences([2], AUDIO_WIDTH), sequences([2], TEXT_WIDTH))
