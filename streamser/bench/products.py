"""The matrix products inside a computation, and how long they take alone."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from streamser.bench.spread import percentile

__all__ = ["Product", "products_of", "time_products"]

_ROWS: Final = 32_768
"""Longer products are timed on so many rows: as fast by the row, without the memory."""
_LEAST_S: Final = 0.02
"""A product is repeated for so long at least."""


class Product(NamedTuple):
    """Hold the shape of [batch, m, k] · [batch, k, n], and how it lies in memory.

    ``left`` and ``right`` say that the factor lies transposed. A batch of 1 is a plain product.
    """

    batch: int
    m: int
    k: int
    n: int
    dtype: torch.dtype
    left: bool = False
    right: bool = False

    @property
    def flops(self) -> int:
        """Count its multiplications and additions."""
        return 2 * self.batch * self.m * self.k * self.n


def products_of(run: Callable[[], object]) -> Counter[Product]:
    """Run a computation and count the matrix products in it, backward passes too.

    Linear layers, batched products, and attention and convolutions as the products they stand
    for: a convolution is one over its unfolded input. Inference mode hides them inside other
    operations; use ``torch.no_grad`` instead.
    """
    recorder = _Recorder()
    with recorder:
        run()
    return recorder.found


def time_products(
    products: Mapping[Product, int], device: torch.device, *, budget_s: float = 60.0
) -> float:
    """Return the seconds that all products take on random numbers, one after another.

    Each shape is run once unmeasured, then at least three times; the median counts as often as
    the shape occurs. With many shapes each has its share of the budget.
    """
    share = budget_s / max(1, len(products))
    total = 0.0
    for product, count in products.items():
        rows = min(product.m, _ROWS)
        took = _time(product._replace(m=rows), device, share)
        total += count * took * product.m / rows
    return total


def _time(product: Product, device: torch.device, budget_s: float) -> float:
    left = _factor(product.batch, product.m, product.k, product.left, product.dtype, device)
    right = _factor(product.batch, product.k, product.n, product.right, product.dtype, device)
    multiply: Callable[[Tensor, Tensor], Tensor] = torch.bmm
    if product.batch == 1:
        left, right, multiply = left[0], right[0], torch.mm
    multiply(left, right)
    times: list[float] = []
    spent = 0.0
    while len(times) < 3 or (spent < min(_LEAST_S, budget_s) and len(times) < 100):
        _wait(device)
        began = time.perf_counter()
        multiply(left, right)
        _wait(device)
        times.append(time.perf_counter() - began)
        spent += times[-1]
    return percentile(times, 0.5)


def _factor(
    batch: int, rows: int, columns: int, turned: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    if turned:
        return torch.randn(batch, columns, rows, device=device).to(dtype).transpose(1, 2)
    return torch.randn(batch, rows, columns, device=device).to(dtype)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Note the products of every operation that passes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[Product] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        # Asked before it runs: afterwards an operation may have changed its inputs.
        self.found.update(_within(name, args))
        return func(*args, **(kwargs or {}))


def _within(name: str, given: tuple[Any, ...]) -> Iterator[Product]:
    if name in ("mm", "bmm"):
        yield _plain(given[0], given[1])
    elif name in ("addmm", "baddbmm"):
        yield _plain(given[1], given[2])
    elif name == "convolution":
        yield from _convolution(given[0], given[1], _spots(given), given[8])
    elif name == "convolution_backward":
        grad, values, weight, groups = given[0], given[1], given[2], given[9]
        wanted = given[10]
        spots = grad.shape[0] * math.prod(grad.shape[2:])
        (forward,) = _convolution(values, weight, spots, groups)
        if wanted[0]:
            yield forward._replace(k=forward.n, n=forward.k)
        if wanted[1]:
            yield forward._replace(m=forward.n, k=forward.m, n=forward.k)
    elif name.startswith("_scaled_dot_product") and name.endswith("_backward"):
        query, key, value = given[1:4]
        scores, values = _attention(query, key, value)
        # The weights anew, then the gradients of values, weights, queries and keys.
        yield scores
        yield values._replace(m=values.k, k=values.m, left=True)
        yield values._replace(k=values.n, n=values.k, right=True)
        yield scores._replace(k=scores.n, n=scores.k, right=False)
        yield scores._replace(m=scores.n, k=scores.m, n=scores.k, left=True, right=False)
    elif name.startswith("_scaled_dot_product"):
        yield from _attention(*given[:3])


def _plain(left: Tensor, right: Tensor) -> Product:
    batch = left.shape[0] if left.ndim == 3 else 1
    m, k = left.shape[-2:]
    return Product(batch, m, k, right.shape[-1], left.dtype, _turned(left), _turned(right))


def _turned(factor: Tensor) -> bool:
    return factor.stride(-1) != 1 and factor.stride(-2) == 1


def _spots(given: tuple[Any, ...]) -> int:
    """Return how many places of a batch a convolution's kernel is laid at."""
    values, weight, _, stride, padding, dilation = given[:6]
    places = [
        (size + 2 * pad - spread * (kernel - 1) - 1) // step + 1
        for size, kernel, step, pad, spread in zip(
            values.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    return int(values.shape[0] * math.prod(places))


def _convolution(values: Tensor, weight: Tensor, spots: int, groups: int) -> Iterator[Product]:
    outputs, inputs = weight.shape[0] // groups, weight.shape[1] * math.prod(weight.shape[2:])
    yield Product(groups, spots, inputs, outputs, values.dtype)


def _attention(query: Tensor, key: Tensor, value: Tensor) -> tuple[Product, Product]:
    items = math.prod(query.shape[:2])
    length, width, seen = query.shape[2], query.shape[3], key.shape[2]
    scores = Product(items, length, width, seen, query.dtype, right=True)
    return scores, Product(items, length, seen, value.shape[3], query.dtype)
