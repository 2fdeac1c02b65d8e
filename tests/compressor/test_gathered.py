"""Elements taken from other places of what is held are taken again for backward, and held once."""

from __future__ import annotations

import pytest
import torch

import gact
from saved import held, save

NODES, WIDTH = 200, 32
INDEX = torch.randint(NODES, (1000,), generator=torch.Generator().manual_seed(0))
FACTOR = torch.randn(1000, WIDTH, generator=torch.Generator().manual_seed(1))
ORDER = torch.randperm(NODES, generator=torch.Generator().manual_seed(2))

GATHERS = {
    "brackets": lambda h: h[INDEX],
    "brackets with a slice": lambda h: h[:, None][INDEX, :].flatten(1),
    "brackets with two indices": lambda h: h[INDEX[:, None], torch.arange(WIDTH)],
    "mask": lambda h: h[torch.arange(NODES) % 3 > 0],
    "index_select": lambda h: h.index_select(0, INDEX),
    "index_select along columns": lambda h: h.index_select(1, torch.arange(WIDTH).flip(0)),
    "gather": lambda h: torch.gather(h, 0, INDEX[:, None].expand(-1, WIDTH)),
    "take_along_dim": lambda h: torch.take_along_dim(h, INDEX[:, None], 0),
    "roll": lambda h: h.roll(3, 0),
    "flip": lambda h: h.flip(0),
    "repeat": lambda h: h.repeat(5, 1),
    "tile": lambda h: torch.tile(h, (5, 1)),
    "repeat_interleave": lambda h: h.repeat_interleave(5, 0),
}


def gradient(loss, compressor=None):
    x = torch.randn(NODES, WIDTH, generator=torch.Generator().manual_seed(3)).requires_grad_()
    weights = torch.randn(8, NODES * 5, WIDTH, generator=torch.Generator().manual_seed(4))
    if compressor is None:
        value = loss(x, weights)
    else:
        with compressor:
            value = loss(x, weights)
    return torch.autograd.grad(value, x)[0]


def mean_of(loss, bits, seeds):
    found = [
        gradient(loss, gact.Compressor(bits=bits, adaptive=False, min_bytes=0, seed=seed)) for seed in range(seeds)
    ]
    return torch.stack(found).mean(0), torch.stack(found).var(0).sum().sqrt()


@pytest.mark.parametrize("name", GATHERS)
def test_what_is_taken_is_held_no_more(name):
    x = torch.randn(NODES, WIDTH, requires_grad=True)
    with gact.Compressor(bits=8, adaptive=False, min_bytes=0) as compressor:
        h = x * 2.0
        of_all = save(h)
        taken = GATHERS[name](h)
        of_taken = save(taken)
        charged = sum(row.kept_bytes for row in compressor.report().rows if row.codec not in ("integers", "mask"))
    (found,), (source,) = held(of_taken), held(of_all)
    assert torch.equal(found, GATHERS[name](source))
    assert charged < 1.3 * h.numel() + INDEX.nbytes < taken.nbytes


def product_of_neighbours(x, weights):
    """Each element comes from two of one code."""
    h = x * 2.0
    return (h.tanh() + h[ORDER] * h[INDEX[:NODES]] * weights[0, :NODES]).square().sum()


def itself_in_another_order(x, weights):
    """A permutation has the size and stride of what it permutes."""
    h = x * 2.0
    return ((h * h[ORDER]) * weights[0, :NODES] * h).sum()


def curve_of_what_was_taken(x, weights):
    h = x * 2.0
    return (torch.nn.functional.gelu(h[INDEX]) * weights[1, : len(INDEX)] * (h * h).sum(1)[INDEX, None]).sum()


@pytest.mark.parametrize("loss", [product_of_neighbours, itself_in_another_order, curve_of_what_was_taken])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_gradients_are_right_on_average(loss, bits):
    exact = gradient(loss)
    mean, deviation = mean_of(loss, bits, 48)
    assert (mean - exact).norm() < 1.3 * deviation / 48**0.5 + 0.02 * exact.norm() * 4.0 ** (4 - bits)


def test_an_index_that_changes_afterwards():
    x, index = torch.randn(NODES, WIDTH, requires_grad=True), INDEX.clone()
    with gact.Compressor(bits=8, adaptive=False, min_bytes=0):
        h = x * 2.0
        of_all, of_taken = save(h), save(h[index])
        index.zero_()
    (found,), (source,) = held(of_taken), held(of_all)
    assert torch.equal(found, source[INDEX])


def with_a_list(arguments, op):
    """An op whose arguments are in a list, and what its owner makes of the list afterwards."""
    return lambda h: op(h, arguments), lambda: arguments.__setitem__(0, arguments[0] + 1)


def with_a_bound(bound):
    """Elements up to a tensor's number, and that number changed afterwards."""
    return lambda h: h[INDEX, :bound], lambda: bound.add_(1)


@pytest.mark.parametrize(
    ("take", "change"),
    [
        with_a_list([5, 1], torch.Tensor.repeat),
        with_a_list([3], torch.roll),
        with_a_list([0], lambda h, dims: h.flip(dims)),
        with_a_list([0, 0, 3, 4], torch.nn.functional.pad),
        with_a_bound(torch.tensor(20)),
    ],
    ids=["repeat", "roll", "flip", "pad", "bound"],
)
def test_arguments_that_change_afterwards(take, change):
    x = torch.randn(NODES, WIDTH, requires_grad=True)
    with gact.Compressor(bits=8, adaptive=False, min_bytes=0):
        h = x * 2.0
        of_all, taken = save(h), take(h)
        of_taken = save(taken)
        change()
    assert (held(of_taken)[0] - taken).abs().max() < 0.1
    assert (held(of_all)[0] - h).abs().max() < 0.1


@pytest.mark.parametrize("function", [lambda h: h * h, torch.square, lambda h: h.pow(2) * 1.0, lambda h: h + h.flip(0)])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounding_carries_no_half_to_infinity(function, bits):
    largest = 255.8 if function(torch.tensor(3.0).view(1)) > 8 else 32750.0
    x = (torch.rand(NODES, WIDTH).half() * 2 - 1).mul_(1.5 * largest).clamp_(-largest, largest).requires_grad_()
    with gact.Compressor(bits=bits, adaptive=False, min_bytes=0) as compressor:
        h = x * 1.0
        of_all, result = save(h), function(h.flip(0))
        of_result = save(result)
        assert any(row.codec == "derived" for row in compressor.report().rows)
    assert result.isfinite().all()
    assert held(of_result)[0].isfinite().all()
    assert held(of_all)[0].isfinite().all()
