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


def confident(dtype=torch.float32):
    """Logits of a classifier that is sure, with classes that are masked in two ways, and labels that it rules out."""
    logits = draw(64, 512) * 30
    logits[:, 100:200], logits[:, 300:310] = -1e9, -torch.inf
    return logits.to(dtype).requires_grad_(), torch.arange(64) % 3


def is_denormal(tensor):
    return (tensor != 0) & (tensor.abs() < torch.finfo(tensor.dtype).tiny)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("bits", "bound"), [(2, 1e-3), (4, 1e-4), (8, 1e-6)])
def test_a_probability_of_zero_is_exactly_zero_to_backward(bits, bound, dtype):
    """Denormal shares of a gradient make the matrix products behind it fifty times as slow on a CPU."""
    logits, labels = confident(dtype)
    rows = torch.arange(64)
    (exact,) = torch.autograd.grad(-logits.log_softmax(-1)[rows, labels].mean(), logits)
    found = []
    for seed in range(16):
        with gact.Compressor(bits=bits, min_bytes=0, adaptive=False, seed=seed):
            loss = -logits.log_softmax(-1)[rows, labels].mean()
        found.append(torch.autograd.grad(loss, logits)[0])
    assert not any(is_denormal(each).any() for each in found)
    assert all((each[:, 100:200] == 0).all() and (each[:, 300:310] == 0).all() for each in found)
    assert sum(noise(each, exact) for each in found) / len(found) < bound
    assert noise(torch.stack(found).mean(0), exact) < 2 * bound / len(found)
