"""Forms are chosen for a place and hold for some steps, as long as regions fit them."""

import json
from contextlib import nullcontext

import pytest
import torch
from torch import nn

import gact
from gact.codecs import boxed, columns
from gact.records import Site
from gact.saved import choices


def data(kind, rows=1024, width=128, seed=0):
    """Channels that drift slowly (boxes), that differ in size (columns), or neither."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.randn(*size, generator=generator)

    if kind == "boxes":
        return draw(rows // 64, width).repeat_interleave(64, 0) + 0.1 * draw(rows, width)
    x = draw(rows, width)
    return x * torch.logspace(-3, 1, width)[torch.randperm(width, generator=generator)] if kind == "columns" else x


class Looks:
    """Counts what is looked at to choose, and which boxes are made."""

    def __init__(self, monkeypatch):
        self.samples = self.columns = 0
        monkeypatch.setattr(boxed, "sampled", self._counted("samples", boxed.sampled))
        monkeypatch.setattr(columns, "look_at", self._counted("columns", columns.look_at))

    def _counted(self, name, function):
        def counted(*args, **kwargs):
            setattr(self, name, getattr(self, name) + 1)
            return function(*args, **kwargs)

        return counted

    def taken(self):
        found = self.samples, self.columns
        self.samples = self.columns = 0
        return found


@pytest.fixture
def looks(monkeypatch):
    return Looks(monkeypatch)


def network(activation=None):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(128, 128), activation or nn.Identity(), nn.Linear(128, 8))


def step(net, compressor, x):
    net.zero_grad()
    with compressor or nullcontext():
        # No op of the network made x, so it is a product here: data has 8 bits at first.
        loss = net((x * 1.0).requires_grad_() * 1.0).square().mean()
    loss.backward()
    return torch.cat([each.grad.flatten() for each in net.parameters()])


@pytest.mark.parametrize("kind", ["boxes", "columns", "neither"])
@pytest.mark.parametrize("activation", [None, nn.GELU(), nn.SiLU(), nn.LayerNorm(128)], ids=str)
def test_a_place_is_looked_at_once_in_a_period_and_coded_as_if_it_were_each_time(kind, activation, looks, monkeypatch):
    net = network(activation)
    compressor = gact.Compressor(net, bits=4, adaptive=False, seed=3)
    fresh = gact.Compressor(net, bits=4, adaptive=False, seed=3)
    monkeypatch.setattr(choices, "_STEPS", 8)
    counts, gradients = [], []
    for number in range(16):
        gradients.append(step(net, compressor, data(kind, seed=number)))
        counts.append(looks.taken()[0])
    assert sum(count > 0 for count in counts) <= 3 * 2  # two places at most, each in a step of its own of each period
    assert sum(counts) < 16 / 3 * max(counts)
    monkeypatch.setattr(choices, "_STEPS", 1)
    for number in range(16):
        assert torch.equal(step(net, fresh, data(kind, seed=number)), gradients[number])
        assert (looks.taken()[0] > 0) is (max(counts) > 0)


def test_columns_that_were_found_are_measured_anew_in_each_step(looks):
    net, found = nn.Linear(512, 8), []
    compressor = gact.Compressor(net, bits=4, adaptive=False)
    for _ in range(3):
        step(net, compressor, data("columns", 200, 512))  # too few rows for boxes
        found.append(looks.taken()[1])
    assert all(found)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_boxes_give_way_at_once_to_a_region_that_they_have_no_room_for(bits):
    net, loud = network(), data("boxes")
    loud[700] = 1e3 * loud[700].sign()
    exact = step(net, None, loud)

    def noise(before):
        compressor = gact.Compressor(net, bits=bits, adaptive=False)
        for _ in range(before):
            step(net, compressor, data("boxes"))
        found = torch.stack([step(net, compressor, loud) for _ in range(8)])
        one = float((found - exact).square().sum(1).mean())
        assert float((found.mean(0) - exact).square().sum()) < one / 3
        return one

    assert noise(2) < 1.3 * noise(0)


@pytest.mark.parametrize(
    "change", [lambda x: x[:960], lambda x: x.to(torch.bfloat16), lambda x: x.view(16, 64, 128).transpose(0, 1)]
)
def test_a_region_of_another_kind_is_looked_at(change, looks):
    net, x = network(), data("boxes")
    compressor = gact.Compressor(net, bits=4, adaptive=False)
    step(net, compressor, x)
    step(net, compressor, x)
    looks.taken()
    x = change(x)
    step(net.to(x.dtype), compressor, x)
    assert looks.taken()[0] > 0


@pytest.mark.parametrize("kind", ["boxes", "columns", "neither"])
def test_a_resumed_run_chooses_as_one_that_went_on(kind):
    net = network(nn.GELU())
    compressor = gact.Compressor(net, bits=4, adaptive=False, seed=3)
    for number in range(5):
        step(net, compressor, data(kind, seed=number))
    resumed = gact.Compressor(net, bits=4, adaptive=False)
    resumed.load_state_dict(json.loads(json.dumps(compressor.state_dict())))
    for number in range(4):
        x = data(("boxes", "columns", "neither")[number % 3], seed=9)  # what fresh looks would tell apart
        assert torch.equal(step(net, compressor, x), step(net, resumed, x))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda each: each.pop(),
        lambda each: each.__setitem__(5, ["wide"]),
        lambda each: each.__setitem__(11, [1, 1]),
        lambda each: each.__setitem__(11, [10**9, 1, 128, 128, 1]),
        lambda each: each.__setitem__(11, [1024, 1, 128, 0, 1]),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(spoil):
    net, x = network(), data("boxes")
    compressor = gact.Compressor(net, bits=4, adaptive=False)
    step(net, compressor, x)
    state = compressor.state_dict()
    assert any(each[11] for each in state["choices"])
    damaged = json.loads(json.dumps(state))
    for each in damaged["choices"]:
        spoil(each)
    with pytest.raises(ValueError, match="choices of forms are damaged"):
        compressor.load_state_dict(damaged)
    assert compressor.state_dict() == state


def test_names_that_never_come_again_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(choices, "_MOST", 4)
    known, x = choices.Choices(), data("neither")
    for number in range(20):
        site = Site(f"block{number}", "linear", 0, "input")
        known.of(site, 0, 1, x, "").make(has_columns=False, grid=None)
    assert [each[0] for each in known.state()] == [f"block{number}" for number in range(16, 20)]
