"""Derived tensors: what unpacks is the op applied to what its sources unpack to, in the layout that was saved."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gact


class Save(torch.autograd.Function):
    """Saves its input, which reads it linearly as far as the compressor knows."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sum()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient.expand(x.shape)


gact.register_need(Save, "value")


def save(x):
    """The sum of ``x``, by a node that saves it, and an op that leads back to the node."""
    output = Save.apply(x)
    output.add(0)
    return output


def compressor(bits=4, **options):
    return gact.Compressor(bits=bits, min_bytes=0, **options)


def activation(*size):
    return torch.randn(*size, requires_grad=True) * 1.0


def saved(node):
    return node.grad_fn.saved_tensors[0]


def codecs(c):
    return [row.codec for row in c.report().rows if row.op == "Save"]


POINTWISE = {
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "scaled": lambda x: x * 0.5,
    "shifted": lambda x: x + 1.0,
    "negated": torch.neg,
    "cast": lambda x: x.to(torch.bfloat16),
    "joined": lambda x: torch.cat([x, x.neg()], 1),
}


@pytest.mark.parametrize("op", POINTWISE.values(), ids=POINTWISE)
def test_a_pointwise_result_is_the_op_of_the_unpacked_source(op):
    x = activation(64, 48)
    with compressor(8) as c:
        source, result = save(x), save(op(x))
    assert codecs(c) == ["groups", "derived"]
    assert torch.equal(saved(result), op(saved(source)))
    assert sum(row.kept_bytes for row in c.report().rows if row.codec == "derived") == 0


VIEWS = {
    "transposed": lambda x: x.transpose(0, 1),
    "permuted": lambda x: x.permute(2, 0, 1),
    "reshaped": lambda x: x.reshape(-1, 8),
    "expanded": lambda x: x.unsqueeze(0).expand(3, *x.shape),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize(
    "layout", [lambda x: x, lambda x: x.transpose(1, 2).contiguous().transpose(1, 2)], ids=["contiguous", "strided"]
)
def test_a_view_of_a_derived_tensor_comes_back_in_its_own_layout(view, layout):
    x = layout(activation(6, 10, 16))
    with compressor(8) as c:
        source = save(x)
        whole = F.gelu(x)
        result = save(view(whole))
    assert saved(result).stride() == view(whole).stride()
    if view(whole)._is_view():
        assert codecs(c) == ["groups", "derived"]
        assert torch.equal(saved(result), view(F.gelu(saved(source))))
    else:
        assert (saved(result) - view(whole)).abs().max() < 0.5


def test_a_slice_of_a_derived_tensor_is_right():
    x = activation(32, 48)
    with compressor(8):
        _source = save(x)
        result = save(F.gelu(x)[:, 8:24])
    exact = F.gelu(x)[:, 8:24]
    assert saved(result).stride() == exact.stride()
    assert (saved(result) - exact).abs().max() < 0.05


def test_relu_keeps_its_exact_support():
    x = activation(64, 64)
    with compressor(2) as c:
        _source = save(x)
        result = save(F.relu(x))
    assert "derived" in codecs(c)
    assert torch.equal(saved(result)[x <= 0], torch.zeros_like(x)[x <= 0])


def test_dropout_keeps_its_exact_mask():
    x = activation(64, 64)
    with compressor(4) as c:
        source = save(x)
        dropped = F.dropout(x, 0.25)
        result = save(dropped)
    mask = (dropped != 0) / 0.75
    assert "derived" in codecs(c)
    assert torch.allclose(saved(result), saved(source) * mask)


NORMS = {
    "layer norm": lambda: (nn.LayerNorm(48), (8, 16, 48)),
    "layer norm without weight": lambda: (nn.LayerNorm(48, elementwise_affine=False), (8, 16, 48)),
    "layer norm over two": lambda: (nn.LayerNorm((16, 48)), (32, 16, 48)),
    "batch norm": lambda: (nn.BatchNorm2d(6), (4, 6, 8, 8)),
    "batch norm of vectors": lambda: (nn.BatchNorm1d(32, affine=False), (64, 32)),
    "group norm": lambda: (nn.GroupNorm(3, 6), (4, 6, 8, 8)),
}


@pytest.mark.parametrize("make", NORMS.values(), ids=NORMS)
def test_a_norm_is_rebuilt_with_the_statistics_of_the_forward_pass(make):
    norm, size = make()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    x = 3.0 + 2.0 * activation(*size)
    with compressor(8) as c:
        exact = norm(x)
        result = save(exact)
    assert "derived" in codecs(c)
    # The norm is affine in its input given the statistics, so the error is that of eight bits times its steepest slope.
    slope = max((parameter.abs().max().item() for parameter in norm.parameters()), default=1.0) / 1.5
    assert (saved(result) - exact).abs().max() <= slope * (x.max() - x.min()) / 255 * 1.1 + 1e-4


def test_a_norm_over_other_statistics_is_not_the_same():
    x = activation(16, 64)
    with compressor(2):
        _source = save(x)
        result = save(F.layer_norm(x, (64,)))
    errors = saved(result) - F.layer_norm(x, (64,))
    # Two bits add a third to the variance; statistics taken afresh would shrink every value by that much.
    slope = (saved(result) * F.layer_norm(x, (64,))).sum() / F.layer_norm(x, (64,)).square().sum()
    assert errors.abs().max() > 0
    assert abs(slope - 1) < 0.1


def test_a_source_changed_in_place_is_no_source():
    x = activation(64, 64)
    with compressor(8):
        _source = save(x)
        with torch.no_grad():
            x.add_(1.0)
        result = save(F.gelu(x))
    assert (saved(result) - F.gelu(x)).abs().max() < 0.05


def test_a_result_changed_in_place_is_not_taken_for_what_the_recipe_makes():
    x = activation(64, 64)
    with compressor(8):
        _source = save(x)
        y = F.gelu(x)
        y = y.add_(1.0)
        result = save(y)
    assert (saved(result) - F.gelu(x) - 1).abs().max() < 0.05


def test_a_small_operand_changed_afterwards_does_no_harm():
    x, shift = activation(64, 64), torch.ones(64)
    with compressor(8) as c:
        source = save(x)
        result = save(x + shift)
    shift.zero_()
    assert "derived" in codecs(c)
    assert torch.equal(saved(result), saved(source) + 1)


def test_long_chains_are_cut():
    x = activation(64, 64)
    with compressor(8) as c:
        _source = save(x)
        outputs = []
        for _ in range(30):
            x = x * 0.9
            outputs.append(save(x))
    found = codecs(c)
    assert found.count("groups") == 3
    assert found.count("derived") == 28
    sum(outputs).backward()


def test_recipes_hold_nothing_alive():
    x = activation(64, 64)
    with compressor() as c:
        _source = save(x)
        y = F.gelu(x)
        reference = weakref.ref(y)
        del y
        gc.collect()
        assert reference() is None
    assert c.report().kept_bytes > 0


def test_without_derive_every_region_has_codes():
    x = activation(64, 64)
    with compressor(derive=False) as c:
        source = save(x)
        result = save(F.gelu(x))
    assert codecs(c) == ["groups", "groups"]
    assert not torch.equal(saved(result), F.gelu(saved(source)))


@pytest.mark.parametrize("normed", [False, True], ids=["input", "norm"])
def test_layers_that_share_an_input_under_autocast_hold_it_once(normed):
    model = nn.ModuleList([nn.Linear(64, 64) for _ in range(3)])
    x = activation(32, 64)
    c = gact.Compressor(model, bits=8, min_bytes=0)
    with c, torch.autocast("cpu", torch.bfloat16):
        h = F.layer_norm(x, (64,)) if normed else x
        loss = sum(layer(h).float().square().mean() for layer in model)
    rows = [row for row in c.report().rows if row.op == "linear" and row.reason != "copy of a parameter"]
    assert [row.kept_bytes > 0 for row in rows] == [not normed, False, False]
    loss.backward()
    exact = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        h = F.layer_norm(x.detach(), (64,)) if normed else x.detach()
        sum(layer(h).float().square().mean() for layer in model).backward()
    for parameter, gradient in zip(model.parameters(), exact, strict=True):
        assert (parameter.grad - gradient).norm() <= 0.02 * gradient.norm()


def test_gradients_of_two_backwards_through_derived_tensors_are_equal():
    model = nn.Sequential(
        nn.Linear(32, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4)
    )
    with gact.Compressor(model, bits=3, min_bytes=0):
        loss = model(torch.randn(64, 32)).square().mean()
    first = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    second = torch.autograd.grad(loss, list(model.parameters()))
    assert all(map(torch.equal, first, second))


class SaveAfter(torch.autograd.Function):
    """Saves its input after running an op on it."""

    @staticmethod
    def forward(ctx, x, op):
        ctx.save_for_backward(x)
        return op(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


gact.register_need(SaveAfter, "value")


@pytest.mark.parametrize("op", [torch.neg, F.softsign], ids=["op", "composite"])
def test_what_ran_before_a_custom_function_saves_does_not_choose_the_width(op):
    x = activation(64, 64)
    with compressor(3) as c:
        _result = SaveAfter.apply(x, op) * 1
    assert [row.bits for row in c.report().rows if row.op == "SaveAfter"] == [3]
