"""Private names of torch: all that are used are there, and one room alone uses them."""

import ast
from pathlib import Path

import pytest
import torch
from torch._C._dynamo.eval_frame import set_code_exec_strategy

import gact
from gact.autograd import internals

PACKAGE = Path(gact.__file__).parent
ROOM = "autograd/"
NODE = (torch.ones(2, requires_grad=True) * torch.ones(2)).grad_fn


@pytest.mark.parametrize("name", internals.__all__)
def test_what_is_named_is_there(name):
    assert getattr(internals, name) is not None


def test_functions_do_what_is_expected_of_them():
    assert internals.top_hooks(True) is None
    assert internals.hooks_refusal() is None
    assert internals.graph_task() == -1
    assert internals.trace_of_now() is None
    assert internals.transform_level() is None
    before = internals.next_sequence_number()
    (torch.ones(2, requires_grad=True) * 2).sum()
    assert internals.next_sequence_number() == before + 2
    assert internals.node_class("MulBackward0") is type(NODE)
    assert internals.node_class("NoSuchBackward") is None
    assert internals.has_kernel("gact::quantize", "CPU")
    assert sorted(internals.CURVES) == ["elu", "gelu", "mish", "silu", "softplus"]
    x = torch.ones(2)
    internals.set_version((x,), (7,))
    assert x._version == 7


@pytest.mark.parametrize(
    "name", ["_raw_saved_self", "_raw_saved_other", "_saved_other", "_sequence_nr", "next_functions"]
)
def test_nodes_show_what_they_hold(name):
    assert hasattr(NODE, name)


def test_a_custom_node_shows_what_it_holds():
    class Kept(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    result = Kept.apply(torch.ones(2, requires_grad=True))
    node = result.grad_fn  # before torch 2.13 it does not keep what it holds alive by itself
    assert len(node._raw_saved_tensors) == 1
    assert issubclass(node._forward_cls, torch.autograd.Function)


@pytest.mark.parametrize("name", ["_weak_ref", "_free_weak_ref", "_cdata"])
def test_storages_have_addresses(name):
    assert hasattr(torch.ones(2).untyped_storage(), name)


def test_dynamo_takes_a_strategy_for_a_function():
    assert callable(set_code_exec_strategy)


def private(path: Path) -> list[str]:
    """Private names of torch in a file: imports from, and attributes of, modules that begin with an underscore."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("torch."):
            found += [node.module] if any(part.startswith("_") for part in node.module.split(".")) else []
            found += [f"{node.module}.{each.name}" for each in node.names if each.name.startswith("_")]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
            found += [f"torch.{node.attr}"] if node.attr.startswith("_") and not node.attr.startswith("__") else []
    return found


def test_one_room_alone_imports_them():
    files = {str(path.relative_to(PACKAGE)): path for path in PACKAGE.rglob("*.py")}
    found = {name: private(path) for name, path in files.items() if not name.startswith(ROOM)}
    assert {name: names for name, names in found.items() if names} == {}
