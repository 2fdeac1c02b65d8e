"""Custom Functions and operators: nobody vouches for what they save, so gradients are plain autograd's to the bit."""

import pytest
import torch
from kinds import Kinds, mlp
from measure import compressor, network_gradient, off, reference, same
from torch import nn
from torch.autograd.function import once_differentiable


class Inputs(torch.autograd.Function):
    """Saves its inputs; backward divides by one and takes the sign of the other."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x.abs() / (y.abs() + 1e-3)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return grad * x.sign() / (y.abs() + 1e-3), -grad * x.abs() / (y.abs() + 1e-3) ** 2 * y.sign()


class Output(torch.autograd.Function):
    """Saves its output."""

    @staticmethod
    def forward(ctx, x):
        result = x.exp()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


class Intermediate(torch.autograd.Function):
    """Saves what it computed on the way, and None; only once differentiable."""

    @staticmethod
    def forward(ctx, x):
        scale = x.square().mean(-1, keepdim=True).add(1e-4).rsqrt()
        ctx.save_for_backward(x > 0, None, scale.expand_as(x).contiguous())
        return torch.where(x > 0, x, 0.1 * x) * scale

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        above, nothing, scale = ctx.saved_tensors
        assert nothing is None
        return torch.where(above, grad, 0.1 * grad) / (1 / scale)


class SetUp(torch.autograd.Function):
    """Saves in setup_context."""

    @staticmethod
    def forward(x, power):
        return x.abs() ** power, x.sign()

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.power = inputs
        ctx.save_for_backward(x, output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx, grad, _):
        x, sign = ctx.saved_tensors
        return grad * ctx.power * x.abs() ** (ctx.power - 1) * sign, None


class Nested(torch.autograd.Function):
    """Runs a graph of its own inside forward, and through it in backward."""

    @staticmethod
    def forward(ctx, x, weight):
        with torch.enable_grad():
            inner = [x.detach().requires_grad_(), weight.detach().requires_grad_()]
            result = torch.sin(inner[0] @ inner[1]) / (inner[0].square().sum(-1, keepdim=True) + 0.1)
        ctx.save_for_backward(*inner, result)
        ctx.inner, ctx.result = inner, result
        return result.detach()

    @staticmethod
    def backward(ctx, grad):
        return torch.autograd.grad(ctx.result, ctx.inner, grad)


class Recomputed(torch.autograd.Function):
    """Saves inputs, and runs forward again in backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.floor(4 * x) + x.sigmoid()

    @staticmethod
    def backward(ctx, grad):
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            return torch.autograd.grad(Recomputed.again(x), x, grad)[0]

    @staticmethod
    def again(x):
        return torch.where(torch.floor(4 * x) % 2 == 0, x.sigmoid(), 0.5 * x)


@torch.library.custom_op("gact_gradients::divided", mutates_args=())
def divided(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x.clone() / (y * y + 1e-3)


def divided_setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs, output)


def divided_backward(ctx, grad):
    _, y, result = ctx.saved_tensors
    return grad / (y * y + 1e-3), -grad * result * 2 * y / (y * y + 1e-3)


divided.register_autograd(divided_backward, setup_context=divided_setup)

KINDS = Kinds()

FUNCTIONS = {
    "inputs": lambda h, w: Inputs.apply(h, h.flip(-1) + 0.5),
    "output": lambda h, w: Output.apply(h),
    "intermediate": lambda h, w: Intermediate.apply(h),
    "set up": lambda h, w: SetUp.apply(h, 1.5)[0],
    "recomputed": lambda h, w: Recomputed.apply(h),
    "custom op": lambda h, w: divided(h, h.flip(0)),
    "custom op by name": lambda h, w: torch.ops.gact_gradients.divided.default(h, h.flip(0)),
    "two in a row": lambda h, w: Output.apply(Inputs.apply(h, h.flip(-1)).clamp(max=2)),
}


def exact_fault(g, g0):
    """What is wrong with a gradient that must be equal to the bit."""
    return "" if same(g, g0) else f"{int((g != g0).sum())} of {len(g)} elements differ, off by {off(g, g0) ** 0.5:.1g}"


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_custom_functions_are_exact(name, bits):
    """What comes before and after saves nothing, so that what differs comes from the function alone."""
    torch.manual_seed(0)
    bias, weight = nn.Parameter(torch.randn(64, 96)), nn.Parameter(torch.randn(96, 96) / 10)
    model = nn.ParameterList([bias, weight])
    x = torch.randn(64, 96)

    gradient = network_gradient(model, lambda: FUNCTIONS[name](x + bias, weight + 0).sum())
    g0, fault = reference(gradient)
    fault = fault or exact_fault(gradient(compressor(model, bits)), g0)
    assert not fault, f"{name}: {fault}"


@KINDS
def between_layers():
    """What the layers around a function save is compressed."""
    model, x = nn.ModuleList([mlp(32, 64, 64), mlp(64, 64, 8)]), torch.randn(96, 32)
    return model, lambda: model[1](Intermediate.apply(model[0](x))).square().mean()


@KINDS
def nested():
    """What ops inside a function save for a graph of its own is theirs, and may be compressed."""
    model, x = nn.ModuleList([mlp(32, 64, 64), nn.Linear(64, 48, bias=False)]), torch.randn(96, 32)
    return model, lambda: Nested.apply(model[0](x), model[1].weight.t()).square().mean()


@pytest.mark.parametrize("name", KINDS)
def test_custom_functions_in_networks(name):
    KINDS.check(name)
