"""One loud row before a function that turns or is saturated: of it the gradient of a weight is made."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from measure import flat, off
from torch import nn

import gact

ROWS, WIDTH, LOUD, SEEDS = 512, 256, 37, 5
LIMITS = {2: 0.2, 4: 1e-2, 8: 5e-4}


def loud(*size):
    """Values of which one row is a thousand times as large."""
    x = torch.randn(*size)
    x[LOUD] *= 1000.0
    return x


class Summed(nn.Module):
    """Two layers whose sum is read."""

    def __init__(self, width):
        super().__init__()
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return self.one(x) + self.two(x)


class Read(nn.Module):
    """A layer whose result another one reads before."""

    def __init__(self, width):
        super().__init__()
        self.reader, self.layer, self.read = nn.Linear(width, 1), nn.Linear(width, width), 0.0

    def forward(self, x):
        h = self.layer(x)
        self.read = self.reader(h).mean() * 1e-6
        return h


class Channel(nn.Module):
    """A loud channel, which is most of what a layer before it gets."""

    def __init__(self, width):
        super().__init__()
        self.before, self.layer = nn.Linear(width, width), nn.Linear(width, width)
        with torch.no_grad():
            self.layer.weight[11] *= 1000.0

    def forward(self, x):
        return self.layer(self.before(x))


def network(layer, x, function):
    last, weights = nn.Linear(len(list(layer.parameters())[-1]), 32), torch.randn(len(x), 32)
    model = nn.ModuleList((layer, last))
    return model, lambda: (last(function(layer(x))) * weights).mean() + getattr(layer, "read", 0.0)


def a_row(function):
    return network(nn.Linear(WIDTH, WIDTH), loud(ROWS, WIDTH), function)


def narrow_rows(function):
    """Each row has a scale of its own."""
    return network(nn.Linear(WIDTH, 64), loud(2 * ROWS, WIDTH), function)


def a_residual_sum(function):
    return network(Summed(WIDTH), loud(ROWS, WIDTH), function)


def what_another_read_before(function):
    return network(Read(WIDTH), loud(ROWS, WIDTH), function)


def boxes(function):
    """Channels lie apart, so that they are coded in boxes."""
    layer = nn.Linear(64, 64)
    with torch.no_grad():
        layer.bias.normal_(0.0, 6.0)
    return network(layer, loud(8 * ROWS, 64), function)


def a_channel(function):
    return network(Channel(WIDTH), torch.randn(ROWS, WIDTH), function)


CASES = [
    *((a_row, function) for function in (F.gelu, F.silu, F.softplus, torch.atan, torch.tanh, torch.sigmoid)),
    *((make, F.gelu) for make in (narrow_rows, a_residual_sum, what_another_read_before, boxes, a_channel)),
]


def gradient(model, loss, context):
    model.zero_grad(set_to_none=True)
    with context:
        value = loss()
    value.backward()
    return flat(parameter.grad for parameter in model.parameters() if parameter.dim() > 1)


@pytest.mark.parametrize(("make", "function"), CASES)
def test_one_loud_row(make, function):
    """Noise is that of few bits, and the mean of some seeds has as much less as there are seeds."""
    torch.manual_seed(0)
    model, loss = make(function)
    exact = gradient(model, loss, nullcontext())
    for bits, limit in LIMITS.items():
        found = torch.stack(
            [
                gradient(model, loss, gact.Compressor(bits=bits, adaptive=False, min_bytes=0, seed=seed))
                for seed in range(SEEDS)
            ]
        )
        noise = sum(off(each, exact) for each in found) / SEEDS
        assert noise < limit, bits
        assert off(found.mean(0), exact) < 3 * noise / SEEDS, bits


def test_one_loud_row_in_float64():
    torch.manual_seed(0)
    wide = a_row(F.gelu)[0].double()
    x, weights = loud(ROWS, WIDTH).double(), torch.randn(ROWS, 32, dtype=torch.float64)

    def loss():
        return (wide[1](F.gelu(wide[0](x))) * weights).mean()

    exact = gradient(wide, loss, nullcontext())
    for bits, limit in LIMITS.items():
        assert off(gradient(wide, loss, gact.Compressor(bits=bits, adaptive=False, min_bytes=0)), exact) < limit


def kept_bytes(x, function=F.gelu, **options):
    with gact.Compressor(adaptive=False, min_bytes=0, **options) as compressor:
        _alive = function(x * 1.0)
    return compressor.report().kept_bytes


@pytest.mark.parametrize("function", [F.gelu, F.softplus])
def test_it_takes_an_eighth_of_a_bit_of_each_element(function):
    x = torch.randn(ROWS, WIDTH)
    before = kept_bytes(x.clone().requires_grad_(), function, bits=4)
    x[LOUD] *= 1000.0
    assert 0 < kept_bytes(x.requires_grad_(), function, bits=4) - before <= x.numel() / ROWS * 4 + 8


def test_a_few_of_a_small_region_do_not_keep_all_of_it():
    assert kept_bytes(loud(64, WIDTH).requires_grad_(), bits=4) < 64 * WIDTH


def test_what_codes_gain_for_a_second_reader_is_counted():
    """As if that had been the first."""
    x = loud(ROWS, WIDTH).requires_grad_()
    weight = torch.randn(1, WIDTH, requires_grad=True)
    before = kept_bytes(x, lambda h: (F.linear(h, weight), F.softplus(h)), bits=4)
    assert before == kept_bytes(x, lambda h: (F.softplus(h), F.linear(h, weight)), bits=4)


@pytest.mark.parametrize("make", [a_row, boxes, a_channel])
def test_it_is_the_same_from_a_store(make, tmp_path):
    torch.manual_seed(0)
    model, loss = make(F.gelu)
    options = {"bits": 4, "adaptive": False, "min_bytes": 0}
    found = [gradient(model, loss, gact.Compressor(**options, offload=place)) for place in (None, f"disk:{tmp_path}")]
    assert torch.equal(*found)
