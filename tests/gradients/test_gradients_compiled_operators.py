"""Operators as compiled functions: what reads a side, an order or an index alone has the gradient of plain code."""

import warnings
from contextlib import nullcontext

import pytest
import test_gradients_comparisons as comparisons
import torch
from measure import FIFTH, compressor, mean_fault, noise_fault, off, same
from operator_samples import name_of, once_compiled, operators, trials

from gact.compiled import values

PARTS = 8
SIDES = {"integers", "mask", "shape"}
"""Codes that hold no value."""
SIGNS = {"abs", "copysign", "nn.functional.l1_loss", "sgn"}
"""Outside of compiled code their arguments are exact, of which compiled code has the sign."""
EXACT = ("index_reduce.prod", "linalg.householder_product", "linalg.lu", "ormqr", "scatter_reduce.prod")
"""What is multiplied in their backward is divided or taken off again."""
COMPARISONS = {**comparisons.OPS, **comparisons.PAIRS}
RIGHT_ON_AVERAGE = ("hypot", "nn.functional.smooth_l1_loss", "norm.fro", "remainder", "xlogy")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Has small samples coded."""
    monkeypatch.setattr(values, "SMALL", 64)
    warnings.simplefilter("ignore")


def reads_sides(trial):
    """Whether codes outside of compiled code hold sides, and nothing else is held."""
    c = compressor(None, 2)
    try:
        trial.once(c)
    except Exception:
        return False
    found = {row.codec for row in c.report().rows}
    return bool(found) and found <= SIDES


@pytest.mark.parametrize("part", range(PARTS))
def test_sides_are_exact(part):
    wrong, count = [], 0
    for op in operators()[part::PARTS]:
        for trial in trials(op):
            if name_of(op) not in SIGNS and not reads_sides(trial):
                continue
            once = once_compiled(trial, "aot_eager")
            try:
                g0 = once(nullcontext())
            except Exception:  # torch does not compile it
                continue
            count += 1
            if same(once(nullcontext()), g0) and not same(once(compressor(None, 2)), g0):
                wrong.append(name_of(op))
    assert not wrong
    assert count


@pytest.mark.parametrize("backend", ["aot_eager", "aot_eager_decomp_partition"])
@pytest.mark.parametrize("name", [name for name in COMPARISONS if name != "softmax written out"])
def test_comparisons_are_exact(name, backend):
    op, *sizes = COMPARISONS[name]
    torch._dynamo.reset()
    compiled = torch.compile(op, backend=backend)
    inputs = [comparisons.drawn(*size, seed=number) for number, size in enumerate(sizes)]
    expected = comparisons.gradients(compiled, inputs, None)
    for one, other in zip(expected, comparisons.gradients(compiled, inputs, 0), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("backend", ["aot_eager", "aot_eager_decomp_partition"])
@pytest.mark.parametrize("name", EXACT)
def test_products_of_all_are_exact(name, backend):
    (op,) = [each for each in operators() if name_of(each) == name]
    for trial in trials(op)[:1]:
        once = once_compiled(trial, backend)
        g0 = once(nullcontext())
        for bits in (8, 4, 2):
            assert off(once(compressor(None, bits)), g0) < 1e-10


@pytest.mark.parametrize("backend", ["aot_eager", "aot_eager_decomp_partition"])
@pytest.mark.parametrize("name", RIGHT_ON_AVERAGE)
def test_values_are_right_on_average(name, backend):
    (op,) = [each for each in operators() if name_of(each) == name]
    for trial in trials(op)[:1]:
        once = once_compiled(trial, backend)
        g0 = once(nullcontext())
        assert not noise_fault(once(compressor(None, 8)), g0, FIFTH)
        for bits in (4, 2):
            assert not mean_fault(lambda seed, bits=bits, once=once: once(compressor(None, bits, seed)), g0)
