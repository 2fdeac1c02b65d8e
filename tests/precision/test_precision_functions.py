"""Custom Functions whose backward does more than return gradients, in steps that are measured."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.autograd.function import once_differentiable

import gact
from training import clone, compressor, gradient, passes, step, uniform

COUNT = 0
CALLS = []


class Scale(torch.autograd.Function):
    """Multiplies by a weight; ``more`` says what backward does besides."""

    more = staticmethod(lambda ctx, gradient: None)

    @classmethod
    def forward(cls, ctx, x, weight):
        ctx.save_for_backward(x)
        ctx.weight, ctx.sign, ctx.parts, ctx.runs = weight, weight.detach().sign(), [1, 2], 0
        if cls.more is uses_up:
            ctx.items = iter([1])
        return x * weight

    @classmethod
    def backward(cls, ctx, gradient):
        (x,) = ctx.saved_tensors
        cls.more(ctx, gradient)
        return gradient * ctx.weight, (gradient * x).sum(0)


def frees(ctx, gradient):
    del ctx.sign
    ctx.parts.pop()
    assert ctx.parts == [1]
    ctx.runs += 1
    assert ctx.runs == 1


def counts(ctx, gradient):
    global COUNT
    COUNT += 1
    CALLS.append(float(gradient.norm()))
    ctx.module.calls += 1
    type(ctx)._forward_cls.total += 1


def differentiates(ctx, gradient):
    with torch.enable_grad():
        again = ctx.weight.detach().requires_grad_()
        torch.autograd.backward((again * 2).sum())
        assert again.grad is not None
        torch.autograd.grad((ctx.weight * 2).sum(), ctx.weight)


def runs_forward_again(ctx, gradient):
    ctx.module.norm(gradient)
    ctx.module.total += 1


def sets_attribute(ctx, gradient):
    ctx.weight.main_grad = ctx.weight.main_grad + gradient.sum(0)


def adds_to_attribute(ctx, gradient):
    ctx.weight.main_grad.add_(gradient.sum(0))


def adds_past_torch(ctx, gradient):
    ctx.weight.main_grad.numpy()[...] += gradient.sum(0).numpy()


def adds_to_gradient(ctx, gradient):
    with torch.enable_grad():
        torch.autograd.backward((ctx.weight * gradient.detach()).sum())


def sets_gradient(ctx, gradient):
    ctx.weight.grad = gradient.sum(0) if ctx.weight.grad is None else ctx.weight.grad + gradient.sum(0)


def writes_to_saved(ctx, gradient):
    ctx.saved_tensors[0].numpy()[...] *= 2
    assert float(ctx.saved_tensors[0].abs().max()) <= 2


def frees_memory(ctx, gradient):
    assert ctx.sign.untyped_storage().nbytes() > 0
    ctx.sign.untyped_storage().resize_(0)


def replaces_memory(ctx, gradient):
    assert ctx.sign.numel() == 64
    ctx.sign.data = torch.empty(0)


def uses_up(ctx, gradient):
    next(ctx.items)


def swallows(ctx, gradient):
    try:
        adds_to_attribute(ctx, gradient)
    except Exception:
        ctx.weight.main_grad = None


MEASURED = {
    "nothing": Scale.more,
    "frees its context": frees,
    "counts": counts,
    "differentiates its own": differentiates,
    "sets an attribute of a weight": sets_attribute,
    "runs forward again": runs_forward_again,
}
REFUSED = {
    "adds to an attribute of a weight": (adds_to_attribute, r"writes to a tensor that was there before \(aten::add_"),
    "does so past torch": (adds_past_torch, "changes tensors that were there before"),
    "adds to the gradient": (adds_to_gradient, "runs a backward pass of its own, which adds to grad"),
    "sets the gradient": (sets_gradient, "changes tensors that were there before"),
    "writes to what it saved": (writes_to_saved, "changes tensors that were there before"),
    "frees memory": (frees_memory, "changes tensors that were there before"),
    "replaces memory": (replaces_memory, "changes tensors that were there before"),
    "uses up an iterator": (uses_up, "may read of a list_iterator"),
    "hides what stops it": (swallows, "writes to a tensor that was there before"),
}


def function_of(more):
    return type("Doing", (Scale,), {"more": staticmethod(more), "total": 0})


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(32, 64), nn.Linear(64, 8)
        self.weight = nn.Parameter(torch.randn(64))
        self.norm, self.total = nn.BatchNorm1d(64, affine=False), torch.zeros(())
        self.calls = 0
        self.function = Scale

    def forward(self, x):
        hidden = self.function.apply(self.first(x).tanh(), self.weight)
        hidden.grad_fn.module = self
        return self.last(hidden.sigmoid())


def outcome(model, x, c, steps):
    """Gradients of all kinds after each step, accumulated over two losses, and what was counted."""
    seen = []
    for _ in range(steps):
        model.zero_grad()
        model.weight.main_grad = torch.zeros(64)
        for _ in range(2):
            step(c, model, x)
        counted = (model.calls, COUNT, len(CALLS), model.function.total)
        moved = (int(model.norm.num_batches_tracked), float(model.total))
        seen.append((gradient(model), model.weight.main_grad, counted + moved))
    return seen


def trained(more, monkeypatch):
    """What a compressor that measures leaves, and one of the same codes that does not."""
    results = []
    torch.manual_seed(0)
    model, x = Net(), torch.randn(64, 32)
    twin = clone(model)
    for net, made in ((twin, uniform(twin, bits=6)), (model, compressor(model, bits=6))):
        monkeypatch.setitem(globals(), "COUNT", 0)
        CALLS.clear()
        net.function = function_of(more)
        results.append((outcome(net, x, made, 2), made))
    return results


def assert_alike(seen, expected):
    for (one, main, counted), (other, other_main, other_counted) in zip(seen, expected, strict=True):
        assert float((one - other).norm() / other.norm()) < 0.05  # the noise of 6 and of 8 bits
        assert main is other_main is None or float((main - other_main).norm()) <= 0.05 * float(other_main.norm())
        assert counted == other_counted


@pytest.mark.parametrize("more", MEASURED.values(), ids=MEASURED)
def test_what_can_be_put_back_is_measured(more, monkeypatch):
    (expected, _), (seen, c) = trained(more, monkeypatch)
    assert passes(c) > 1
    assert c.report().unmeasured == ""
    assert_alike(seen, expected)


@pytest.mark.parametrize(("more", "why"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_is_stopped_and_named(more, why, monkeypatch):
    with pytest.warns(gact.GactWarning, match=f"could not measure.*6 bits.*the backward of Doing {why}"):
        (expected, _), (seen, c) = trained(more, monkeypatch)
    assert passes(c) == 0
    assert "gact.register_repeatable(Doing)" in c.report().unmeasured
    assert_alike(seen, expected)


def test_who_answers_for_a_function_has_it_measured(monkeypatch):
    def makes_again(ctx, gradient):
        ctx.weight.main_grad.copy_(gradient.sum(0))

    model, x = Net(), torch.randn(64, 32)
    model.function, model.weight.main_grad = function_of(makes_again), torch.zeros(64)
    gact.register_repeatable(model.function)
    c = compressor(model)
    for _ in range(2):
        step(c, model, x)
    assert passes(c) > 1


def test_who_answers_for_nothing_is_told():
    with pytest.raises(TypeError, match=r"register_repeatable\(\) got 3; the target must be a subclass"):
        gact.register_repeatable(3)


def test_a_function_that_talks_to_others_is_stopped(monkeypatch):
    def reduces(ctx, gradient):
        dist.all_reduce(ctx.weight.detach().clone())

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with pytest.warns(gact.GactWarning, match="talks to other processes"):
            (expected, _), (seen, c) = trained(reduces, monkeypatch)
    finally:
        dist.destroy_process_group()
    assert passes(c) == 0
    assert_alike(seen, expected)


class Dirty(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.mul_(2)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return gradient.mul(2)


class Cast(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return gradient @ weight.t(), x.t() @ gradient


@pytest.mark.parametrize("kind", ["dirty", "cast", "library"])
def test_functions_of_other_kinds_are_measured(kind):
    def loss(model, x):
        hidden = model.first(x).tanh()
        if kind == "dirty":
            hidden = Dirty.apply(hidden * 1)
        elif kind == "cast":
            with torch.autocast("cpu", torch.bfloat16):
                hidden = Cast.apply(hidden, torch.diag(model.weight)).float()
        else:
            hidden = doubled(hidden)
        return model.last(hidden.sigmoid()).square().mean()

    model, x = Net(), torch.randn(64, 32)
    twin = clone(model)
    c = compressor(model)
    for net, made in ((model, c), (twin, uniform(twin))):
        for _ in range(2):
            net.zero_grad()
            step(made, net, x, loss)
    assert passes(c) > 1
    assert torch.equal(gradient(model), gradient(twin))


@torch.library.custom_op("gact_tests::doubled", mutates_args=())
def doubled(x: torch.Tensor) -> torch.Tensor:
    return x * 2


doubled.register_autograd(lambda ctx, gradient: gradient * 2)


def test_an_undefined_gradient_is_none():
    class Hiding(Scale):
        @classmethod
        def backward(cls, ctx, gradient):
            return gradient * ctx.weight, None

    model, x = Net(), torch.randn(64, 32)
    model.function = Hiding
    c = compressor(model)
    for _ in range(2):
        step(c, model, x)
    assert passes(c) > 1
    assert model.weight.grad is None


def test_nothing_of_a_measurement_stays_on_a_node():
    model, x = Net(), torch.randn(64, 32)
    c = compressor(model)
    step(c, model, x)
    with c:
        hidden = Scale.apply(model.first(x).tanh(), model.weight)
        loss = model.last(hidden.sigmoid()).square().mean()
    before = set(vars(hidden.grad_fn))
    c.backward(loss)
    assert passes(c) > 1
    assert set(vars(hidden.grad_fn)) == before
