"""Backward of real ops on decoded tensors, where groups of elements as they are would lose what matters."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from edge_cases import (
    channels_last,
    decoded,
    draw,
    gradient,
    images,
    log_probabilities,
    node_of,
    noise,
    norm_case,
    quiet_rows,
)
from torch import nn

from gact.codecs import forms
from gact.codecs.groups import Groups
from gact.codecs.transformed import Transformed

BOUND = {8: 1e-3, 4: 0.1, 2: 1.5}
"""Noise against the gradient that a normalisation of ordinary rows has, and somewhat more."""
WIDTHS = [2, 4, 8]


def rms_norm(x):
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


def many_rows():
    return quiet_rows(32, 8, 192)


def permuted(x):
    return F.layer_norm(x, (12,))


NORMS = {
    "layer norm": (lambda x: F.layer_norm(x, x.shape[-1:]), many_rows, "NativeLayerNormBackward0"),
    "layer norm over columns": (permuted, lambda: images().permute(0, 2, 3, 1), "NativeLayerNormBackward0"),
    "batch norm": (nn.BatchNorm2d(12), images, "NativeBatchNormBackward0"),
    "batch norm, channels last": (nn.BatchNorm2d(12), lambda: channels_last(images()), "NativeBatchNormBackward0"),
    "batch norm, volumes": (
        nn.BatchNorm3d(12),
        lambda: images().view(5, 12, 7, 3, 3).contiguous(memory_format=torch.channels_last_3d),
        "NativeBatchNormBackward0",
    ),
    "instance norm": (lambda x: F.batch_norm(x, None, None, training=True), images, "NativeBatchNormBackward0"),
    "group norm": (nn.GroupNorm(12, 12), images, "NativeGroupNormBackward0"),
    "group norm, channels last": (nn.GroupNorm(12, 12), lambda: channels_last(images()), "NativeGroupNormBackward0"),
}


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NORMS)
def test_norms_of_quiet_rows_and_channels(name, dtype, bits):
    run, make, node = NORMS[name]
    run = run.to(dtype) if isinstance(run, nn.Module) else run
    x, form = norm_case(make().to(dtype), run, node)
    code = forms.encode(x, bits, 256, 3, form)
    grad = draw(*x.shape, seed=5).to(dtype)
    exact = gradient(run, x, grad, None, x)
    found = gradient(run, x, grad, code, x)
    assert isinstance(code, Transformed)
    assert code.nbytes < x.numel() * (bits + 0.3) / 8
    assert noise(found, exact) < BOUND[bits]
    # Each row or channel by itself, the quiet ones too: the gradient of those is the largest, or the smallest.
    dim = 1 if "layer" not in name else 0
    for own, true in zip(found.movedim(dim, 0), exact.movedim(dim, 0), strict=True):
        assert noise(own, true) < 3 * BOUND[bits]
    if bits == 4 and dtype == torch.float32:
        assert noise(gradient(run, x, grad, Groups(x, 4, 256, 3), x), exact) > 10 * noise(found, exact)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("run", [rms_norm, lambda x: F.layer_norm(x, x.shape[-1:])], ids=["rms norm", "layer norm"])
def test_rows_are_scaled_without_a_form(run, bits):
    x = many_rows()
    code = forms.encode(x, bits, 256, 3)
    grad = draw(*x.shape, seed=5)
    exact = gradient(run, x, grad, None, x)
    assert noise(gradient(run, x, grad, code, x), exact) < BOUND[bits]
    assert not decoded(code, x).view(-1, 192)[1].any()


def test_half_precision_at_its_end():
    x = draw(64, 48).to(torch.float16)
    x[3], x[4, 5], x[6] = 65504.0, -65504.0, 6e-8
    code = forms.encode(x, 4, 256, 3)
    assert isinstance(code, Transformed)
    for seed in range(20):
        back = decoded(forms.encode(x, 4, 256, seed), x)
        assert back.isfinite().all()
        assert (back[6] - x[6]).abs().max() <= 6e-8
        assert back.view(-1).sub(x.view(-1)).abs().max() < 0.2 * 65504


def test_rows_of_any_size():
    x = draw(300, 40)
    x *= torch.logspace(-37, 37, 300)[:, None]
    x[7], x[8] = 1e-42, 3e38
    code = forms.encode(x, 8, 256, 3)
    back = decoded(code, x)
    assert not code.is_poisoned()
    # Factors end before exponents do, so the neighbours of the largest row have four times their step.
    assert ((back - x).abs().amax(1) <= 0.05 * x.abs().amax(1) + 1e-40).all()
    double = x.double() * 1e-200
    back = decoded(forms.encode(double, 8, 256, 3), double)
    assert ((back - double).abs().amax(1) <= 0.02 * double.abs().amax(1)).all()


def cross_entropy(logits, target, bits, form=None, dim=1):
    """Noise of the gradient of a cross entropy whose log-probabilities come back from codes."""
    result = F.log_softmax(logits, dim)
    code = forms.encode(result, bits, 256, 3, form or forms.log_probabilities(dim))

    def run(x):
        return F.nll_loss(F.log_softmax(x, dim), target, reduction="sum")

    exact = gradient(run, logits, torch.ones(()), None, result)
    found = gradient(run, logits, torch.ones(()), code, result)
    assert found.isfinite().all()
    return noise(found, exact)


def logits_of(*size, loss=None):
    probabilities = log_probabilities(*size, dim=1, loss=loss)
    return probabilities, probabilities.argmax(1)


@pytest.mark.parametrize(
    ("size", "loss", "bounds"),
    [
        ((256, 1000), None, (2e-3, 1e-4, 5e-7)),
        ((32, 32000), None, (1e-3, 2e-5, 2e-7)),
        ((256, 1000), 1e-2, (5e-3, 3e-4, 2e-6)),
        ((256, 1000), 1e-4, (5e-3, 3e-4, 2e-6)),
        ((16, 50257), 1e-4, (2e-4, 2e-5, 2e-7)),
        ((256, 300), 1e-4, (2e-2, 1e-3, 5e-6)),
        ((4096, 2), 1e-4, (0.5, 3e-2, 2e-4)),
        ((2, 21, 64, 65), 1e-4, (0.2, 2e-2, 1e-4)),
        ((3, 150, 20, 21), 1e-4, (5e-2, 3e-3, 2e-5)),
    ],
)
def test_classifiers_that_are_sure_or_not(size, loss, bounds):
    logits, target = logits_of(*size, loss=loss)
    for bits, bound in zip(WIDTHS, bounds, strict=True):
        assert cross_entropy(logits, target, bits) < bound
    if len(size) == 4:
        assert cross_entropy(channels_last(logits), target, 4) < bounds[1]


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("value", [-1e4, -1e9, torch.finfo(torch.float32).min, -torch.inf])
def test_masked_logits(value, bits):
    logits = draw(512, 512) * 3
    logits.fill_diagonal_(value)
    assert cross_entropy(logits, torch.arange(512).roll(256), bits) < {2: 1e-2, 4: 1e-3, 8: 1e-5}[bits]
    # A vocabulary padded by whole groups and more.
    logits = draw(64, 1000) * 3
    logits[:, 600:] = value
    assert cross_entropy(logits, torch.arange(64), bits) < {2: 1e-2, 4: 1e-3, 8: 1e-5}[bits]


@pytest.mark.parametrize("bits", WIDTHS)
def test_labels_that_a_sure_classifier_misses(bits):
    logits, target = logits_of(256, 300, loss=1e-5)
    target[::2] = (target[::2] + 1) % 300
    assert cross_entropy(logits, target, bits) < 1e-6


def test_greatest_of_neighbouring_rows_in_one_group():
    logits = torch.zeros(64, 320)
    logits[::2, -1], logits[1::2, 0] = 20.0, 20.0
    assert cross_entropy(logits, logits.argmax(1), 4) < 1e-3


def test_rows_of_one_class_are_kept_as_they_are():
    result = F.log_softmax(draw(900, 1), 1)
    code = forms.encode(result, 4, 256, 3, forms.log_probabilities(1))
    assert torch.equal(decoded(code, result), result)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_log_probabilities_in_half_precision(dtype):
    result = log_probabilities(200, 500, dim=1, loss=1e-3).to(dtype)
    found = decoded(forms.encode(result, 8, 256, 3, forms.log_probabilities(1)), result)
    error = found.double().exp() - result.double().exp()
    exact = result.double().exp()
    assert error.square().sum() < 1e-3 * exact[exact < 0.5].square().sum()
    peaks = exact.argmax(1, keepdim=True)
    assert torch.equal(found.gather(1, peaks), result.gather(1, peaks))
    assert error.sum().abs() < 2e-3 * exact[exact < 0.5].sum()


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("scale", [0.01, 1.0, 1e3, 1e6])
@pytest.mark.parametrize(("op", "form"), [(torch.sin, forms.slope("cosine")), (torch.cos, forms.slope("sine"))])
def test_sine_and_cosine(op, form, scale, bits):
    x = draw(300, 70) * scale
    grad = draw(300, 70, seed=5)
    exact = gradient(op, x, grad, None, x)
    found = torch.stack(
        [gradient(op, x, grad, forms.encode(x, bits, 256, seed, form), x) for seed in range(64)]
    ).double()
    assert noise(found[0], exact) < {2: 1.0, 4: 4e-2, 8: 2e-4}[bits]
    error, deviation = found.mean(0) - exact, found.std(0)
    along = error * grad.sign()
    assert along.sum().abs() <= 5 * (deviation.square().sum() / 64).sqrt() + 1e-6 * len(x) * grad.abs().mean()


def test_angles_at_the_ends_are_unbiased():
    x = torch.cat((draw(2048) * 0.05, draw(2048) * 0.05 + torch.pi))
    for bits in WIDTHS:
        codes = [forms.encode(x, bits, 256, seed, forms.slope("cosine")) for seed in range(200)]
        drawn = torch.stack([decoded(code, x).double().cos() for code in codes])
        error, deviation = drawn.mean(0) - x.double().cos(), drawn.std(0)
        assert (error * x.cos()).sum().abs() <= 5 * (deviation.square().sum() / 200).sqrt() + 4096 * 1e-7


def test_where_groups_lie_in_rows_norms_change_nothing():
    x = quiet_rows(64, 512)
    node = node_of(F.layer_norm(x.requires_grad_(), (512,)), "NativeLayerNormBackward0")
    assert type(forms.encode(x.detach(), 4, 256, 3, forms.normalised_by(node))) is Groups


def test_norms_without_usable_statistics_fall_back_to_rows():
    x = quiet_rows(64, 192).requires_grad_()
    node = node_of(F.layer_norm(x, (192,), eps=0.0), "NativeLayerNormBackward0")
    form = forms.normalised_by(node)
    assert form(x.detach(), 256) is None
    assert forms.encode(x.detach(), 4, 256, 3, form).transform.name == "rows"
    assert form(x.detach().double(), 256) is None
    assert form(x.detach().view(8, 8, 192), 256) is None
    assert forms.normalised_by(x.sin().grad_fn) is None


def test_fused_rms_norm():
    x = quiet_rows(64, 192)

    class FusedRmsNormBackward0:
        _saved_result1 = (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt()

    code = forms.encode(x, 4, 256, 3, forms.normalised_by(FusedRmsNormBackward0()))
    assert code.transform.name == "normalised"
    assert ((decoded(code, x) - x).abs().amax(1) <= 0.3 * x.abs().amax(1) + 1e-3).all()
    grad = draw(64, 192, seed=5)
    assert noise(gradient(rms_norm, x, grad, code, x), gradient(rms_norm, x, grad, None, x)) < BOUND[4]
