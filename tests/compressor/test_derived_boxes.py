"""What is made again of codes in boxes, tile by tile, is right on average where the function bends."""

import pytest
import torch
import torch.nn.functional as F

import gact
from gact.codecs.boxes import Boxes
from gact.ops import cpu
from gact.remat import curvature
from gact.remat.derived import Derived
from saved import activation, held, save

ROWS, CHANNELS, SEEDS = 500, 200, 48
FUNCTIONS = {"silu": F.silu, "tanh": torch.tanh, "softplus": F.softplus}


def values(dtype):
    """Channels that drift from row to row, so that boxes of some rows have small ranges."""
    generator = torch.Generator().manual_seed(0)
    phases = 7 * torch.rand(CHANNELS, generator=generator)
    drift = 3 * torch.sin(torch.arange(ROWS)[:, None] / 100 + phases)
    return activation((drift + 0.3 * torch.randn(ROWS, CHANNELS, generator=generator)).to(dtype))


def made_again(function, x, bits, seed):
    with gact.Compressor(bits=bits, min_bytes=0, adaptive=False, seed=seed):
        source = save(x)
        result = save(FUNCTIONS[function](x))
    packed = result.grad_fn._raw_saved_tensors[0].data.result
    code = packed.held.sources[0].held.code
    assert isinstance(packed.held, Derived)
    assert isinstance(code.transform, Boxes)
    return held(result)[0].detach(), packed.held, source


@pytest.mark.parametrize("kernels", ["cpp", "plain"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("function", "bits"), [("tanh", 2), ("tanh", 4), ("softplus", 3), ("silu", 4)])
def test_the_mean_over_seeds_is_exact_and_noise_that_of_the_whole_chain(function, bits, dtype, kernels, monkeypatch):
    if kernels == "plain":
        if dtype != torch.float32:
            pytest.skip("one dtype shows what plain torch gives")
        monkeypatch.setattr(cpu._Extension, "library", None)
    x = values(dtype)
    exact = FUNCTIONS[function](x).detach().double()
    ours, wholes = [], []
    for seed in range(SEEDS if kernels == "cpp" else 12):
        value, derived, _alive = made_again(function, x, bits, seed)
        ours.append(value.double())
        with torch.no_grad():
            wholes.append(curvature._as_a_whole(derived).double())
    ours, wholes = torch.stack(ours), torch.stack(wholes)
    noise, rounding = ours.var(0).mean(), (exact.square().mean() * 2.0**-16 if dtype == torch.bfloat16 else 0.0)
    assert noise <= 1.1 * wholes.var(0).mean() + rounding
    bias = (ours.mean(0) - exact).square().mean()
    left = (wholes.mean(0) - exact).square().mean()
    assert bias <= 1.1 * left + 0.05 * noise + rounding
    assert (ours - exact).mean().abs() <= 0.05 * noise.sqrt()


def test_boxes_that_are_held_exactly_stay_exact():
    x = values(torch.float32)
    _, derived, _alive = made_again("silu", x, 4, 0)
    code = derived.sources[0].held.code
    code.set_aside(x, torch.tensor([5, 77]))
    with torch.no_grad():
        wrong = derived.rebuilt().flatten() != F.silu(x).flatten()
    places = code.elements_of(torch.tensor([5, 77]), x.numel()).flatten()
    assert not wrong[places].any()
    assert wrong.sum() > x.numel() / 2
