"""The table of needs against torch: what a backward gives when a saved tensor comes back changed.

A slot that is listed as a value must have an affine gradient, or be in the list of smooth ones; a mask and a shape must
give the gradient bit for bit.
"""

import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from formulas import Pass, decoded, operators, passes

from gact.operators import VALUE, need_of, prepare
from gact.operators.bounds import between
from gact.operators.forms import CLAMPED
from gact.saved.origins import NARROW

DTYPE = torch.float64
SAMPLES = 4
OFTEN = 6  # one slot with one need is not checked more often in one run
CURVED = {
    "GeluBackward0": "a bell and its integral",
    "GeluBackwardBackward0": "a bell and its integral",
    "GluBackward0": "a sigmoid of one half",
    "GluBackwardBackward0": "a sigmoid of one half",
    "MaskedSoftmaxBackward0": "a product of probabilities",
    "MishBackward0": "sigmoids and tanh",
    "SafeSoftmaxBackward0": "a product of probabilities",
    "SigmoidBackward0": "y * (1 - y)",
    "SiluBackward0": "a sigmoid and its slope",
    "SoftmaxBackward0": "a product of probabilities",
    "SoftmaxBackwardDataBackward0": "a product of probabilities",
    "SoftplusBackward0": "a sigmoid",
    "SoftplusBackwardBackward0": "a sigmoid",
    "TanhBackward0": "1 - y * y",
}
# Slopes that are continuous and have a kink: an exponential that meets a constant.
KINKED = {"CeluBackward0", "CeluBackward1", "EluBackward0", "EluBackward1"}
# What torch's own kernels make of float32 within a float64 graph.
ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-5}
LARGE, SMALL = 1e-1, 1e-3


@pytest.fixture(autouse=True)
def _prepared():
    prepare()


CHECKED = Counter()


def noise(tensor, size):
    generator = torch.Generator().manual_seed(3)
    return size * torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)


def curvature(found, held, moved):
    """How far the mean of two gradients is from the one between, and how far either is."""
    middle = found.gradient()
    ahead, behind = (found.gradient_with(held, moved(sign)) for sign in (1, -1))
    return (ahead + behind - 2 * middle).abs().max(), (ahead - middle).abs().max() + middle.abs().max()


def moves(need, tensor):
    """What moves a tensor along the line in which its gradient is to be straight."""
    if need.form == "log_probabilities":
        probabilities = tensor.exp()
        step = noise(tensor, LARGE).clamp(-0.5, 0.5) * probabilities
        return lambda sign: (probabilities + sign * step).log()
    if need.form in ("sine", "cosine"):
        inverse, value = (torch.asin, tensor.sin()) if need.form == "sine" else (torch.acos, tensor.cos())
        step = noise(tensor, LARGE).clamp(-1, 1) * (1 - value.abs())
        return lambda sign: inverse(value + sign * step)
    step = noise(tensor, LARGE)
    if need.form in CLAMPED:
        room = [(tensor - bound).abs() for bound in between(need.form, tensor)[:2] if math.isfinite(bound)]
        step = step.clamp(-0.9, 0.9) * torch.stack(room).amin(0).clamp(max=1.0)  # to no other side
    return lambda sign: tensor + sign * step


def check_value(found, node, held, need):
    tensor = held.tensor
    if node.name() in KINKED:
        bent, size = curvature(found, held, lambda sign: tensor + sign * noise(tensor, SMALL))
        assert bent <= 10 * SMALL * size  # a jump is as large as the gradient
        return
    if node.name() in CURVED or need.min_bits > NARROW or need.form == "normalised":
        bent, size = curvature(found, held, lambda sign: tensor + sign * noise(tensor, LARGE))
        less_bent, _ = curvature(found, held, lambda sign: tensor + sign * noise(tensor, SMALL))
        # A bend goes with the square of the step, a jump or a kink does not.
        assert less_bent <= 10 * (SMALL / LARGE) ** 2 * bent + 1e-10 * size
        return
    bent, size = curvature(found, held, moves(need, tensor))
    coarsest = max(ROUNDING[leaf.dtype] for leaf in (*found.leaves, tensor) if leaf.dtype in ROUNDING)
    assert bent <= coarsest * size + 1e-14


def check(found, wanted=lambda node: True, needed=need_of):
    """Checks what all slots of a pass need, but for those that were checked often enough."""
    open_ = []
    for node, slot, held in found.slots:
        tensor = held.tensor
        if tensor.is_floating_point() and tensor.layout is torch.strided and tensor.numel() and wanted(node):
            need = needed(node, slot, tensor)
            if need.kind in ("value", "mask", "shape") and CHECKED[node.name(), slot, need] < OFTEN:
                open_.append((node, slot, held, need))
    if not open_:
        return
    middle = found.gradient()
    if not middle.isfinite().all() or not middle.numel():
        return
    for node, slot, held, need in open_:
        CHECKED[node.name(), slot, need] += 1
        try:
            check_slot(found, node, held, need, middle)
        except AssertionError as error:
            raise AssertionError(f"{node.name()}.{slot} is no {need.kind} {need.form}: {error}") from error


def check_slot(found, node, held, need, middle):
    tensor = held.tensor
    if need.kind == "value":
        check_value(found, node, held, need)
    elif need.kind == "mask":
        assert torch.equal(found.gradient_with(held, decoded(need.mask, tensor)), middle)
    else:
        for other in (noise(tensor, 10.0), torch.zeros_like(tensor), torch.full_like(tensor, torch.nan)):
            assert torch.equal(found.gradient_with(held, other), middle)


WRONG = ["div.no_rounding_mode", "abs", "nn.functional.relu", "logsumexp", "max.binary", "prod"]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_need_is_found(name):
    def check_all():
        for found in passes(operators(DTYPE)[name], DTYPE, SAMPLES):
            check(found, needed=lambda node, slot, tensor: VALUE)

    with pytest.raises(AssertionError, match="is no value"):
        check_all()


@pytest.mark.parametrize("name", operators(DTYPE))
def test_gradients_read_what_the_table_says(name):
    for found in passes(operators(DTYPE)[name], DTYPE, SAMPLES):
        check(found)


def attention(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


# Nodes that no sample of torch's own tests leads to: result, inputs.
OTHERS = {
    "ScaledDotProductFlashAttentionForCpuBackward0": (attention, 3),
    "EluBackward1": (lambda x: F.elu_(x * 1), 1),
    "CeluBackward1": (lambda x: F.celu_(x * 1, 2.0), 1),
    "LeakyReluBackward1": (lambda x: F.leaky_relu_(x * 1), 1),
    "RreluWithNoiseBackward1": (lambda x: F.rrelu_(x * 1, training=True), 1),
    "PowBackward0": (lambda x: x**3 + x**2 + x**1 + x**0 + x**8, 1),
    "PowBackward2": (lambda x: 1.7**x, 1),
    "DivBackward2": (lambda x, y: torch.div(x, y, rounding_mode="trunc") + x, 2),
    "SoftplusBackward0": (F.softplus, 1),
    "XlogyBackward0": (lambda x, y: torch.xlogy(x.square(), y.square()), 2),
    "DotBackward0": (lambda x, y: torch.dot(x.flatten(), y.flatten()), 2),
    "LerpBackward1": (torch.lerp, 3),
    "AdaptiveMaxPool2DBackward0": (lambda x: F.adaptive_max_pool2d(x, 2), 1),
    "ThresholdBackward1": (lambda x: F.threshold_(x * 1, 0.1, 0.0), 1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_gradients_of_what_torchs_tests_do_not_reach(name):
    run, count = OTHERS[name]
    leaves = [torch.randn(2, 3, 4, 4, dtype=DTYPE).add_(0.3).requires_grad_() for _ in range(count)]
    found = Pass(lambda: run(*leaves), leaves)
    assert name in {node.name() for node, _, _ in found.slots}
    check(found)


def is_second(node):
    return "BackwardBackward" in node.name() or "BackwardData" in node.name()


SECOND = [
    name
    for name, op in operators(DTYPE).items()
    if op.supports_gradgrad and any(part in name for part in ("nn.functional", "sampler", "sigmoid", "tanh", "softm"))
]


@pytest.mark.parametrize("name", SECOND)
def test_second_gradients_read_what_the_table_says(name):
    try:
        for found in passes(operators(DTYPE)[name], DTYPE, 2, double=True):
            check(found, is_second)
    except RuntimeError as error:
        pytest.skip(str(error))
