import numpy as np
import pytest
import torch

from streamser.audio.clip import Samples
from streamser.emotion.frontend import Mel, Sound, features
from streamser.emotion.fused.compact_encoders import CompactAcoustic
from streamser.emotion.fused.config import CompactAcousticConfig
from streamser.emotion.fused.interfaces import AcousticEncoder, AudioBatch
from streamser.errors import ConfigError
from tests.emotion.voices import speak

TINY = CompactAcousticConfig(width=16, layers=2, heads=2, dropout=0.1)


def build(config: CompactAcousticConfig = TINY) -> CompactAcoustic:
    """Build an encoder with the same random weights every time, not training."""
    torch.manual_seed(0)
    return CompactAcoustic(config).eval()


def noise(samples: int, seed: int = 0) -> Samples:
    """Return white noise that is the same at every call."""
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def clips() -> list[Sound]:
    """Return clips of very different lengths, and ready-made frames among them."""
    frames = np.random.default_rng(1).uniform(-80, 0, (37, 64)).astype(np.float32)
    return [speak(200), noise(0), noise(700), Mel(frames), noise(11_111), noise(1)]


def test_it_is_an_acoustic_encoder() -> None:
    """The fused model can use it."""
    assert isinstance(build(), AcousticEncoder)
    assert build().width == 16


def test_prepare_pads_features_with_zeros() -> None:
    """A batch holds each clip's features, then zeros, and says where they end."""
    sounds = clips()
    values, lengths = build().prepare(sounds)
    assert values.dtype == torch.float32
    assert lengths.dtype == torch.int64
    assert lengths.tolist() == [len(features(sound)) for sound in sounds]
    assert values.shape == (6, max(lengths), 64)
    for row, length, sound in zip(values, lengths, sounds, strict=True):
        assert np.array_equal(row[:length].numpy(), features(sound))
        assert not row[length:].any()


def test_a_clip_without_samples_is_one_frame_of_silence() -> None:
    """Nothing heard is still something to encode."""
    values, lengths = build().prepare([noise(0)])
    assert values.shape == (1, 1, 64)
    assert not values.any()
    assert lengths.tolist() == [1]


@pytest.mark.parametrize("subsampling", [2, 4, 8])
@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9, 33])
def test_vectors_are_counted_exactly(subsampling: int, frames: int) -> None:
    """T frames give ceil(T / subsampling) vectors, real ones first, zeros after them."""
    config = CompactAcousticConfig(width=8, layers=1, heads=2, subsampling=subsampling)  # type: ignore[arg-type]
    values = torch.randn(2, 40, 64)
    hidden, mask = build(config)(AudioBatch(values, torch.tensor([frames, 40])))
    expected = -(-frames // subsampling)
    assert hidden.shape == (2, 40 // subsampling, 8)
    assert mask[0].tolist() == [i < expected for i in range(40 // subsampling)]
    assert mask[1].all()
    assert not hidden[0, expected:].any()
    assert hidden[0, :expected].abs().sum(dim=1).min() > 0


@pytest.mark.parametrize("subsampling", [2, 4, 8])
def test_one_alone_is_the_same_as_among_many(subsampling: int) -> None:
    """Neighbours and padding are not heard."""
    encoder = build(CompactAcousticConfig(width=16, layers=2, heads=2, subsampling=subsampling))  # type: ignore[arg-type]
    together, mask = encoder(encoder.prepare(clips()))
    for row, real, sound in zip(together, mask, clips(), strict=True):
        alone, _ = encoder(encoder.prepare([sound]))
        assert torch.allclose(row[real], alone[0], rtol=0, atol=1e-5)


def test_what_stands_in_the_padding_is_not_heard() -> None:
    """Even rubbish beyond an item's end changes nothing, however much of it there is."""
    encoder = build()
    batch = encoder.prepare(clips())
    padded = torch.nn.functional.pad(batch.values, (0, 0, 0, 77))
    for row, length in zip(padded, batch.lengths, strict=True):
        row[length:] = 9.0
    expected, mask = encoder(batch)
    found, wider = encoder(AudioBatch(padded, batch.lengths))
    assert wider.sum() == mask.sum()
    assert torch.allclose(found[:, : mask.shape[1]], expected, rtol=0, atol=1e-5)
    assert not found[:, mask.shape[1] :].any()


def test_order_of_sound_is_heard() -> None:
    """A clip played backwards is another clip, even far beyond the reach of the convolutions."""
    encoder = build()
    frames = torch.rand(1, 64, 64)
    swapped = torch.cat([frames[:, 32:], frames[:, :32]], dim=1)
    lengths = torch.tensor([64])
    forward = encoder(AudioBatch(frames, lengths)).hidden
    moved = encoder(AudioBatch(swapped, lengths)).hidden
    assert (forward[0, 4] - moved[0, 12]).abs().max() > 1e-3


def test_every_weight_learns() -> None:
    """A gradient reaches each parameter, and none comes out of the padding."""
    encoder = build().train()
    batch = encoder.prepare(clips())
    values = batch.values.clone().requires_grad_()
    encoder(AudioBatch(values, batch.lengths)).hidden.pow(3).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert values.grad is not None
    for row, length in zip(values.grad, batch.lengths, strict=True):
        assert row[:length].any()
        assert not row[length:].any()


def test_it_can_learn() -> None:
    """A few steps tell a high voice from a low one."""
    encoder = build().train()
    batch = encoder.prepare([speak(hz) for hz in (110, 120, 240, 260)])
    target = torch.tensor([0.0, 0.0, 1.0, 1.0])
    steps = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    for _ in range(40):
        steps.zero_grad()
        loss = (encoder(batch).hidden.mean(dim=1)[:, 0] - target).square().mean()
        loss.backward()
        steps.step()
    assert loss.item() < 0.05


def test_the_same_seed_gives_the_same_numbers() -> None:
    """Weights, and in training dropout too, follow the seed alone."""
    batch = build().prepare([speak(150)])
    assert torch.equal(build()(batch).hidden, build()(batch).hidden)
    assert torch.equal(build().train()(batch).hidden, build().train()(batch).hidden)


def test_bfloat16_comes_near() -> None:
    """Autocast runs it in half the precision."""
    encoder = build()
    batch = encoder.prepare(clips())
    exact = encoder(batch).hidden
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(batch).hidden
    assert (found.float() - exact).abs().max() < 0.15


def test_an_empty_batch_is_empty() -> None:
    """No clips give no rows."""
    assert build()(build().prepare([])).hidden.shape[0] == 0


def test_heads_that_do_not_fit_are_refused_in_one_line() -> None:
    """The message says which widths would do."""
    with pytest.raises(ConfigError, match="make the width a multiple of 6"):
        CompactAcoustic(CompactAcousticConfig(width=16, heads=3))
