"""``torch.func`` refuses saved-tensor hooks: gact stands aside there, says so once, and goes on afterwards."""

import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, hessian, jacrev, jvp, vjp, vmap

import gact
from saved import active_pair, save


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4))


@pytest.fixture
def x():
    return torch.randn(32, 16)


def loss_of(model, x):
    return lambda parameters: functional_call(model, parameters, (x,)).square().mean()


TRANSFORMS = {
    "grad": lambda model, x: grad(loss_of(model, x))(dict(model.named_parameters()))["0.weight"],
    "vjp": lambda model, x: vjp(lambda v: model(v).tanh(), x)[1](torch.ones(32, 4))[0],
    "jvp": lambda model, x: jvp(lambda v: model(v).tanh(), (x,), (torch.ones_like(x),))[1],
    "jacrev": lambda model, x: jacrev(lambda v: model(v).tanh().sum(0))(x),
    "hessian": lambda model, x: hessian(lambda v: model(v).tanh().sum())(x[0]),
    "vmap of grad": lambda model, x: vmap(grad(lambda v: model(v).square().sum()))(x),
}
ASIDE = "gact stands aside inside torch.func transforms"


def ours(caught):
    return [str(each.message) for each in caught if "gact" in str(each.message)]


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_transforms_inside_a_context_work_as_outside(transform, model, x):
    expected, c = transform(model, x), gact.Compressor(model, min_bytes=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with c:
            pair = active_pair()
            before = model(x)
            results = [transform(model, x) for _ in range(2)]
            assert active_pair() == pair
            after = save(torch.randn(64))
    assert all(torch.equal(result, expected) for result in results)
    assert after.grad_fn.saved_tensors[0].shape == (64,)
    # What runs outside of the transform is compressed; what it differentiates and wraps itself is exact.
    codecs = {(row.module, row.op, row.codec) for row in c.report().rows}
    assert {("0", "linear", "groups"), ("", "Save", "groups")} <= codecs
    assert sum(ASIDE in message for message in ours(caught)) == (0 if transform is TRANSFORMS["jvp"] else 1)
    before.sum().backward()


@pytest.mark.parametrize("entered", ["grad", "vjp", "jacrev"])
def test_a_context_inside_a_transform_stands_aside_with_one_warning(entered, model, x):
    c = gact.Compressor(model, min_bytes=0)

    def loss(v):
        with c:
            return model(v).square().mean()

    run = {
        "grad": lambda: grad(loss)(x),
        "vjp": lambda: vjp(loss, x)[1](torch.ones(()))[0],
        "jacrev": lambda: jacrev(loss)(x),
    }[entered]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [run() for _ in range(2)]
    assert len(ours(caught)) == 1
    assert ASIDE in ours(caught)[0]
    assert torch.equal(results[1], grad(lambda v: model(v).square().mean())(x))
    assert c.report().rows == ()


def test_a_context_inside_a_transform_inside_a_context(model, x):
    c = gact.Compressor(model, min_bytes=0)

    def loss(v):
        with c:
            return model(v).square().mean()

    expected = grad(lambda v: model(v).square().mean())(x)
    with pytest.warns(UserWarning, match=ASIDE), c:  # noqa: PT031
        first = model(x)
        got = grad(loss)(x)
        second = model(x).sin()
    assert torch.equal(got, expected)
    assert c.report().coverage == 100
    (first.sum() + second.sum()).backward()


def test_a_transform_that_fails_gives_the_hooks_back(model, x):
    def fail(v):
        raise ArithmeticError("on purpose")

    with pytest.warns(UserWarning, match=ASIDE), gact.Compressor(model, min_bytes=0) as c:  # noqa: PT031
        pair = active_pair()
        with pytest.raises(ArithmeticError, match="on purpose"):
            grad(fail)(x)
        assert active_pair() == pair
        output = model(x)
    assert active_pair() is None
    assert c.report().coverage == 100
    output.sum().backward()


def test_torch_is_as_it_was_afterwards(model, x):
    before = torch.autograd.graph.disable_saved_tensors_hooks
    with gact.Compressor(model, min_bytes=0):
        model(x)
    assert torch.autograd.graph.disable_saved_tensors_hooks is before


def test_a_batched_forward_inside_a_context(model, x):
    expected = torch.autograd.grad(vmap(model)(x).square().sum(), model[0].weight)[0]
    c = gact.Compressor(model, bits=8, min_bytes=0)
    with c:
        output = vmap(model)(x)
    got = torch.autograd.grad(output.square().sum(), model[0].weight)[0]
    assert torch.nn.functional.cosine_similarity(got.flatten(), expected.flatten(), 0) > 0.999
    assert c.report().coverage > 0


def test_a_context_inside_a_batched_forward(model, x):
    c = gact.Compressor(model, bits=8, min_bytes=0)

    def forward(row):
        with c:
            return model(row)

    expected = torch.autograd.grad(vmap(model)(x).square().sum(), model[0].weight)[0]
    got = torch.autograd.grad(vmap(forward)(x).square().sum(), model[0].weight)[0]
    assert torch.nn.functional.cosine_similarity(got.flatten(), expected.flatten(), 0) > 0.999


def test_forward_mode_derivatives_inside_a_context(model, x):
    with gact.Compressor(model, min_bytes=0), torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        output = model(dual)
        tangent = torch.autograd.forward_ad.unpack_dual(output).tangent
    expected = jvp(model, (x,), (torch.ones_like(x),))[1]
    assert torch.allclose(tangent, expected, atol=1e-5)
    output.sum().backward()
    assert model[0].weight.grad is not None


def test_functional_call_is_no_transform(model, x):
    doubled = {name: (2 * parameter.detach()).requires_grad_() for name, parameter in model.named_parameters()}
    c = gact.Compressor(model, min_bytes=0)
    with c:
        output = functional_call(model, doubled, (x,))
    rows = c.report().rows
    assert {row.reason for row in rows if row.codec == "keep"} == {"leaf"}
    assert sum(row.plain_bytes for row in rows if row.codec != "keep") == x.nbytes * 2
    output.sum().backward()
    assert doubled["0.weight"].grad is not None
