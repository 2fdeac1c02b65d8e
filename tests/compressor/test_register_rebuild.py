"""Rebuild rules that users state."""

import pytest
import torch
import torch.nn.functional as F

import gact
from gact.remat import curves, rules


class Square(torch.autograd.Function):
    """Saves its input and returns its square."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


LIBRARY = torch.library.Library("gact_test_rebuild", "DEF")
LIBRARY.define("shifted(Tensor x, float by) -> Tensor")
LIBRARY.impl("shifted", lambda x, by: x + by, "CompositeExplicitAutograd")
torch.library.register_autograd("gact_test_rebuild::shifted", lambda ctx, gradient: (gradient, None))
SHIFTED = torch.ops.gact_test_rebuild.shifted


@pytest.fixture(autouse=True)
def _as_before():
    stated, derivable = dict(rules._STATED), set(rules.DERIVABLE)
    gact.register_need(Square, "value")
    curves._SEEN.clear()
    yield
    rules._STATED.clear()
    rules._STATED.update(stated)
    rules.DERIVABLE.intersection_update(derivable)


def trained(op, bits):
    """The codec of what a layer saves of the op's result, what unpacks there, and the result."""
    x = torch.randn(64, 64, requires_grad=True)
    weight = torch.randn(8, 64, requires_grad=True)
    compressor = gact.Compressor(bits=bits, adaptive=False, min_bytes=0)
    with compressor:
        middle = x * 1.0
        beside = F.gelu(middle)  # saves the op's input
        result = op(middle)
        output = F.linear(result, weight)
        loss = output.sum() + beside.sum()
    (codec,) = [row.codec for row in compressor.report().rows if row.op == "linear" and row.plain_bytes == x.nbytes]
    read = output.grad_fn._saved_self
    loss.backward()
    assert x.grad is not None
    return codec, read.detach(), result.detach()


def test_a_function_is_rebuilt_by_itself():
    assert trained(Square.apply, 8)[0] != "derived"
    square = gact.register_rebuild(Square)
    codec, read, result = trained(square, 8)
    assert codec == "derived"
    assert (read - result).norm() < 0.02 * result.norm()


def test_a_rule_of_its_own_makes_the_result():
    square = gact.register_rebuild(Square, lambda x: x.square().add_(1000))
    codec, read, result = trained(square, 8)
    assert codec == "derived"
    assert (read - result).mean() == pytest.approx(1000, abs=1)


def test_what_bends_is_rebuilt_from_narrow_codes_as_a_curve_alone():
    assert trained(gact.register_rebuild(Square), 2)[0] != "derived"
    codec, read, result = trained(gact.register_rebuild(Square, kind="curve"), 2)
    assert codec == "derived"
    assert abs((read - result).mean()) < 0.1 * result.mean()


@pytest.mark.parametrize("op", [SHIFTED, SHIFTED.default])
def test_an_op_of_a_library_is_called_as_before(op):
    assert gact.register_rebuild(op, kind="linear") is op
    for called in (SHIFTED, SHIFTED.default):
        codec, read, result = trained(lambda x, called=called: called(x, 3.0), 2)
        assert codec == "derived"
        assert abs((read - result).mean()) < 0.05


def test_a_python_function_counts_as_one_op():
    @gact.register_rebuild
    def doubled(x, *, times=2.0):
        return x * times

    codec, read, result = trained(lambda x: doubled(x, times=3.0), 8)
    assert codec == "derived"
    assert (read - result).norm() < 0.02 * result.norm()


def test_what_is_called_outside_of_a_context_is_the_op():
    square, x = gact.register_rebuild(Square), torch.randn(5, requires_grad=True)
    square(x).sum().backward()
    assert torch.equal(x.grad, 2 * x.detach())


@pytest.mark.parametrize("op", [3, torch.nn.Linear, "name"])
def test_other_operators_are_refused(op):
    with pytest.raises(TypeError, match=r"must be an op of torch\.library"):
        gact.register_rebuild(op)


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="got the kind 'smooth'; allowed are 'linear', 'curve', 'other'"):
        gact.register_rebuild(Square, kind="smooth")
    with pytest.raises(TypeError, match="got make=3"):
        gact.register_rebuild(Square, 3)


FIXED = torch.rand(64) + 0.5


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_curve_may_hold_a_tensor_that_broadcasts(bits):
    curve = gact.register_rebuild(lambda a: (a * FIXED).square(), kind="curve")
    codec, read, result = trained(curve, bits)
    assert codec == "derived"
    assert (read - result).mean(0).norm() < 0.3 * result.mean(0).norm()


def test_a_curve_that_holds_a_tensor_as_long_as_a_part_of_its_argument_is_unbiased():
    # Run on a part of the same length, it would meet the elements of other places.
    fixed = torch.linspace(-4, 4, 4096)
    curve = gact.register_rebuild(lambda a: (a * fixed).square(), kind="curve")
    x, weight = torch.randn(4096, requires_grad=True), torch.randn(4096, requires_grad=True)
    total = torch.zeros(4096)
    for seed in range(64):
        with gact.Compressor(bits=2, adaptive=False, min_bytes=0, seed=seed) as compressor:
            middle = x * 1.0
            beside, result = F.gelu(middle), curve(middle)
            output = result * weight
        (codec,) = [row.codec for row in compressor.report().rows if row.op == "mul" and row.codec == "derived"]
        assert codec == "derived"
        total += output.grad_fn._saved_self.detach() / 64
        del beside
    assert (total - result.detach()).mean().abs() < 0.02 * result.mean()
    assert (total - result.detach()).norm() < 0.25 * result.norm()


@pytest.mark.parametrize(
    "function",
    [lambda a: a.softmax(-1), lambda a: a.flip(0), lambda a: a - a.amax(), lambda a: a.cumsum(1), lambda a: a @ a],
)
def test_what_reads_other_places_is_no_curve(function):
    with pytest.raises(
        ValueError, match=r'kind="curve"\): elements of its result depend on elements .* in other places'
    ):
        trained(gact.register_rebuild(function, kind="curve"), 2)


def test_a_make_that_returns_another_size_is_refused():
    with pytest.raises(ValueError, match=r"make returned the size \(64, 1\) where the operator returned \(64, 64\)"):
        trained(gact.register_rebuild(Square, lambda x: x[:, :1].square(), kind="curve"), 2)


def test_a_curve_is_looked_at_once_and_draws_no_numbers():
    calls = []

    def make(x):
        calls.append(x.shape)
        return x.square()

    square = gact.register_rebuild(Square, make, kind="curve")
    x = torch.randn(64, 64, requires_grad=True)

    def note():
        with gact.Compressor(bits=2, adaptive=False, min_bytes=0):
            middle = x * 1.0
            F.gelu(middle)
            square(middle)

    state = torch.get_rng_state()
    note()
    assert torch.equal(torch.get_rng_state(), state)
    assert len(calls) == 3
    note()
    assert len(calls) == 3


@pytest.mark.parametrize("argument", [torch.ones(64), torch.rand(1, 1, 64)])
def test_a_curve_that_cannot_be_seen_to_be_one_is_not_rebuilt_from_narrow_codes(argument):
    """It has equal elements alone, or does not broadcast."""
    curve = gact.register_rebuild(lambda a, b: a.square() * b.view(-1), kind="curve")
    assert trained(lambda a: curve(a, argument), 2)[0] != "derived"
    assert trained(lambda a: curve(a, argument), 8)[0] == "derived"
