"""Everything that autograd lets one do with a graph works on a compressed one."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gact
from cases import NETWORKS
from references.groups import rounding, widest_scale
from saved import all_saved, find_saved


def cosine(one, other):
    return F.cosine_similarity(one.flatten().double(), other.flatten().double(), 0)


def gradient(model):
    """All gradients in one vector; they are taken off the model."""
    flat = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
    model.zero_grad()
    return flat


def plain_gradient(model, x, seed=3):
    torch.manual_seed(seed)
    model(x).square().mean().backward()
    return gradient(model)


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def network(request):
    model = request.param.build()
    return model, request.param.inputs(), gact.Compressor(model, bits=8, min_bytes=0)


def forward(network, seed=3):
    model, x, c = network
    torch.manual_seed(seed)
    with c:
        return model(x).square().mean()


def test_gradients_are_close_to_plain_ones(network):
    exact = plain_gradient(network[0], network[1])
    forward(network).backward()
    assert cosine(gradient(network[0]), exact) > 0.999


def test_backward_of_the_compressor_is_backward_of_the_loss(network):
    model, x, _ = network
    results = []
    for run in (lambda loss, c: loss.backward(), lambda loss, c: c.backward(loss)):
        c = gact.Compressor(model, bits=4, min_bytes=0)
        run(forward((model, x, c)), c)
        results.append(gradient(model))
    assert torch.equal(*results)


def test_two_backward_passes_over_a_retained_graph_are_bit_equal(network):
    loss = forward(network)
    loss.backward(retain_graph=True)
    first = gradient(network[0])
    loss.backward()
    assert torch.equal(gradient(network[0]), first)


def test_reading_saved_tensors_is_harmless(network):
    model, x, _ = network
    quiet, read = (forward((model, x, gact.Compressor(model, bits=4, min_bytes=0))) for _ in range(2))
    tensors = all_saved(read) + all_saved(read)
    assert len(tensors) > 4
    for _, _, tensor in tensors[: len(tensors) // 2]:
        assert tensor.isfinite().all() if tensor.is_floating_point() else True
    quiet.backward()
    expected = gradient(model)
    read.backward()
    assert torch.equal(gradient(model), expected)


def test_reading_twice_gives_equal_values(network):
    loss = forward(network)
    for (_, key, one), (_, _, other) in zip(all_saved(loss), all_saved(loss), strict=True):
        assert torch.equal(one, other), key


def test_the_second_backward_without_a_retained_graph_raises_as_in_plain_autograd(network):
    loss = forward(network)
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_two_forward_passes_then_two_backward_passes(network):
    model, x, c = network
    exact = plain_gradient(model, x, 1) + plain_gradient(model, x * 2, 2)
    first, second = forward((model, x, c), 1), forward((model, x * 2, c), 2)
    second.backward()
    first.backward()
    assert cosine(gradient(model), exact) > 0.999


def test_accumulation_over_micro_batches(network):
    model, x, c = network
    exact = sum(plain_gradient(model, x * (1 + at), at) for at in range(3))
    for at in range(3):
        c.backward(forward((model, x * (1 + at), c), at))
    assert cosine(gradient(model), exact) > 0.999


def test_backward_inside_the_context(network):
    model, x, c = network
    exact = plain_gradient(model, x)
    with c:
        torch.manual_seed(3)
        loss = model(x).square().mean()
        loss.backward()
    assert cosine(gradient(model), exact) > 0.999


def test_an_evaluation_pass_between_forward_and_backward(network):
    model, x, c = network
    exact = plain_gradient(model, x)
    loss = forward(network)
    with c:
        model(x * 3)
    with torch.no_grad():
        model(x)
    loss.backward()
    assert cosine(gradient(model), exact) > 0.999


def test_backward_of_a_part_of_the_graph():
    trunk, heads = nn.Linear(32, 64), nn.ModuleList(nn.Linear(64, 8) for _ in range(2))
    model, x = nn.ModuleList([trunk, heads]), torch.randn(16, 32)

    def outputs():
        features = trunk(x).tanh()
        return [head(features).square().mean() for head in heads]

    outputs()[0].backward()
    exact = gradient(model)
    c = gact.Compressor(model, bits=8, min_bytes=0)
    for _ in range(3):
        with c:
            first, _ = outputs()
        first.backward()
        assert cosine(gradient(model), exact) > 0.999


def test_backward_of_one_part_after_the_other():
    trunk, heads = nn.Linear(32, 64), nn.ModuleList(nn.Linear(64, 8) for _ in range(2))
    model, x = nn.ModuleList([trunk, heads]), torch.randn(16, 32)

    def outputs():
        features = trunk(x).tanh()
        return [head(features).square().mean() for head in heads]

    sum(outputs()).backward()
    exact = gradient(model)
    with gact.Compressor(model, bits=8, min_bytes=0):
        first, second = outputs()
    first.backward(retain_graph=True)
    second.backward()
    assert cosine(gradient(model), exact) > 0.999


def test_gradients_of_chosen_inputs_only():
    model, x = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 8)), torch.randn(16, 32, requires_grad=True)
    expected = torch.autograd.grad(model(x).square().sum(), [x, model[2].weight])
    with gact.Compressor(model, bits=8, min_bytes=0):
        loss = model(x).square().sum()
    for got, exact in zip(torch.autograd.grad(loss, [x, model[2].weight]), expected, strict=True):
        assert cosine(got, exact) > 0.999
    assert model[0].weight.grad is None


def test_options_of_backward_are_passed_on():
    model, x = nn.Linear(32, 32), torch.randn(16, 32)
    c = gact.Compressor(model, bits=8, min_bytes=0)
    with c:
        output = model(x).tanh()
    c.backward(output, torch.ones_like(output), retain_graph=True, inputs=[model.bias])
    assert model.weight.grad is None
    assert model.bias.grad is not None
    c.backward(output, torch.ones_like(output))
    assert model.weight.grad is not None


PENALISED = {
    "tanh": lambda model, x: model[1](model[0](x)).tanh().sum(),
    "gelu": lambda model, x: model[1](F.gelu(model[0](x))).square().sum(),
    "softmax": lambda model, x: model[1](model[0](x).softmax(-1)).logsumexp(-1).sum(),
    "norm": lambda model, x: F.layer_norm(model[1](model[0](x)), (8,)).sigmoid().sum(),
}


@pytest.mark.parametrize("inside", [True, False], ids=["penalty inside", "penalty outside"])
@pytest.mark.parametrize("function", PENALISED.values(), ids=PENALISED)
def test_a_gradient_penalty(function, inside):
    model, x = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 8)), torch.randn(64, 32, requires_grad=True)
    c = gact.Compressor(model, bits=8, min_bytes=0)

    def penalty(loss):
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        return (slope.norm(dim=1) - 1).square().mean()

    penalty(function(model, x)).backward()
    exact = gradient(model)
    if inside:
        with c:
            loss = penalty(function(model, x))
    else:
        with c:
            loss = function(model, x)
        loss = penalty(loss)
    loss.backward()
    assert cosine(gradient(model), exact) > 0.99


def test_second_derivatives_flow_through_packed_and_kept_tensors_alike():
    x, y = torch.randn(64, 32, requires_grad=True), torch.randn(64, 32, requires_grad=True)
    for least in (0, 4097 * 4):
        with gact.Compressor(bits=8, min_bytes=least):
            product = (x * 1) * (y * 1) * torch.ones(64, 64, 32)
        (slope,) = torch.autograd.grad(product.sum(), x, create_graph=True)
        (mixed,) = torch.autograd.grad(slope.sum(), y)
        assert torch.equal(mixed, torch.full_like(mixed, 64))


def test_a_penalty_at_kept_precision_is_bit_exact():
    model, x = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 8)), torch.randn(64, 32, requires_grad=True)
    c, results = gact.Compressor(model, min_bytes=20_000), []
    large = torch.randn(100, 100, requires_grad=True) * 1
    for context in (torch.enable_grad(), c):
        with context:
            loss = PENALISED["tanh"](model, x) + large.sin().mean()
            (slope,) = torch.autograd.grad(loss, x, create_graph=True)
            slope.square().sum().backward()
        results.append(gradient(model))
    assert torch.equal(*results)


def test_a_hessian_inside_the_context():
    x = torch.randn(6)
    with gact.Compressor(bits=8, min_bytes=0):
        got = torch.autograd.functional.hessian(lambda v: v.exp().prod() * torch.ones(99).sin().sum(), x)
        kept = (torch.randn(99, requires_grad=True) * 1).sin()
    expected = torch.autograd.functional.hessian(lambda v: v.exp().prod() * torch.ones(99).sin().sum(), x)
    assert torch.allclose(got, expected, rtol=0.05)
    assert kept.requires_grad


INPLACE = {
    "relu": lambda x: F.relu_(x * 1).exp(),
    "tanh": lambda x: (x * 1).tanh_() * 2,
    "dropout": lambda x: F.dropout(x * 1, 0.5, inplace=True).sin(),
    "add": lambda x: (x.sin().add_(x)).cos(),
    "into a view": lambda x: _write_half(x * 1, x.sin()).cos(),
    "copy": lambda x: torch.zeros(64, 32).copy_(x).square(),
    "mul by itself": lambda x: (x * 1).mul_(x.sigmoid()),
    "masked": lambda x: (x * 1).masked_fill_(x > 0, 0.5).exp(),
    "index": lambda x: torch.zeros(64, 32).index_add_(0, torch.arange(64), x).exp(),
}


def _write_half(x, y):
    x[:32] = y[:32] * 2
    return x


@pytest.mark.parametrize("op", INPLACE.values(), ids=INPLACE)
def test_operations_in_place(op):
    x = torch.randn(64, 32, requires_grad=True)
    torch.manual_seed(5)
    expected = op(x)
    (exact,) = torch.autograd.grad(expected.sum(), x)
    torch.manual_seed(5)
    with gact.Compressor(bits=8, min_bytes=0):
        output = op(x)
    assert torch.equal(output, expected)
    (got,) = torch.autograd.grad(output.sum(), x)
    assert cosine(got, exact) > 0.999


def test_saved_outputs_come_back_with_their_gradient_function():
    x = torch.randn(64, 32, requires_grad=True)
    with gact.Compressor(bits=8, min_bytes=0):
        output = (x * 1).sigmoid()
    (result,) = find_saved(output, "result")
    assert result.requires_grad
    assert result.grad_fn is output.grad_fn
    assert ((result - output).abs() <= widest_scale(output.detach(), 8) + rounding(output)).all()


class Squared(torch.autograd.Function):
    """Saves an input, an output and a tensor that is neither; can be differentiated twice."""

    @staticmethod
    def forward(ctx, x):
        output, aside = x * x, x + x
        ctx.save_for_backward(x, output, aside, None)
        return output

    @staticmethod
    def backward(ctx, grad):
        x, output, aside, nothing = ctx.saved_tensors
        assert nothing is None
        assert output.shape == x.shape
        return grad * (aside + (x * 2)) / 2


gact.register_need(Squared, "value")


def test_a_custom_function():
    x = torch.randn(64, 32, requires_grad=True)
    c = gact.Compressor(bits=8, min_bytes=0)
    with c:
        output = Squared.apply(x * 1) * 1
    (got,) = torch.autograd.grad(output.sum(), x)
    assert cosine(got, 2 * x) > 0.999
    assert c.report().coverage == 100
    assert c.report().rows[0].count + sum(row.count for row in c.report().rows[1:]) == 3


def test_anomaly_mode():
    model, x = nn.Linear(32, 32), torch.randn(16, 32)
    with pytest.warns(UserWarning, match="Anomaly"):
        anomaly = torch.autograd.detect_anomaly()
    with anomaly, gact.Compressor(model, min_bytes=0):
        model(x).tanh().sum().backward()
    assert model.weight.grad is not None


def test_hooks_on_tensors_see_what_they_see_without():
    seen = []
    for context in (torch.enable_grad(), gact.Compressor(bits=8, min_bytes=0)):
        x = torch.linspace(-1, 1, 512, requires_grad=True)
        with context:
            middle = x * 2
            middle.register_hook(seen.append)
            output = (middle * 3).tanh()
        output.sum().backward()
    assert cosine(*seen) > 0.999


def test_no_grad_inside_saves_nothing():
    model, x = nn.Linear(32, 32), torch.randn(16, 32)
    c = gact.Compressor(model, min_bytes=0)
    with c:
        loss = model(x).tanh().sum()
        before = c.report()
        with torch.no_grad():
            model(x).tanh()
        assert c.report() == before
    loss.backward()


def test_tensors_of_inference_mode_raise_as_in_plain_autograd():
    with torch.inference_mode():
        x = torch.randn(16, 32)
    with gact.Compressor(min_bytes=0):
        with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
            x * torch.randn(16, 32, requires_grad=True)
        output = torch.randn(16, 32, requires_grad=True).mul(2).sin()
    output.sum().backward()


def test_scripted_modules():
    model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.trace(model, torch.randn(4, 32))
    x = torch.randn(16, 32)
    exact = plain_gradient(model, x)
    with gact.Compressor(model, bits=8, min_bytes=0):
        loss = scripted(x).square().mean()
    loss.backward()
    assert cosine(gradient(model), exact) > 0.999
