"""Chunked attention against plain attention on whole matrices."""

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import gact
from gact import attention


def plain(query, key, value, mask=None, causal=False, scale=None):
    """The definition, with rows that nothing takes part in set to zero."""
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype is torch.bool else scores + mask
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -math.inf)
    nothing = (scores == -math.inf).all(-1, keepdim=True)
    return scores.masked_fill(nothing, 0).softmax(-1).masked_fill(nothing, 0) @ value


def inputs(dtype=torch.float64, lead=(2, 3), length=7, keys=9, width=4, out=5):
    shapes = (*lead, length, width), (*lead, keys, width), (*lead, keys, out)
    return tuple(torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)


def additive(*shape):
    return torch.randn(shape, dtype=torch.float64)


MASKS = {
    "none": lambda: None,
    "bool": lambda: torch.rand(7, 9) > 0.4,
    "bool by key": lambda: torch.rand(2, 1, 1, 9) > 0.3,
    "bool by row": lambda: torch.rand(7, 1) > 0.5,
    "nothing takes part": lambda: torch.zeros(7, 9, dtype=torch.bool),
    "additive": lambda: additive(2, 3, 7, 9),
    "additive by key": lambda: additive(9),
    "additive by head": lambda: additive(3, 1, 1),
    "additive with infinities": lambda: additive(7, 9).masked_fill(torch.rand(7, 9) > 0.5, -math.inf),
}
CHUNKS = [1, 2, 3, 4, 7, 64]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_result_and_gradients_are_those_of_plain_attention(mask, chunk, causal):
    tensors, mask = inputs(), mask()
    grad = torch.randn(2, 3, 7, 5, dtype=torch.float64)
    out = attention(*tensors, mask, is_causal=causal, chunk_size=chunk)
    expected = plain(*tensors, mask, causal)
    torch.testing.assert_close(out, expected)
    got = torch.autograd.grad(out, tensors, grad)
    torch.testing.assert_close(got, torch.autograd.grad(expected, tensors, grad))


@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (7, 9), (9,), (3, 1, 1), (7, 1), ()], ids=str)
@pytest.mark.parametrize("causal", [False, True])
def test_the_gradient_of_an_additive_mask(shape, causal):
    tensors, mask = inputs(), additive(*shape).requires_grad_()
    out = attention(*tensors, mask, is_causal=causal, chunk_size=3)
    (got,) = torch.autograd.grad(out.square().sum(), mask)
    (expected,) = torch.autograd.grad(plain(*tensors, mask, causal).square().sum(), mask)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("chunk", [2, 64])
def test_gradcheck(chunk, causal):
    tensors, mask = inputs(lead=(2,), length=3, keys=4, width=2, out=3), additive(3, 4).requires_grad_()

    def run(*tensors):
        return attention(*tensors, is_causal=causal, scale=0.7, chunk_size=chunk)

    assert gradcheck(run, (*tensors, mask))
    assert gradgradcheck(run, (*tensors, mask))


def test_second_derivatives_with_a_row_without_keys():
    mask = torch.tensor([[True, False], [False, False]])
    tensors = inputs(lead=(), length=2, keys=2, width=2, out=2)
    assert gradgradcheck(lambda *each: attention(*each, mask), tensors)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 8e-3), (torch.float16, 1e-3)], ids=str
)
def test_low_precision_is_summed_in_float32(dtype, tolerance):
    tensors = inputs(dtype, length=33, keys=65, width=16, out=16)
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    out, expected = attention(*tensors, chunk_size=16), plain(*exact)
    assert out.dtype == dtype
    assert (out.double() - expected).abs().max() <= tolerance * expected.abs().max() + tolerance
    got = torch.autograd.grad(out.sum(), tensors)
    for each, true in zip(got, torch.autograd.grad(expected.sum(), exact), strict=True):
        assert each.dtype == dtype
        assert (each.double() - true).abs().max() <= 2 * tolerance * (true.abs().max() + 1)


@pytest.mark.parametrize("causal", [False, True])
def test_it_agrees_with_torch(causal):
    tensors = inputs(torch.float32, keys=7)
    expected = torch.nn.functional.scaled_dot_product_attention(*tensors, is_causal=causal)
    torch.testing.assert_close(attention(*tensors, is_causal=causal, chunk_size=2), expected)


def test_leading_dimensions_are_broadcast():
    query, key, value = inputs(lead=(2, 3))
    key, value = key[:, :1].detach().requires_grad_(), value[0, :1].detach().requires_grad_()
    out, expected = attention(query, key, value, chunk_size=4), plain(query, key, value)
    torch.testing.assert_close(out, expected)
    got = torch.autograd.grad(out.sum(), (query, key, value))
    torch.testing.assert_close(got, torch.autograd.grad(expected.sum(), (query, key, value)))


def test_large_scores_do_not_overflow():
    query, key, value = inputs(torch.float32)
    out = attention(query * 1e4, key * 1e4, value, chunk_size=2)
    torch.testing.assert_close(out, plain(query * 1e4, key * 1e4, value))


def test_empty_sequences():
    query, key, value = inputs(keys=0)
    assert torch.equal(attention(query, key, value), torch.zeros(2, 3, 7, 5, dtype=torch.float64))
    query, key, value = inputs(length=0)
    attention(query, key, value).sum().backward()
    assert torch.equal(key.grad, torch.zeros_like(key))


def test_what_is_held_for_backward_does_not_grow_with_the_square():
    held = []
    tensors = inputs(torch.float32, lead=(1,), length=512, keys=512, width=8, out=8)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: held.append(tensor.numel()) or tensor, lambda x: x):
        attention(*tensors, chunk_size=64)
    assert sorted(held) == [512, 512 * 8, 512 * 8, 512 * 8, 512 * 8]


def test_under_a_compressor_only_values_are_rounded():
    tensors = [torch.randn(1, 2, 64, 64, requires_grad=True) * 1 for _ in range(3)]
    mask = torch.randn(64, 64) * 1
    c = gact.Compressor(min_bytes=0, bits=4)
    with c:
        attention(*tensors, mask, chunk_size=16).sum().backward()
    rows = {(row.op, row.slot): (row.codec, row.bits, row.reason) for row in c.report().rows if row.op == "attention"}
    assert list(rows.values()) == [
        ("groups", 8, ""),
        ("groups", 8, ""),
        ("groups", 4, ""),
        ("keep", 0, "mask"),
        ("groups", 4, ""),
        ("keep", 0, "logsumexp"),
    ]


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
def test_under_a_compressor_large_scores_stay_exact():
    tensors = [torch.randn(1, 2, 64, 64, requires_grad=True) * scale for scale in (10, 10, 1)]
    c = gact.Compressor(min_bytes=0, bits=4)
    with c:
        attention(*tensors, chunk_size=16).sum().backward()
    rows = {(row.op, row.slot): row.reason for row in c.report().rows if row.op == "attention"}
    assert list(rows.values()) == ["scores are large"] * 4 + ["logsumexp"]


WRONG = {
    "dropout": ({"dropout_p": 0.1}, "dropout_p must be 0, got 0.1.*Apply dropout to its result"),
    "chunk size": ({"chunk_size": 0}, "chunk_size must be a whole number of at least 1, got 0"),
    "mask dtype": (
        {"attn_mask": torch.ones(7, 9, dtype=torch.int64)},
        r"attn_mask must be bool .* or float .*, got torch.int64",
    ),
    "mask shape": (
        {"attn_mask": torch.ones(7, 8)},
        r"leading dimensions must be broadcastable.* and attn_mask \[7, 8\]",
    ),
    "large mask": ({"attn_mask": torch.ones(4, 2, 3, 7, 9)}, r"leading dimensions must be broadcastable"),
    "key": ({"key": torch.randn(2, 3, 9, 3, dtype=torch.float64)}, r"shapes must be query \[\.\.\., L, E\].*got query"),
    "lead": ({"key": torch.randn(5, 9, 4, dtype=torch.float64)}, r"leading dimensions must be broadcastable"),
    "dtype": ({"key": torch.randn(2, 3, 9, 4)}, r"must have one float dtype, got torch.float64, torch.float32.*Cast"),
}


@pytest.mark.parametrize(("options", "words"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_said(options, words):
    query, key, value = inputs()
    with pytest.raises(ValueError, match=words):
        attention(**{"query": query, "key": key, "value": value} | options)
