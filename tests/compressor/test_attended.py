"""The output of fused attention, made again from decoded queries, keys and values."""

import pytest
import torch
import torch.nn.functional as F

import gact

SIZE = (2, 4, 64, 32)


def leaves(scale=1.0, offset=0.0):
    torch.manual_seed(0)
    query, key, value = (torch.randn(SIZE) for _ in range(3))
    return [(scale * query).requires_grad_(), (scale * key + offset).requires_grad_(), value.requires_grad_()]


def attend(tensors, mask=None, causal=False):
    """Attention of what an op has made, since data that no op made is coded otherwise."""
    return F.scaled_dot_product_attention(*(tensor * 1 for tensor in tensors), attn_mask=mask, is_causal=causal)


def rows_of(compressor):
    return [row for row in compressor.report().rows if row.op == "scaled_dot_product_attention"]


MASKS = {
    "none": (None, False),
    "causal": (None, True),
    "float": (torch.zeros(64, 64).masked_fill(torch.ones(64, 64).triu(1) > 0, -1e9), False),
    "bool": (torch.ones(64, 64).tril() > 0, False),
}


@pytest.mark.parametrize(("mask", "causal"), MASKS.values(), ids=MASKS)
def test_the_output_is_that_of_what_is_decoded(mask, causal):
    compressor = gact.Compressor(min_bytes=0, bits=4)
    tensors = leaves()
    with compressor:
        result = attend(tensors, mask, causal)
    node = result.grad_fn
    decoded = [getattr(node, f"_saved_{name}") for name in ("query", "key", "value")]
    torch.testing.assert_close(node._saved_output, attend(decoded, mask, causal).detach(), rtol=0, atol=1e-6)
    assert not torch.equal(decoded[0], tensors[0])
    assert node._saved_output.stride() == result.stride()


def test_the_output_takes_no_bytes():
    compressor = gact.Compressor(min_bytes=0, bits=4)
    weight = torch.randn(32, 32, requires_grad=True)
    with compressor:
        (attend(leaves()) @ weight).sum().backward()
    rows = rows_of(compressor)
    assert [row.kept_bytes for row in rows if row.codec == "derived"] == [0]
    after = [row.codec for row in compressor.report().rows if row.op != "scaled_dot_product_attention"]
    assert "derived" in after  # what reads the output shares it


def test_what_all_keys_have_in_common_gets_no_gradient():
    """Probabilities add up to one, so the gradients of keys cancel, however far all keys lie from zero."""
    tensors = leaves(offset=3.0)
    compressor = gact.Compressor(min_bytes=0, bits=4)
    with compressor:
        result = attend(tensors)
    result.backward(torch.randn(SIZE))
    gradient = tensors[1].grad
    assert float(gradient.sum(-2).norm() / gradient.norm()) < 1e-4


def test_small_scores_may_have_fewer_bits():
    tensors = leaves(scale=0.3)
    compressor = gact.Compressor(min_bytes=0, bits=4)
    for _ in range(3):
        with compressor:
            loss = attend(tensors).square().sum()
        compressor.backward(loss)
    bits = [row.bits for row in rows_of(compressor) if row.codec == "groups"]
    assert min(bits[:2]) >= 6
    assert any(row.noise_share is not None for row in rows_of(compressor)[:2])


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
def test_large_scores_stay_exact():
    compressor = gact.Compressor(min_bytes=0, bits=4)
    with compressor:
        attend(leaves(scale=10.0)).sum().backward()
    assert [row.reason for row in rows_of(compressor)] == ["scores are large"] * 3 + ["logsumexp", "scores are large"]


def test_two_backward_passes_give_the_same_gradients():
    tensors = leaves()
    compressor = gact.Compressor(min_bytes=0, bits=4)
    with compressor:
        loss = attend(tensors).square().sum()
    first = torch.autograd.grad(loss, tensors, retain_graph=True)
    second = torch.autograd.grad(loss, tensors)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
