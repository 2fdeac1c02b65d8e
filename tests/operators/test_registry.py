"""Needs that users state."""

import pytest
import torch

import gact
from gact.operators import need_of, prepare, register_need, registry

ALIVE = []
"""Before torch 2.13 the node of a custom Function does not keep what it knows once its result is gone."""


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y, z):
        ctx.save_for_backward(x, y, z)
        return x * y / z

    @staticmethod
    def backward(ctx, grad):
        x, y, z = ctx.saved_tensors
        return grad * y / z, grad * x / z, -grad * x * y / (z * z)


@pytest.fixture(autouse=True)
def _as_before():
    by_name, by_class = dict(registry.BY_NAME), dict(registry._BY_CLASS)
    prepare()
    yield
    registry.BY_NAME.clear()
    registry.BY_NAME.update(by_name)
    registry._BY_CLASS.clear()
    registry._BY_CLASS.update(by_class)


def needs(node, count=3):
    return [need_of(node, str(place), torch.ones(())) for place in range(count)]


def kinds(node, count=3):
    return [need.kind for need in needs(node, count)]


def scaled():
    result = Scale.apply(*(torch.ones(4, requires_grad=True) for _ in range(3)))
    ALIVE.append(result)
    return result.grad_fn


def test_what_nobody_registered_is_unknown():
    (first, *_) = needs(scaled())
    assert first.kind == "unknown"
    assert first.why == "ScaleBackward is not listed"


def test_one_need_holds_for_all_tensors():
    register_need(Scale, "value")
    assert kinds(scaled()) == ["value"] * 3


def test_one_need_for_each_tensor():
    register_need(Scale, "value", "wide", "exact")
    assert kinds(scaled(), 4) == ["value", "value", "exact", "unknown"]
    assert [need.min_bits for need in needs(scaled())][:2] == [1, 8]


def test_to_register_again_replaces():
    register_need(Scale, "value")
    register_need(Scale, "sign", "shape", "exact")
    assert kinds(scaled()) == ["mask", "shape", "exact"]
    assert needs(scaled())[0].mask.low == 0


def test_another_function_of_the_same_name_is_another_one():
    other = type("Scale", (torch.autograd.Function,), {"forward": Scale.forward, "backward": Scale.backward})
    register_need(other, "value")
    assert kinds(scaled()) == ["unknown"] * 3


def test_by_the_name_of_the_node():
    register_need("ScaleBackward", "value", "value", "exact")
    assert kinds(scaled()) == ["value", "value", "exact"]


def test_an_op_of_torch_library():
    @torch.library.custom_op("gact_needs::swish", mutates_args=())
    def swish(x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x)

    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return grad * s * (1 + x * (1 - s))

    swish.register_autograd(backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
    result = swish(torch.ones(3, requires_grad=True))
    node = result.grad_fn
    assert node.name() == "GeneratedBackwardFor_gact_needs_swish_defaultBackward"
    assert kinds(node, 1) == ["unknown"]
    register_need(node.name(), "value")
    assert kinds(node, 1) == ["value"]


def test_a_node_of_torch_by_slots_keeps_what_was_not_named():
    node = (torch.ones(3, requires_grad=True) / torch.ones(3, requires_grad=True)).grad_fn
    register_need("DivBackward0", other="wide")
    assert need_of(node, "other", torch.ones(())).min_bits == 8
    assert need_of(node, "self", torch.ones(())).kind == "value"


def test_a_node_of_torch_with_one_need():
    node = torch.ones(3, requires_grad=True).abs().grad_fn
    assert need_of(node, "self", torch.ones(())).kind == "exact"
    register_need("AbsBackward0", "value")
    assert need_of(node, "self", torch.ones(())).kind == "value"


def test_compiled_functions_are_named():
    name = type("CompiledFunction", (torch.autograd.Function,), {"forward": Scale.forward, "backward": Scale.backward})
    result = name.apply(*(torch.ones(4, requires_grad=True) for _ in range(3)))
    node = result.grad_fn
    assert needs(node)[0].why == "compiled"


@pytest.mark.parametrize("target", [torch.nn.ReLU, torch.relu, 3, "", None])
def test_the_target_must_be_a_function_or_a_name(target):
    with pytest.raises(TypeError, match=r"subclass of torch\.autograd\.Function or the name of a node class"):
        register_need(target, "value")


@pytest.mark.parametrize("given", [{"needs": ("linear",)}, {"slots": {"other": "linear"}}])
def test_an_unknown_word_is_refused(given):
    with pytest.raises(ValueError, match=r'need \'linear\'; allowed are "value", "wide", "sign", "exact", "shape"'):
        register_need("SomeBackward", *given.get("needs", ()), **given.get("slots", {}))


def test_no_need_is_refused():
    with pytest.raises(ValueError, match=r"register_need\(Scale\) got no need; give one of"):
        register_need(Scale)


def test_a_slot_that_torch_has_not_is_refused():
    with pytest.raises(ValueError, match=r"got the slot 'input'; it has other, self"):
        register_need("MulBackward0", input="value")


def test_positions_are_refused_where_slots_have_names():
    with pytest.raises(ValueError, match=r"got 2 needs; name its slots instead: other, self"):
        register_need("MulBackward0", "value", "exact")


@pytest.mark.parametrize("given", [["value"], ("value", "exact")])
def test_words_in_a_list_are_refused(given):
    with pytest.raises(ValueError, match=r"got the need .*; allowed are .*, one argument for each tensor"):
        register_need(Scale, given)
    with pytest.raises(ValueError, match="got the need 3; allowed are"):
        register_need(Scale, 3)


def test_a_function_has_no_slots_with_names():
    with pytest.raises(
        ValueError, match="got the slot 'x'; what a Function saves has no names: give one need for each"
    ):
        register_need(Scale, x="value")


def test_words_beyond_the_tensors_wait_for_a_call_that_saves_more():
    register_need(Scale, "value", "exact", "value", "sign")
    assert kinds(scaled()) == ["value", "exact", "value"]


def test_a_name_that_no_node_has_is_that_of_one_to_come():
    register_need("ToComeBackward", "value")
    to_come = type("ToCome", (torch.autograd.Function,), {"forward": Scale.forward, "backward": Scale.backward})
    result = to_come.apply(*(torch.ones(4, requires_grad=True) for _ in range(3)))
    node = result.grad_fn
    assert kinds(node) == ["value"] * 3


@pytest.mark.parametrize("name", ["AmaxBackward0", "MaximumBackward0"])
@pytest.mark.parametrize("given", [{"needs": ("value",)}, {"slots": {"self": "sign"}}])
def test_what_a_node_compares_may_not_be_rounded(name, given):
    with pytest.raises(ValueError, match=f'{name} compares what it saved with each other.* allowed is "exact"'):
        register_need(name, *given.get("needs", ()), **given.get("slots", {}))


def test_what_a_node_compares_is_exact_where_the_user_says_so():
    def codecs():
        x = torch.randn(64, 64, requires_grad=True)
        with gact.Compressor(bits=4, adaptive=False, min_bytes=0) as compressor:
            ((x * 1.0).amax(1) + (x * 2.0).sin().sum(1)).sum().backward()
        return {row.codec for row in compressor.report().rows if row.op == "amax" and row.plain_bytes == x.nbytes}

    assert codecs() != {"keep"}
    register_need("AmaxBackward0", "exact")
    assert codecs() == {"keep"}
