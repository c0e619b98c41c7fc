from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from streamser.emotion.fused.config import HeadsConfig
from streamser.errors import ConfigError
from streamser.training.learner import Loss, ccc_loss, cross_entropy, task_weights
from streamser.training.settings import LossSettings


@pytest.fixture
def rng() -> np.random.Generator:
    """Draw the same for every test."""
    return np.random.default_rng(0)


def _random(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.random(shape))


def _ccc(guess: np.ndarray, truth: np.ndarray) -> float:
    """Compute the CCC from Lin's definition, term by term."""
    covariance = np.mean((guess - np.mean(guess)) * (truth - np.mean(truth)))
    apart = np.mean(guess) - np.mean(truth)
    return float(2 * covariance / (np.var(guess) + np.var(truth) + apart**2))


def test_the_ccc_loss_is_one_minus_lins_ccc(rng: np.random.Generator) -> None:
    """With population variances and the square that the paper forgot, in float64."""
    guess, truth = _random(rng, 17, 2), _random(rng, 17, 2)
    losses, counts = ccc_loss(guess, truth, torch.ones(17, 2, dtype=torch.bool))
    for column in range(2):
        expected = 1 - _ccc(guess[:, column].numpy(), truth[:, column].numpy())
        assert losses[column].item() == pytest.approx(expected, abs=1e-14)
    assert counts.all()


def test_masked_labels_do_not_count(rng: np.random.Generator) -> None:
    """Whatever stands in their place, nan too."""
    guess, truth = _random(rng, 12, 1), _random(rng, 12, 1)
    mask = torch.arange(12)[:, None] % 3 != 0
    alone, _ = ccc_loss(guess[mask][:, None], truth[mask][:, None], mask[mask][:, None])
    holes = torch.where(mask, truth, torch.nan)
    assert ccc_loss(guess, holes, mask)[0].item() == pytest.approx(alone.item(), abs=1e-14)


def test_the_gradient_of_the_ccc_loss_is_right(rng: np.random.Generator) -> None:
    """By finite differences, with a column that lacks labels."""
    guess = _random(rng, 6, 3).requires_grad_()
    truth = _random(rng, 6, 3)
    mask = torch.tensor([[True, True, False]] * 5 + [[False, True, True]])
    assert torch.autograd.gradcheck(lambda values: ccc_loss(values, truth, mask)[0], (guess,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("guess", "truth", "counted", "loss"),
    [
        ([0.5], [0.5], False, 0.0),
        ([], [], False, 0.0),
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], True, 1.0),
        ([0.2, 0.2, 0.2], [0.7, 0.7, 0.7], True, 1.0),
        ([0.1, 0.2, 0.3], [0.7, 0.7, 0.7], True, 1.0),
        ([0.4, 0.4, 0.4], [0.1, 0.2, 0.3], True, 1.0),
        ([0.1, 0.5, 0.6], [0.1, 0.5, 0.6], True, 0.0),
    ],
)
def test_tiny_and_constant_batches_stay_finite(
    dtype: torch.dtype, guess: list[float], truth: list[float], counted: bool, loss: float
) -> None:
    """Loss and gradient; fewer than two labels say nothing."""
    values = torch.tensor(guess, dtype=dtype)[:, None].requires_grad_()
    known = torch.ones(len(guess), 1, dtype=torch.bool)
    losses, counts = ccc_loss(values, torch.tensor(truth, dtype=dtype)[:, None], known)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert counts.item() is counted
    assert losses.item() == pytest.approx(loss, abs=1e-5)
    assert values.grad is not None
    assert values.grad.isfinite().all()


def test_soft_labels_lose_their_cross_entropy(rng: np.random.Generator) -> None:
    """Written out: the mean over items of -Σ q log p."""
    logits, votes = _random(rng, 5, 4) * 3, _random(rng, 5, 4)
    votes /= votes.sum(dim=1, keepdim=True)
    chances = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=1, keepdims=True)
    expected = np.mean(-(votes.numpy() * np.log(chances)).sum(axis=1))
    found = cross_entropy(logits, votes, torch.ones(5, dtype=torch.bool))
    assert found.item() == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 2.0, 3.0)])
def test_hard_labels_agree_with_torch(
    rng: np.random.Generator, smoothing: float, weights: tuple[float, ...] | None
) -> None:
    """Class weights, smoothing and masked items included."""
    logits = _random(rng, 9, 4) * 3
    labels = torch.tensor([0, 1, 2, 3, 3, -100, 1, -100, 0])
    mask = labels >= 0
    votes = torch.nn.functional.one_hot(labels.clamp(min=0), 4).double()
    votes[~mask] = torch.nan
    weighed = None if weights is None else torch.tensor(weights).double()
    expected = torch.nn.functional.cross_entropy(
        logits, labels, weight=weighed, label_smoothing=smoothing
    )
    found = cross_entropy(logits, votes, mask, class_weights=weighed, label_smoothing=smoothing)
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_gradient_of_the_cross_entropy_is_right(rng: np.random.Generator) -> None:
    """By finite differences, with weights, smoothing and a masked item."""
    logits = _random(rng, 4, 3).requires_grad_()
    votes = torch.softmax(_random(rng, 4, 3), dim=1)
    mask = torch.tensor([True, False, True, True])
    weights = torch.tensor([0.5, 1.0, 2.0]).double()
    assert torch.autograd.gradcheck(
        lambda values: cross_entropy(
            values, votes, mask, class_weights=weights, label_smoothing=0.1
        ),
        (logits,),
    )


def test_the_weights_of_the_tasks_sum_to_one() -> None:
    """Over those that a model has."""
    settings = LossSettings(category=2.0, valence=1.0, arousal=1.0, dominance=5.0)
    two = HeadsConfig(dimensions=("arousal", "valence"))
    assert task_weights(settings, two) == [0.5, 0.25, 0.25]
    alone = HeadsConfig(categories=(), dimensions=("dominance",))
    assert task_weights(settings, alone) == [0.0, 1.0]
    with pytest.raises(ConfigError, match="weight above 0"):
        task_weights(LossSettings(category=0), HeadsConfig(dimensions=()))


def test_the_whole_loss_is_the_weighted_sum(rng: np.random.Generator) -> None:
    """Σ h_i L_i, in float32 though the outputs are bfloat16."""
    loss = Loss(LossSettings(category=2.0), HeadsConfig())
    logits, dimensions = _random(rng, 6, 4).bfloat16(), _random(rng, 6, 2).bfloat16()
    votes, truth = torch.softmax(_random(rng, 6, 4), dim=1), _random(rng, 6, 2)
    found = loss(
        logits,
        dimensions,
        votes=votes,
        has_votes=torch.ones(6, dtype=torch.bool),
        truth=truth,
        has_truth=torch.ones(6, 2, dtype=torch.bool),
    )
    assert found.total.dtype == torch.float32
    entropy, valence, arousal = found.tasks.tolist()
    assert found.total.item() == pytest.approx(0.5 * entropy + 0.25 * (valence + arousal))


def test_a_batch_without_labels_loses_nothing() -> None:
    """And says so, and has a gradient of zero."""
    loss = Loss(LossSettings(), HeadsConfig())
    logits = torch.zeros(3, 4, requires_grad=True)
    dimensions = torch.full((3, 2), 0.5, requires_grad=True)
    found = loss(
        logits,
        dimensions,
        votes=torch.zeros(3, 4),
        has_votes=torch.zeros(3, dtype=torch.bool),
        truth=torch.zeros(3, 2),
        has_truth=torch.zeros(3, 2, dtype=torch.bool),
    )
    found.total.backward()  # type: ignore[no-untyped-call]
    assert found.total.item() == 0
    assert not found.known.any()
    assert logits.grad is not None
    assert dimensions.grad is not None
    assert not logits.grad.any()
    assert not dimensions.grad.any()
