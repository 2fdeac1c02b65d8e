"""What a backward gives when one saved tensor comes back as another one."""

import warnings
from functools import cache
from itertools import islice

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from gact.codecs.masks import Mask

DEFAULT = torch.get_default_dtype()
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402 - changes the default dtype

torch.set_default_dtype(DEFAULT)


LEFT_OUT = {
    "as_strided.partial_views": "reads what lies beyond its input, which a copy has not",
    "linalg.eig": "the phase of an eigenvector is free, so no fixed loss of it has a gradient",
}


class Held:
    """What one pack call was given, and what the next unpack calls give."""

    def __init__(self, tensor):
        self.tensor = tensor.detach()
        self.back = self.tensor


def saves():
    """Hooks that keep every tensor exactly."""
    return torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.back)


def slots_of(node_class):
    return [name.removeprefix("_raw_saved_") for name in dir(node_class) if name.startswith("_raw_saved_")]


def nodes_of(outputs):
    """Every node behind some tensors."""
    open_, seen = [output.grad_fn for output in outputs if output.grad_fn is not None], set()
    while open_:
        node = open_.pop()
        if node not in seen:
            seen.add(node)
            open_ += [following for following, _ in node.next_functions if following is not None]
    return seen


def held_slots(nodes):
    """Node, slot and what is held in it."""
    for node in nodes:
        for slot in slots_of(node):
            saved = getattr(node, f"_raw_saved_{slot}")
            for part in saved if isinstance(saved, (tuple, list)) else (saved,):
                try:
                    held = part.data
                except RuntimeError:
                    continue
                if isinstance(held, Held):
                    yield node, slot, held


def decoded(test, tensor):
    """A tensor through a mask and back."""
    dense = tensor.contiguous()
    return Mask(dense, test).decode(dense.shape, dense.stride())


class Pass:
    """One forward, and gradients of its inputs for a fixed direction.

    Args:
        run: What computes the outputs from no arguments.
        leaves: The inputs.
        double: Whether the gradient itself is what is differentiated.
    """

    def __init__(self, run, leaves, double=False):
        self.leaves = leaves
        self.double = double
        with saves():
            self.outputs = self._floats(run())
            if double and self.outputs:
                self.outputs = self._floats(self._differentiated(create_graph=True))
        self.slots = list(held_slots(nodes_of(self.outputs)))

    @staticmethod
    def _floats(tree):
        return [
            leaf
            for leaf in tree_leaves(tree)
            if isinstance(leaf, Tensor) and leaf.requires_grad and leaf.layout is torch.strided
        ]

    def _differentiated(self, **how):
        generator = torch.Generator().manual_seed(5)
        directions = [
            torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
            for output in self.outputs
        ]
        return torch.autograd.grad(self.outputs, self.leaves, directions, allow_unused=True, **how)

    def gradient(self):
        """Of all inputs, as one vector in float64."""
        found = [part for part in self._differentiated(retain_graph=True) if part is not None]
        dense = [part if part.layout is torch.strided else part.to_dense() for part in found]
        reals = [torch.view_as_real(part.resolve_conj()) if part.is_complex() else part for part in dense]
        return torch.cat([part.detach().flatten().double() for part in reals] or [torch.zeros(0)])

    def gradient_with(self, held, value):
        """The gradient if what is held comes back as another value."""
        held.back = value
        try:
            return self.gradient()
        finally:
            held.back = held.tensor


def name_of(op):
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


@cache
def operators(dtype):
    """Every differentiable operator of torch's own tests, by name."""
    return {
        name_of(op): op for op in op_db if op.supports_autograd and dtype in op.dtypes and name_of(op) not in LEFT_OUT
    }


def passes(op, dtype, count, double=False):
    """Some passes of an operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(1)
        for sample in islice(op.sample_inputs("cpu", dtype, requires_grad=True), count):
            tree = (sample.input, sample.args, sample.kwargs)
            leaves = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.requires_grad]
            if not leaves or any(leaf.layout is not torch.strided for leaf in leaves):
                continue

            def run(tree=tree):
                torch.manual_seed(2)
                first, args, kwargs = tree_map(
                    lambda value: value.clone() if isinstance(value, Tensor) and value.requires_grad else value, tree
                )
                return op(first, *args, **kwargs)

            found = Pass(run, leaves, double)
            if found.outputs:
                yield found
