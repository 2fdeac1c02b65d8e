"""Codes of transformed regions: the contract that all of them keep."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from edge_cases import CASES, code_of, decoded, draw, images, node_of, norm_case, quiet_rows, read

from gact.autograd.internals import FakeTensorMode
from gact.codecs import chunks, forms
from gact.codecs.bent import Bent
from gact.codecs.boxes import GROUP, Boxes
from gact.codecs.groups import Groups
from gact.codecs.transformed import Transformed
from gact.packing.offload import OffloadedCode
from gact.precision.variance import variance_by_width
from gact.store import open_store

ROUNDED = 1e-6
"""What float32 arithmetic loses, and float16 of the greatest of few probabilities, against 1."""
FLOATS = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@pytest.fixture
def case(name):
    return CASES[name]()


def _group(code, group_size):
    """Elements of a group: boxes have long ones of their own."""
    return GROUP if isinstance(code.transform, Boxes) else group_size


def test_comes_back_as_it_was(name, case):
    region, code = case[0], code_of(case)
    assert isinstance(code, Transformed)
    assert (code.name, code.bits, code.group_size, code.dtype) == ("groups", 8, _group(code, 256), region.dtype)
    back = decoded(code, region)
    assert (back.shape, back.stride(), back.dtype) == (region.shape, region.stride(), region.dtype)
    assert torch.equal(back, decoded(code, region))
    assert back.data_ptr() != decoded(code, region).data_ptr()
    assert not code.is_poisoned()
    if name not in ("sine", "cosine"):
        assert ((read(name, back) - read(name, region)).abs() <= 0.03 * read(name, region).abs().max()).all()


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype(name, case, dtype):
    region = case[0].to(dtype)
    if region.isinf().any():
        pytest.skip("too large for the dtype")
    code = code_of((region, case[1]))
    back = decoded(code, region)
    assert (back.dtype, back.stride()) == (dtype, region.stride())
    exact = read(name, region)
    # A step, and what the dtype rounds; what an angle loses in bfloat16 its cosine loses too.
    bound = 0.03 * exact.abs().max() + 4 * torch.finfo(dtype).eps * (1 + exact.abs())
    assert ((read(name, back) - exact).abs() <= bound).all()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_is_unbiased(name, case, bits):
    region, seeds = case[0], 100
    exact = read(name, region).flatten()
    drawn = torch.stack(
        [read(name, decoded(code_of(case, bits, seed=seed), region)).flatten() for seed in range(seeds)]
    )
    # Relative to the row or channel, all of which then count alike.
    size = exact.abs().max() if drawn[0].max() <= 1 else exact.abs().clamp(min=1e-30)
    error, deviation = (drawn.mean(0) - exact) / size, drawn.std(0) / size
    # An error that is the same with every seed shows in the sum of all elements, and of all with signs drawn at random.
    signs = torch.cat((torch.ones(1, len(exact)), draw(20, len(exact)).sign())).double()
    sums, limit = signs @ error, 5 * (deviation.square().sum() / seeds).sqrt()
    assert (sums.abs() <= limit + ROUNDED * len(exact) ** 0.5).all()
    assert sums[0].abs() <= limit + ROUNDED * len(exact)


@pytest.mark.parametrize("length", [1024, 2048, 8192])
def test_parts_do_not_show(monkeypatch, case, length):
    region, whole = case[0], code_of(case, 4)
    expected = decoded(whole, region)
    rounded = whole.decode_rounded(tuple(region.shape), region.stride(), 3, 11)
    monkeypatch.setattr(chunks, "_ON_CPU", length)
    code = code_of(case, 4)
    assert torch.equal(code.codes, whole.codes)
    assert torch.equal(code.metadata, whole.metadata)
    assert torch.equal(decoded(code, region), expected)
    assert torch.equal(code.decode_rounded(tuple(region.shape), region.stride(), 3, 11), rounded)


@pytest.mark.parametrize("group_size", [32, 1024])
def test_every_group_size(name, case, group_size):
    region, code = case[0], code_of(case, group_size=group_size)
    if isinstance(code, Transformed):
        assert code.group_size == _group(code, group_size)
    exact = read(name, region)
    assert ((read(name, decoded(code, region)) - exact).abs() <= 0.03 * exact.abs().max()).all()


def test_one_pass_and_part_by_part_are_the_same(case):
    region, code = case[0], code_of(case, 4)
    expected = decoded(code, region)
    back = torch.empty_like(expected)
    code._decode_into(back)
    assert torch.equal(back, expected)


def test_codes_can_be_moved_to_a_store(case):
    region, code = case[0], code_of(case, 4)
    expected, held = decoded(code, region), code.nbytes
    moved = OffloadedCode(code, open_store("cpu"))
    own = sum(getattr(code_of(case, 4), part).nbytes for part in code.parts)
    assert (moved.name, moved.one_pass, moved.line) == ("groups", code.one_pass, code.line)
    assert moved.nbytes + moved.offloaded_bytes == held
    assert moved.offloaded_bytes in (0, own)
    assert torch.equal(moved.decode(tuple(region.shape), region.stride()), expected)
    assert torch.equal(moved.decode(tuple(region.shape), region.stride()), expected)


def test_a_part_given_to_a_copy_is_not_the_codes_own():
    code = code_of(CASES["rows"]())
    exponents = code.exponents
    other = copy.copy(code)
    other.exponents = None
    assert code.exponents is exponents
    code.exponents = None
    other.exponents = exponents
    assert code.exponents is None


def test_bytes_are_those_of_all_it_holds(case):
    code = code_of(case, 4)
    assert code.nbytes >= sum(getattr(code, part).nbytes for part in code.parts)
    assert code.nbytes < case[0].nbytes


def test_values_that_are_measured_are_those_that_are_quantized(case):
    code = code_of(case, 4)
    variance = variance_by_width(code, case[0], 5)
    assert variance.shape == (8,)
    assert (variance[:-1] > variance[1:]).all()
    if case[0].numel() > 2**15:
        pytest.skip("only some of its groups are measured")
    # Of all groups, here: what codes are off by before the transform is undone.
    values = code.sample(case[0])
    rounded = torch.empty_like(values)
    torch.ops.gact.dequantize_into(rounded, code.codes, code.metadata, 4, 256, code.seed)
    error = (rounded.double() - values.double()).square().mean()
    assert 0.7 < variance[3] / error < 1.4


def test_samples_of_large_regions_are_spread(monkeypatch):
    region = quiet_rows(400, 192)
    code = forms.encode(region, 4, 256, 0)
    sample = code.sample(region)
    whole = torch.empty(region.numel())
    code.transform.forward(region.flatten())(0, whole)
    chosen = whole[: region.numel() // 512 * 512].view(-1, 512)
    step = len(chosen) // 64
    assert torch.equal(sample.view(64, 512), chosen[::step][:64])


@pytest.mark.parametrize("bits", [2, 4])
def test_a_second_rounding_is_unbiased_and_takes_the_width_asked_for(name, case, bits):
    region, code = case[0], code_of(case, 8)
    size, stride = tuple(region.shape), region.stride()
    fine = read(name, code.decode(size, stride))
    drawn = torch.stack([read(name, code.decode_rounded(size, stride, bits, seed)) for seed in range(100)])
    error = drawn.mean(0) - fine
    assert error.square().sum() <= 0.05 * (drawn - fine).square().mean(0).sum()
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_poisons(name, case, value):
    region, form = case
    region = region.clone(memory_format=torch.preserve_format)
    region[1, 1] = value
    code = code_of((region, form))
    if value == -torch.inf and name.startswith(("log-softmax", "two")):
        assert not code.is_poisoned()
        assert decoded(code, region)[1, 1].exp().max() < 0.1
    elif value == torch.inf and name.startswith(("log-softmax", "two")):
        assert not decoded(code, region).isfinite().all()
    else:
        assert code.is_poisoned()


def test_ordinary_regions_are_coded_as_ever():
    for region in (draw(300, 192), draw(300, 192).abs(), draw(64, 512) * torch.logspace(-9, 9, 64)[:, None]):
        code, plain = forms.encode(region, 4, 256, 9), Groups(region, 4, 256, 9)
        assert type(code) is Groups
        assert torch.equal(code.codes, plain.codes)
        assert torch.equal(code.metadata, plain.metadata)
        assert code.nbytes == plain.nbytes


def test_statistics_do_not_keep_the_graph_alive():
    leaf = images().requires_grad_()
    x = leaf * 1
    output = torch.nn.functional.group_norm(x, 3)
    code = code_of((x.detach(), forms.normalised_by(node_of(output, "NativeGroupNormBackward0"))))
    grown = weakref.ref(leaf)
    del output, leaf, x
    gc.collect()
    assert grown() is None
    assert not decoded(code, images()).requires_grad


def test_running_statistics_may_change_afterwards():
    norm = torch.nn.BatchNorm2d(12).eval()
    case = norm_case(images(), norm, "NativeBatchNormBackward0")
    code = code_of(case)
    expected = decoded(code, case[0])
    norm.train()(images() * 5 + 3)
    assert torch.equal(decoded(code, case[0]), expected)


def test_without_data_a_part_is_worked_on_and_sizes_are_those_of_all():
    numel = chunks.at_once(torch.empty(0)) * 3 + 100
    code = Transformed(torch.zeros(numel), 4, 256, 0, Bent("gelu"))
    with FakeTensorMode():
        fake = Transformed(torch.zeros(numel), 4, 256, 0, Bent("gelu"))
    assert (fake.codes.shape, fake.metadata.shape) == (code.codes.shape, code.metadata.shape)
    assert (fake.codes.dtype, fake.metadata.dtype) == (code.codes.dtype, code.metadata.dtype)
