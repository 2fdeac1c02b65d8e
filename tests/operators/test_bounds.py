"""Masks of bounded ops: every number of the halves, and all numbers near the bounds, keep their gradient."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from formulas import Held, decoded, held_slots, saves

from gact.operators import bounded, bounds, need_of, prepare
from gact.operators.bounded import Rule, Rules
from gact.operators.floats import greatest_below, least_above, next_above, next_below, rounded

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
OPS = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "leaky_relu_": lambda x: F.leaky_relu_(x * 1),
    "relu6": F.relu6,
    "hardtanh": lambda x: F.hardtanh(x, -0.6, 0.3),
    "hardtanh_": lambda x: F.hardtanh_(x * 1, -1, 1),
    "hardsigmoid": F.hardsigmoid,
    "hardshrink": lambda x: F.hardshrink(x, 0.35),
    "softshrink": lambda x: F.softshrink(x, 0.8),
    "clamp": lambda x: torch.clamp(x, -0.2, 0.9),
    "clamp of integers": lambda x: torch.clamp(x, 0, 1),
    "clamp low": lambda x: torch.clamp(x, min=-0.4),
    "clamp high": lambda x: torch.clamp(x, max=0.45),
    "clamp_min": lambda x: torch.clamp_min(x, 0.15),
    "clamp_max": lambda x: torch.clamp_max(x, 0),
    "clamp far": lambda x: torch.clamp(x, -6e4, 6e4),
    "threshold": lambda x: F.threshold(x, 0.55, -3.0),
    "threshold_": lambda x: F.threshold_(x * 1, -0.25, 9.0),
    "rrelu": lambda x: F.rrelu(x, 0.1, 0.3),
    "prelu": lambda x: F.prelu(x, torch.full((1,), 0.2, dtype=x.dtype)),
}


@pytest.fixture(autouse=True)
def _prepared():
    prepare()


def numbers(dtype):
    """All finite numbers of a half; of a wider dtype those of the halves and their neighbours."""
    halves = torch.arange(-(2**15), 2**15).to(torch.int16)
    x = torch.cat([halves.view(torch.float16).double(), halves.view(torch.bfloat16).double()]).to(dtype)
    x = x[x.isfinite()].unique()
    if dtype in (torch.float32, torch.float64):
        tenths = (torch.arange(-40, 41, dtype=torch.float64) / 20).to(dtype)
        x = torch.cat([x, tenths]).unique()
        x = torch.cat([x, *(torch.nextafter(x, torch.full_like(x, way)) for way in (-math.inf, math.inf))])
    return x[x.isfinite()].unique()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPS)
def test_the_gradient_is_the_same_at_every_number(name, dtype):
    x = numbers(dtype).requires_grad_()
    with saves():
        y = OPS[name](x)
    slots = [(need_of(node, slot, held.tensor), held) for node, slot, held in held_slots([y.grad_fn])]
    ((need, held),) = (found for found in slots if found[0].kind == "mask")
    (exact,) = torch.autograd.grad(y, x, torch.ones_like(y), retain_graph=True)
    held.back = decoded(need.mask, held.tensor)
    (found,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert torch.equal(found, exact)
    assert held.back.unique().numel() == 2


@pytest.mark.parametrize(
    "run",
    [
        lambda x: torch.clamp(x, 1.0, 1.0),
        lambda x: torch.clamp(x, 2.0, 1.0),
        lambda x: torch.clamp(x, math.nan, 1.0),
        lambda x: torch.clamp(x, min=-math.inf),
        lambda x: torch.clamp(x, torch.tensor(-1.0), torch.tensor(1.0)),
        lambda x: torch.clamp_min(x, torch.tensor(0.0)),
        lambda x: torch.clamp_min(x, math.nan),
        lambda x: F.threshold(x, math.nan, 0.0),
        lambda x: F.hardshrink(x, -1.0),
        lambda x: F.hardshrink(x, 0.0),
    ],
)
def test_bounds_that_bound_nothing_stay_exact(run):
    x = torch.randn(8, requires_grad=True)
    with saves():
        y = run(x)
    needs = {slot: need_of(node, slot, held.tensor).kind for node, slot, held in held_slots([y.grad_fn])}
    assert needs["self"] == "exact"


@pytest.mark.parametrize("op", ["hardswish", "prelu"])
def test_between_bounds_a_value_is_read_and_on_them_what_torch_says(op):
    run = F.hardswish if op == "hardswish" else lambda x: F.prelu(x, torch.full((1,), 0.2, requires_grad=True))
    x = torch.randn(8, requires_grad=True)
    assert need_of(run(x).grad_fn, "self", x).form == op
    low, high, with_low, with_high = bounds.between(op, x)
    for bound, inside in ((low, with_low), (high, with_high)):
        if math.isfinite(bound):
            step = 1e-3 if bound == low else -1e-3
            at, near, far = (torch.autograd.grad(run(y), y)[0] for y in _points(bound, bound + step, bound - step))
            assert bool(abs(at - near) < abs(at - far)) is inside


def _points(*values):
    return [torch.tensor(value, requires_grad=True) for value in values]


def test_what_torch_was_not_asked_stays_exact(monkeypatch):
    monkeypatch.setattr(bounds, "_RULES", {})
    bounds.mask_of.cache_clear()
    x = torch.randn(8, requires_grad=True)
    assert need_of(F.relu(x).grad_fn, "result", x).kind == "exact"
    bounds.mask_of.cache_clear()


def test_an_op_of_which_no_rule_explains_the_answers_is_exact(monkeypatch):
    odd = bounded.Bounded(lambda x, low, high: torch.where((x > low) | (x < low - 1e-3), x, 0.0), high=False)
    monkeypatch.setitem(bounded.OPS, "odd", odd)
    assert bounded.rules_of("odd", "cpu", torch.float32) == Rules(Rule(torch.float32, False), None)
    never = bounded.Bounded(lambda x, low, high: x * torch.arange(x.numel()).remainder(7), high=False)
    monkeypatch.setitem(bounded.OPS, "never", never)
    assert bounded.rules_of("never", "cpu", torch.float32) is None


def test_an_inclusive_op_is_told_from_an_exclusive_one(monkeypatch):
    for name, compare, inclusive in (("below", torch.gt, False), ("at", torch.ge, True)):
        op = bounded.Bounded(lambda x, low, high, compare=compare: torch.where(compare(x, low), x, 0.0), high=False)
        monkeypatch.setitem(bounded.OPS, name, op)
        assert bounded.rules_of(name, "cpu", torch.float64) == Rules(Rule(torch.float64, inclusive), None)


def test_torch_is_asked_outside_of_modes_and_hooks(monkeypatch):
    from torch._subclasses.fake_tensor import FakeTensorMode

    def refuse(tensor):
        raise AssertionError("a hook was called")

    expected = bounded.rules_of("clamp", "cpu", torch.float32)
    state = torch.random.get_rng_state()
    with torch.autograd.graph.saved_tensors_hooks(refuse, refuse), FakeTensorMode():
        assert bounded.rules_of("clamp", "cpu", torch.float32) == expected
    with torch.inference_mode():
        assert bounded.rules_of("clamp", "cpu", torch.float32) == expected
    with torch.no_grad():
        assert bounded.rules_of("clamp", "cpu", torch.float32) == expected
    assert torch.equal(state, torch.random.get_rng_state())


def test_torch_is_asked_once(monkeypatch):
    prepare()
    monkeypatch.setattr(bounds, "rules_of", None)
    prepare()


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_a_dtype_without_tensors(dtype):
    some = torch.cat([torch.randn(300, dtype=torch.float64) * 10.0**power for power in range(-45, 40, 5)])
    for value in [*some.tolist(), 0.0, -0.0, 1e400, 65504.0, 65519.0, 65520.0, 3.4e38, 3.39e38, -3.4e39]:
        at = torch.tensor(value, dtype=torch.float64).to(torch.float32 if dtype is not torch.float64 else dtype)
        assert rounded(value, dtype) == float(at.to(dtype))
    numbers_ = numbers(dtype).tolist() if dtype in (torch.float16, torch.bfloat16) else []
    for low, high in pairwise(numbers_):
        assert next_above(low, dtype) == high
        assert next_below(high, dtype) == low
        assert least_above(low, dtype, or_at=False) == high
        assert greatest_below(high, dtype, or_at=True) == high
    greatest = torch.finfo(dtype).max
    assert next_above(greatest, dtype) == math.inf
    assert next_below(math.inf, dtype) == greatest
    assert next_above(-math.inf, dtype) == -greatest
    assert least_above(0.1, dtype, or_at=False) >= 0.1 > greatest_below(0.1, dtype, or_at=False)


def test_hooks_hold_the_very_object():
    x = torch.randn(3, requires_grad=True)
    with saves():
        y = x.sin()
    assert type(y.grad_fn._raw_saved_self.data) is Held
