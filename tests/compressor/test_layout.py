"""Whatever its shape, strides, dtype or offset: a tensor comes back with the same size, stride, dtype and device."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gact
from references.groups import rounding, widest_scale
from saved import activation, roundtrip

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
OTHERS = (torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64)


def permuted(draw, x):
    return x.permute(draw(st.permutations(range(x.dim()))))


def sliced(draw, x):
    for dim in range(x.dim()):
        start = draw(st.integers(0, x.size(dim)))
        length = draw(st.integers(0, x.size(dim) - start))
        x = x.narrow(dim, start, length)
    return x


def strided(draw, x):
    return x[tuple(slice(None, None, draw(st.integers(1, 3))) for _ in range(x.dim()))]


def expanded(draw, x):
    sizes = [draw(st.integers(1, 4)) if size == 1 else size for size in x.shape]
    return x.expand(draw(st.integers(1, 3)), *sizes)


def unfolded(draw, x):
    if not x.dim() or not x.size(-1):
        return x
    return x.unfold(-1, draw(st.integers(1, x.size(-1))), draw(st.integers(1, 3)))


def unsqueezed(draw, x):
    return x.unsqueeze(draw(st.integers(0, x.dim())))


def selected(draw, x):
    return x.select(0, draw(st.integers(0, x.size(0) - 1))) if x.dim() and x.size(0) else x


VIEWS = (permuted, sliced, strided, expanded, unfolded, unsqueezed, selected)


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 9), max_size=4))
    dtype = draw(st.sampled_from(FLOATS * 2 + OTHERS))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    x = (x * draw(st.sampled_from((1.0, 1e-3, 100.0))) + draw(st.sampled_from((0.0, 5.0)))).to(dtype)
    for view in draw(st.lists(st.sampled_from(VIEWS), max_size=3)):
        x = view(draw, x)
    return x


def check(got, x, bits):
    assert got.size() == x.size()
    assert got.stride() == x.stride()
    assert got.dtype == x.dtype
    assert got.device == x.device
    if x.dtype in FLOATS:
        error = (got.double() - x.double()).abs()
        assert (error <= widest_scale(x.double(), bits) + rounding(x)).all()
    else:
        assert torch.equal(got, x)


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@given(x=tensors(), bits=st.integers(1, 8), group_size=st.sampled_from((32, 256)), least=st.sampled_from((0, 0, 300)))
def test_any_tensor_comes_back_in_its_own_layout(x, bits, group_size, least):
    given = activation(x) if x.is_floating_point() else x
    check(roundtrip(gact.Compressor(bits=bits, group_size=group_size, min_bytes=least), given), x, bits)


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@given(x=tensors(), y=tensors(), bits=st.integers(1, 8))
def test_any_two_views_of_one_tensor_do_not_disturb_each_other(x, y, bits):
    base = x._base if x._base is not None else x
    for got, view in zip(roundtrip(gact.Compressor(bits=bits, min_bytes=0), x, y, base), (x, y, base), strict=True):
        check(got, view, bits)


LAYOUTS = {
    "one dimension": torch.randn(1000),
    "five dimensions": torch.randn(2, 3, 4, 5, 6),
    "channels last": torch.randn(2, 8, 5, 7).to(memory_format=torch.channels_last),
    "channels last, three dimensional": torch.randn(2, 8, 3, 5, 7).to(memory_format=torch.channels_last_3d),
    "odd strides of single dimensions": torch.randn(600).as_strided((1, 600, 1), (7, 1, 3)),
    "offset": torch.randn(1001)[1:],
    "expanded in the middle": torch.randn(40, 1, 30).expand(40, 5, 30),
    "expanded and transposed": torch.randn(40, 1, 30).expand(40, 5, 30).transpose(0, 2),
    "expanded with gaps": torch.randn(40, 60)[:, None, ::2].expand(40, 5, 30),
    "all from one element": torch.randn(()).expand(30, 40),
    "overlapping windows": torch.randn(2000).unfold(0, 50, 10),
    "gaps in two dimensions": torch.randn(60, 80)[::3, ::2],
    "diagonal": torch.randn(900, 900).diagonal(),
    "bfloat16": torch.randn(40, 50).bfloat16(),
    "float16": torch.randn(40, 50).half(),
    "float64": torch.randn(40, 50).double(),
}


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("x", LAYOUTS.values(), ids=LAYOUTS)
def test_known_layouts(x, bits):
    check(roundtrip(gact.Compressor(bits=bits, min_bytes=0), activation(x)), x, bits)


DENSE = {name: x for name, x in LAYOUTS.items() if "windows" not in name and "one element" not in name}


@pytest.mark.parametrize("x", DENSE.values(), ids=DENSE)
def test_known_layouts_are_not_missed(x):
    c = gact.Compressor(bits=4, min_bytes=0)
    roundtrip(c, activation(x))
    (row,) = c.report().rows
    assert row.bits == 4
    distinct = x.as_strided(
        [1 if step == 0 else size for size, step in zip(x.shape, x.stride(), strict=True)], x.stride()
    )
    assert row.kept_bytes < distinct.nbytes / (x.element_size() * 1.5)


PARTS = {
    "mask": torch.rand(50, 4096) > 0.5,
    "indices": torch.arange(50 * 4096).view(50, 4096),
    "floats": torch.randn(50, 4096),
}


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("least", [0, 65536])
@pytest.mark.parametrize("x", PARTS.values(), ids=PARTS)
def test_expanded_parts_of_a_large_storage(x, least):
    part = x[:1, :40].expand(3, 40)
    check(roundtrip(gact.Compressor(bits=8, min_bytes=least), part), part, 8)


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
def test_position_ids_from_a_table_outside_of_the_model():
    table, embedding = torch.arange(100_000).view(1, -1), torch.nn.Embedding(100_000, 4)
    with gact.Compressor(embedding):
        output = embedding(table[:, :16].expand(3, 16))
    output.sum().backward()
    assert torch.equal(embedding.weight.grad[:17].sum(1), torch.tensor([12.0] * 16 + [0.0]))
