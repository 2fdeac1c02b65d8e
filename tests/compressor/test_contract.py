"""What unpack may differ from what was saved: not at all, or by a scale with the right expectation."""

import pytest
import torch

import gact
from references.groups import rounding, scales
from saved import activation, roundtrip, save

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
INPLACE = {
    "add": lambda x: x.add_(1),
    "a slice": lambda x: x[:3].zero_(),
    "through a view": lambda x: x.view(-1).mul_(2),
    "through detach": lambda x: x.detach().mul_(2),
    "copy": lambda x: x.copy_(torch.ones_like(x)),
    "out": lambda x: torch.neg(x.detach().clone(), out=x.detach()),
}


@pytest.mark.parametrize("group_size", [32, 256])
@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_no_element_is_off_by_more_than_its_scale(dtype, bits, group_size):
    x = torch.cat([torch.randn(700), torch.randn(700) * 100 + 7, torch.rand(333) * 1e-3]).to(dtype)
    got = roundtrip(gact.Compressor(bits=bits, group_size=group_size, min_bytes=0), activation(x))
    assert ((got.double() - x.double()).abs() <= scales(x, bits, group_size) + rounding(x)).all()


@pytest.mark.parametrize("bits", range(1, 9))
def test_float64_is_held_to_its_own_precision(bits):
    x = torch.randn(1000, dtype=torch.float64)
    got = roundtrip(gact.Compressor(bits=bits, group_size=32, min_bytes=0), activation(x))
    error = (got - x).abs()
    assert (error <= scales(x, bits, 32)).all()
    assert (error.view(-1, 8).amax(1) > 0).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_bound_is_not_met_by_a_narrower_code(bits):
    x = torch.randn(4096)
    got = roundtrip(gact.Compressor(bits=bits, min_bytes=0), activation(x))
    assert ((got - x).abs() > scales(x, bits, 256) / 2).any()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_expectation_over_seeds_is_the_tensor(bits):
    x, seeds = torch.randn(2048), 400
    total = torch.zeros(2048, dtype=torch.float64)
    for seed in range(seeds):
        total += roundtrip(gact.Compressor(bits=bits, min_bytes=0, seed=seed), activation(x)).double()
    # A stochastic rounding has a standard deviation of half a scale at most; 5 of them for 2048 elements at once.
    deviation = (total / seeds - x.double()) / (scales(x, bits, 256) / 2 / seeds**0.5)
    assert deviation.abs().max() < 5
    assert deviation.mean().abs() < 5 / 2048**0.5


@pytest.mark.parametrize("bits", [1, 4])
def test_the_expectation_over_steps_is_the_tensor(bits):
    x, steps, c = torch.randn(2048), 400, gact.Compressor(bits=bits, min_bytes=0)
    total = torch.zeros(2048, dtype=torch.float64)
    for _ in range(steps):
        total += roundtrip(c, activation(x)).double()
    deviation = (total / steps - x.double()) / (scales(x, bits, 256) / 2 / steps**0.5)
    assert deviation.abs().max() < 5


@pytest.mark.parametrize("value", [0.0, 1.0, -3.14159, 1e-30, 6e4])
@pytest.mark.parametrize("dtype", [*FLOATS, torch.float64], ids=str)
def test_constant_tensors_come_back_exactly(dtype, value):
    x = torch.full((1000,), value, dtype=dtype)
    c = gact.Compressor(bits=1, min_bytes=0)
    assert torch.equal(roundtrip(c, activation(x)), x)
    assert c.report().rows[0].bits == 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_values_on_the_grid_come_back_exactly(bits):
    x = torch.randint(0, 2**bits, (64, 32)).float()
    x[:, 0], x[:, 1] = 0, 2**bits - 1
    assert torch.equal(roundtrip(gact.Compressor(bits=bits, group_size=32, min_bytes=0), activation(x)), x)


KEPT = {
    "small": torch.randn(10, 10),
    "small integer": torch.arange(100).view(10, 10),
    "small mask": torch.rand(10, 10) > 0.5,
    "complex": torch.randn(200, 100, dtype=torch.complex64),
}


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("x", KEPT.values(), ids=KEPT)
def test_what_is_kept_is_the_same_memory(x):
    got = roundtrip(gact.Compressor(), x)
    assert got.data_ptr() == x.data_ptr()
    assert torch.equal(got, x)


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("change", INPLACE.values(), ids=INPLACE)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gact"])
def test_a_kept_tensor_that_was_changed_in_place_raises_as_in_plain_autograd(change, compressed):
    weight = torch.randn(10, 10, requires_grad=True)
    x = torch.randn(10, 10)
    with gact.Compressor() if compressed else torch.enable_grad():
        output = x * weight
    change(x)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation.* is at version \d+; expected version"):
        output.sum().backward()


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gact"])
def test_a_kept_output_that_was_changed_in_place_raises_as_in_plain_autograd(compressed):
    x = torch.randn(10, 10, requires_grad=True)
    with gact.Compressor() if compressed else torch.enable_grad():
        output = x.sigmoid()
        output.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gact"])
def test_a_weight_that_the_optimizer_changed_raises_as_in_plain_autograd(compressed):
    layers = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    with gact.Compressor(layers) if compressed else torch.enable_grad():
        loss = layers(torch.randn(4, 8)).sum()
    loss.backward(retain_graph=True)
    torch.optim.SGD(layers.parameters(), 0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("part", [slice(0, 4), slice(4, 8)], ids=["the saved part", "another part"])
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gact"])
def test_a_small_part_of_a_large_storage_that_was_changed_in_place(compressed, part):
    # Versions belong to storages: plain autograd raises for a change of either part.
    data, weight = torch.randn(50_000), torch.randn(4, requires_grad=True)
    with gact.Compressor() if compressed else torch.enable_grad():
        output = data[:4] * weight
    data[part].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_a_compressed_tensor_that_was_changed_in_place_gives_the_gradient_of_its_value_in_forward():
    weight, x = torch.randn(64, 64, requires_grad=True), torch.randn(64, 64)
    before = x.clone()
    with gact.Compressor(bits=8, min_bytes=0):
        output = x * weight
    x.zero_()
    output.sum().backward()
    assert ((weight.grad - before).abs() <= scales(before, 8, 256) + rounding(before)).all()


def test_forward_is_untouched():
    network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 8))
    x = torch.randn(32, 64)
    with gact.Compressor(network, bits=1, min_bytes=0):
        output = network(x)
    assert torch.equal(output, network(x))


def test_saving_nothing_new_outside_of_the_context():
    x = torch.randn(64, 64)
    with gact.Compressor(min_bytes=0):
        save(x)
    outside = save(x)
    assert outside.grad_fn.saved_tensors[0].data_ptr() == x.data_ptr()
