"""Rows of a softmax that add to one when they are decoded."""

import pytest
import torch
from edge_cases import draw

import gact
from gact.codecs.sums import add_to_one_, rows_along


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_rows_are_found_in_memory(dim, order):
    region = draw(6, 7, 8).permute(order)
    found = region.clone()
    flat = found.as_strided((found.numel(),), (1,))
    add_to_one_(flat, rows_along(found, dim))
    torch.testing.assert_close(found.sum(dim), torch.ones_like(found.sum(dim)))
    torch.testing.assert_close(found - region, (found - region).mean(dim, keepdim=True).expand_as(found))


def test_one_class_is_certain():
    assert add_to_one_(draw(5), rows_along(draw(5, 1), 1)).tolist() == pytest.approx([1.0] * 5)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("sharpness", [1.0, 8.0])
@pytest.mark.parametrize("masked", [False, True])
def test_what_all_gradients_have_in_common_cancels(bits, sharpness, masked):
    scores = (draw(64, 96) * sharpness).requires_grad_()
    hidden = draw(64, 96, seed=1) < 0
    values = draw(96, 16, seed=2)
    found = []
    for offset in (0.0, 2.0**14):
        c = gact.Compressor(bits=bits, min_bytes=0, adaptive=False)
        with c:
            p = (scores.masked_fill(hidden, -torch.inf) if masked else scores).softmax(-1)
        (gradient,) = torch.autograd.grad(p, scores, torch.ones(64, 16) @ (values + offset).mT)
        assert [row.bits for row in c.report().rows if row.op == "softmax"] == [bits]
        found.append(gradient)
    (exact,) = torch.autograd.grad(scores.softmax(-1), scores, torch.ones(64, 16) @ values.mT)
    assert float((found[1] - found[0]).square().sum() / exact.square().sum()) < 1e-3


def test_rows_that_are_masked_whole_stay_zero():
    scores, hidden = draw(64, 96).requires_grad_(), torch.zeros(64, 96, dtype=torch.bool)
    hidden[7] = True
    with gact.Compressor(bits=4, min_bytes=0, adaptive=False):
        p = torch.ops.aten._safe_softmax(scores.masked_fill(hidden, -torch.inf), -1)
    (gradient,) = torch.autograd.grad(p, scores, draw(64, 96, seed=1))
    assert (gradient[7] == 0).all()
