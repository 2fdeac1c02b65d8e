"""Probabilities whose greatest are held aside: when, and what a gradient gains by it."""

import pytest
import torch
from edge_cases import draw, noise

import gact
from gact.codecs.probabilities import are_sharp


def softmax(scale, rows=64, classes=96):
    return (draw(rows, classes) * scale).softmax(-1)


def test_rows_that_are_nearly_equal_are_not_sharp():
    assert not are_sharp(softmax(0.1), 1)
    assert are_sharp(softmax(4.0), 1)
    assert are_sharp(softmax(4.0).t(), 0)
    assert not are_sharp(softmax(4.0)[:0], 1)


def test_nobody_waits_for_a_device():
    assert not are_sharp(torch.empty(64, 96, device="meta"), 1)


@pytest.mark.parametrize(("bits", "bound"), [(2, 0.2), (4, 2e-2), (8, 2e-4)])
def test_attention_that_looks_at_one_place(bits, bound):
    scores, grad = (draw(64, 96) * 4).requires_grad_(), draw(64, 96, seed=1)
    (exact,) = torch.autograd.grad(scores.softmax(-1), scores, grad)
    found = []
    for seed in range(24):
        c = gact.Compressor(bits=bits, min_bytes=0, adaptive=False, seed=seed)
        with c:
            output = scores.softmax(-1)
        found.append(torch.autograd.grad(output, scores, grad)[0])
    assert [row.bits for row in c.report().rows] == [bits]
    assert sum(noise(each, exact) for each in found) / len(found) < bound
    assert noise(torch.stack(found).mean(0), exact) < 2 * bound / len(found)
