"""Every differentiable operator of torch: gradients from tensors at 8 bits are close to plain ones."""

import warnings
from functools import cache
from itertools import islice

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

import gact

DEFAULT = torch.get_default_dtype()
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402 - changes the default dtype

torch.set_default_dtype(DEFAULT)

SAMPLES = 4
SMALLEST = 16  # elements; codes do not shrink less
TOLERANCE = 0.1
UNSTABLE = {
    "linalg.eig": "the phase of an eigenvector is free, so no fixed loss of it has a gradient",
}


def name_of(op):
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


@cache
def operators():
    return {
        name_of(op): op
        for op in op_db
        if op.supports_autograd
        and torch.float32 in op.dtypes
        and name_of(op) not in UNSTABLE
        and "torch.ops" not in op.name
    }


def is_leaf(value):
    return isinstance(value, Tensor) and value.requires_grad


def gradient(op, sample, context):
    """Gradient of all inputs in one vector, or None if there is none."""
    torch.manual_seed(2)
    tree = (sample.input, sample.args, sample.kwargs)
    leaves = [leaf for leaf in tree_leaves(tree) if is_leaf(leaf)]
    first, args, kwargs = tree_map(lambda value: value * 1.0 if is_leaf(value) else value, tree)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with context:
            output = op(first, *args, **kwargs)
    parts = [part for part in tree_leaves(output) if is_leaf(part) and part.layout is torch.strided]
    if not parts:
        return None
    directions = torch.Generator().manual_seed(4)
    reals = [torch.view_as_real(part.resolve_conj()) if part.is_complex() else part for part in parts]
    loss = sum((part.double() * torch.randn(part.shape, generator=directions).double()).sum() for part in reals)
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    dense = [part for part in found if part is not None and part.layout is torch.strided]
    flat = [
        (torch.view_as_real(part.resolve_conj()) if part.is_complex() else part).flatten().double() for part in dense
    ]
    return torch.cat(flat) if flat else None


def samples(op):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sample in islice(op.sample_inputs("cpu", torch.float32, requires_grad=True), SAMPLES):
            leaves = [leaf for leaf in tree_leaves((sample.input, sample.args, sample.kwargs)) if is_leaf(leaf)]
            if any(leaf.numel() >= SMALLEST for leaf in leaves):
                yield sample


@pytest.mark.parametrize("name", operators())
def test_gradients_at_eight_bits(name):
    op = operators()[name]
    torch.manual_seed(1)
    for at, sample in enumerate(samples(op)):
        exact = gradient(op, sample, torch.enable_grad())
        if exact is None or not exact.isfinite().all():
            continue
        got = gradient(op, sample, gact.Compressor(bits=8, group_size=32, min_bytes=0))
        error, size = (got - exact).norm().item(), exact.norm().item()
        assert error <= TOLERANCE * size + 1e-5, f"sample {at}"
