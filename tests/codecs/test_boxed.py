"""Boxes of neighbouring rows of one channel: when, what they gain, and what they cost."""

from contextlib import nullcontext

import pytest
import torch
from edge_cases import draw
from torch import nn

import gact
from gact.codecs import forms
from gact.codecs.bent import Bent
from gact.codecs.boxed import boxed
from gact.codecs.boxes import Boxes
from gact.codecs.groups import Groups


def images(count=4, channels=32, side=32, seed=0):
    """Feature maps whose neighbours are alike, channels innermost in memory."""
    coarse = draw(count, channels, side // 8, side // 8, seed=seed)
    smooth = nn.functional.interpolate(coarse, side, mode="bicubic")
    return smooth.contiguous(memory_format=torch.channels_last)


def tokens(rows=1024, width=256):
    """Channels that drift from token to token."""
    return draw(rows // 64, width).repeat_interleave(64, 0) + 0.1 * draw(rows, width, seed=1)


def decoded(code, region):
    return code.decode(tuple(region.shape), region.stride())


def noise(code, region):
    return float((decoded(code, region).double() - region.double()).square().mean())


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("make", [images, tokens])
def test_neighbours_that_are_alike_have_half_the_noise_at_the_same_bytes(make, bits):
    region = make()
    code, plain = forms.encode(region, bits, 256, 5), Groups(region, bits, 256, 5)
    assert isinstance(code.transform, Boxes)
    assert noise(code, region) < noise(plain, region) / 2
    assert code.nbytes < 1.05 * plain.nbytes


@pytest.mark.parametrize(
    ("dtype", "bits"), [(torch.float32, 2), (torch.float32, 4), (torch.float32, 8), (torch.bfloat16, 4)]
)
def test_boxes_are_right_on_average(dtype, bits):
    region = images().to(dtype)
    times = 32
    codes = [forms.encode(region, bits, 256, seed) for seed in range(times)]
    off = sum(decoded(code, region).double() for code in codes) / times - region.double()
    one = noise(codes[0], region)
    assert float(off.square().mean()) < 1.25 * one / times
    assert abs(float(off.mean())) < 4 * (one / times / off.numel()) ** 0.5 + 1e-6


def test_parts_are_those_of_the_whole(monkeypatch):
    region = images()
    whole = decoded(forms.encode(region, 4, 256, 5), region)
    monkeypatch.setattr("gact.codecs.chunks._ON_CPU", 2**12)
    assert torch.equal(decoded(forms.encode(region, 4, 256, 5), region), whole)


def zero_rows():
    region = tokens()
    region[::2] = 0
    return region


def sparse():
    return draw(1024, 256) * (draw(1024, 256, seed=1) > 2)


@pytest.mark.parametrize("make", [lambda: draw(1024, 256), lambda: draw(4, 32, 32, 32), zero_rows, sparse])
def test_what_gains_nothing_or_would_drown_has_no_boxes(make):
    region = make()
    assert boxed(region, 256, None) is None


@pytest.mark.parametrize("spoilt", [torch.inf, -torch.inf, torch.nan])
def test_what_is_not_finite_is_never_decoded_to_numbers(spoilt):
    region = tokens()
    region[5, 7] = spoilt
    code = forms.encode(region, 4, 256, 5)
    back = decoded(code, region)
    assert code.is_poisoned()
    assert not back[5, 7].isfinite()


def test_channels_that_are_constant_come_back_exactly():
    region = tokens()
    region[:, 3], region[:, 9] = 7.25, 0.0
    code = forms.encode(region, 4, 256, 5)
    assert isinstance(code.transform, Boxes)
    assert torch.equal(decoded(code, region)[:, [3, 9]], region[:, [3, 9]])


def test_small_double_and_short_regions_are_not_looked_at():
    assert boxed(tokens(128), 256, None) is None
    assert boxed(tokens().double(), 256, None) is None
    assert boxed(draw(2**16), 256, None) is None


def test_arguments_of_gelu_that_lie_far_apart_stay_under_the_hyperbola():
    near, far = tokens(), tokens()
    far[::64, ::8] = 40.0
    assert isinstance(forms.Bending("gelu")(near, 256), Boxes)
    assert isinstance(forms.Bending("gelu")(far, 256), Bent)


def test_ranges_are_followed():
    region = images()
    small, large = (forms.encode(times * region, 4, 256, 5).spread() for times in (1, 8))
    assert float(large / small) == pytest.approx(64, rel=1e-2)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(32, 32, 1), nn.BatchNorm2d(32)
        self.last = nn.Conv2d(32, 4, 1)

    def forward(self, x):
        return self.last(self.norm(self.first(x)).relu()).square().mean()


def gradients(network, steps, **arguments):
    inputs = images()
    compressor = gact.Compressor(network, seed=3, **arguments)
    for _ in range(steps):
        network.zero_grad()
        with compressor:
            loss = network(inputs)
        loss.backward()
    return torch.cat([each.grad.flatten() for each in network.parameters()]), compressor


def test_a_network_holds_them_at_measured_widths_anywhere_and_under_checkpoint(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("gact.codecs.boxed.Boxes", lambda *which: made.append(Boxes(*which)) or made[-1])
    torch.manual_seed(0)
    network = Network().to(memory_format=torch.channels_last)
    exact, _ = gradients(network, 1, bits=8, adaptive=False)
    here, compressor = gradients(network, 3, bits=4)
    moved, _ = gradients(network, 3, bits=4, offload=f"disk:{tmp_path}")
    assert len(made) >= 3 * 2
    assert compressor.report().noise < 1e-3
    again, _ = gradients(network, 1, bits=4, checkpoint=["first"])
    assert torch.equal(here, moved)
    for each in (here, again):
        assert (each - exact).norm() < 0.1 * exact.norm()


def test_a_resumed_run_rounds_as_one_that_went_on():
    torch.manual_seed(0)
    network = Network().to(memory_format=torch.channels_last)
    _, compressor = gradients(network, 3, bits=4)
    resumed = gact.Compressor(network, seed=3, bits=4)
    resumed.load_state_dict(compressor.state_dict())
    found = []
    for each in (compressor, resumed):
        network.zero_grad()
        with each:
            loss = network(images())
        loss.backward()
        found.append(network.first.weight.grad.clone())
    assert torch.equal(*found)


@pytest.mark.parametrize("size", [30.0, 1e3, 1e5])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_loud_row_that_no_sample_shows_drowns_nothing(size, bits):
    """It would widen the bounds of its channels' boxes, and every row of its own box."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator)

    x, target = 2 * drawn(8, 1, 128) + 3 * drawn(128) + 0.3 * drawn(8, 256, 128), drawn(8, 256, 16)
    x[3, 200] = size * drawn(128).sign()
    net = torch.nn.Sequential(torch.nn.LayerNorm(128), torch.nn.Linear(128, 16))

    def gradient(context):
        net.zero_grad()
        with context:
            loss = (net((x * 1.0).requires_grad_() * 1.0) - target).square().mean()
        loss.backward()
        return torch.cat([each.grad.flatten() for each in net.parameters()])

    exact = gradient(nullcontext())
    c = gact.Compressor(net, bits=bits, adaptive=False)
    found = torch.stack([gradient(c) for _ in range(8)])
    one = float((found - exact).square().sum(1).mean() / exact.square().sum())
    assert one < 0.1 * 4.0**-bits
    assert float((found.mean(0) - exact).square().sum() / exact.square().sum()) < one / 3
