"""What is compared for equality or order is held as who won: gradients are those of plain training to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import gact


def drawn(*size: int, seed: int = 0) -> Tensor:
    """Few different numbers, so that there are ties."""
    return torch.randint(-3, 4, size, generator=torch.Generator().manual_seed(seed)).float()


def of(dim: int, amax: bool = True, **options: object):
    index = torch.randint(0, 5, (40, 6), generator=torch.Generator().manual_seed(1))
    index = index if dim == 0 else index.t() % 6

    def op(x: Tensor, y: Tensor) -> Tensor:
        source = y if dim == 0 else y.t()
        return x.scatter_reduce(dim, index, source, "amax" if amax else "amin", **options)

    return op


ROW, ROWS = (5, 6), (40, 6)
OPS = {
    "amax": (lambda x: x.amax(1), ROWS),
    "amax of all": (lambda x: x.amax(), ROWS),
    "amax of several, kept": (lambda x: x.view(4, 10, 6).amax((0, -1), keepdim=True), ROWS),
    "amax of a transposed": (lambda x: x.t().amax(0), ROWS),
    "amin": (lambda x: x.amin(-1, keepdim=True), ROWS),
    "max": (lambda x: x.max(), ROWS),
    "min": (lambda x: x.min(), ROWS),
    "median": (lambda x: x.median(), ROWS),
    "nanmedian": (lambda x: x.nanmedian(), ROWS),
    "softmax written out": (lambda x: (x - x.amax(1, keepdim=True)).exp().sum(1), ROWS),
}
PAIRS = {
    "maximum": (torch.maximum, ROWS, ROWS),
    "minimum": (torch.minimum, ROWS, ROWS),
    "fmax": (torch.fmax, ROWS, ROWS),
    "fmin": (torch.fmin, ROWS, ROWS),
    "maximum of a row": (torch.maximum, ROWS, (6,)),
    "scatter amax": (of(0), ROW, ROWS),
    "scatter amin without self": (of(0, amax=False, include_self=False), ROW, ROWS),
    "scatter amax of columns": (of(1), (6, 6), ROWS),
    "scatter mean": (
        lambda x, y: x.scatter_reduce(0, (torch.arange(240) % 5).view(40, 6), y, "mean"),
        ROW,
        ROWS,
    ),
    "index amax": (lambda x, y: x.index_reduce(0, torch.arange(40) % 5, y, "amax"), ROW, ROWS),
}


def gradients(op, inputs: list[Tensor], min_bytes: int | None) -> list[Tensor]:
    inputs = [each.clone().requires_grad_() for each in inputs]
    made = [each * 1.0 for each in inputs]
    if min_bytes is None:
        result = op(*made)
    else:
        with gact.Compressor(bits=2, min_bytes=min_bytes, adaptive=False):
            result = op(*made)
    weights = drawn(*result.shape, seed=7) + 0.5
    return list(torch.autograd.grad(result, inputs, weights))


def check(op, *sizes: tuple[int, ...], spoil: float | None = None, min_bytes: int = 0) -> None:
    inputs = [drawn(*size, seed=number) for number, size in enumerate(sizes)]
    if spoil is not None:
        for each in inputs:
            each.view(-1)[::3] = spoil
    expected, found = gradients(op, inputs, None), gradients(op, inputs, min_bytes)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0, equal_nan=True)


@pytest.mark.filterwarnings("ignore:index_reduce")
@pytest.mark.parametrize("spoil", [None, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("min_bytes", [0, 200])
@pytest.mark.parametrize("name", [*OPS, *PAIRS])
def test_gradients_are_equal(name, min_bytes, spoil):
    """Few bytes are left alone, so that winners are exact where those that lost are not."""
    if name == "softmax written out" and spoil is not None:
        pytest.skip("its exponential is rounded")
    op, *sizes = {**OPS, **PAIRS}[name]
    if name == "softmax written out":
        inputs = [drawn(*ROWS)]
        expected, found = gradients(op, inputs, None)[0], gradients(op, inputs, min_bytes)[0]
        assert (expected - found).norm() < 0.5 * expected.norm()
        return
    check(op, *sizes, spoil=spoil, min_bytes=min_bytes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["amax", "maximum", "scatter amax"])
def test_one_bit_an_element(name, dtype):
    op, *sizes = {**OPS, **PAIRS}[name]
    large = [(32 * size[0], 64 * size[1]) for size in sizes]
    inputs = [drawn(*size).to(dtype).requires_grad_() for size in large]
    if name == "scatter amax":
        index = torch.randint(0, large[0][0], large[1])
        op = lambda x, y: x.scatter_reduce(0, index, y, "amax")  # noqa: E731
    with gact.Compressor(bits=8, adaptive=False) as compressor:
        made = [each * 1 for each in inputs]
        op(*made)
    masks = [row for row in compressor.report().rows if row.codec == "mask"]
    assert sum(row.kept_bytes for row in masks) <= 1.02 * sum(each.numel() for each in inputs) / 8
    assert len(masks) >= (1 if name == "amax" else 2)


def test_a_winner_that_was_changed_in_place_raises():
    x = drawn(4000, 6).requires_grad_()
    with gact.Compressor(bits=4, min_bytes=20_000, adaptive=False):
        best = (x * 1).amax(1)
        loss = best.sum()
    best.data.copy_(best.data)
    loss.backward()  # .data hides the change, as it does from plain autograd
    with gact.Compressor(bits=4, min_bytes=20_000, adaptive=False):
        best = (x * 1).amax(1)
        loss = best.sum()
    with torch.no_grad():
        best.mul_(2)
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


def test_rules_keep_all_that_is_compared():
    x = drawn(400, 60).requires_grad_()
    rule = gact.Rule(op="amax", keep=True)
    with gact.Compressor(bits=4, min_bytes=0, adaptive=False, rules=[rule]) as compressor:
        (x * 1).amax(1).sum()
    assert all(row.codec == "keep" for row in compressor.report().rows if row.op == "amax")


def test_second_derivatives():
    def penalty(x: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(((x * x).amax(1) ** 2).sum(), x, create_graph=True)
        return gradient.square().sum()

    x = (drawn(64, 32) + torch.rand(64, 32)).requires_grad_()
    (expected,) = torch.autograd.grad(penalty(x), x)
    compressor = gact.Compressor(bits=8, min_bytes=0, adaptive=False)
    for _ in range(2):
        with compressor:
            loss = penalty(x)
        (found,) = torch.autograd.grad(loss, x)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))
