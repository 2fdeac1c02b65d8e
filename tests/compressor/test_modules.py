"""Every module of torch: gradients at 8 bits are close to plain ones, and bit-identical where everything is kept."""

import warnings
from functools import cache
from itertools import islice

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

import gact

DEFAULT = torch.get_default_dtype()
from torch.testing._internal.common_modules import module_db  # noqa: E402 - changes the default dtype

torch.set_default_dtype(DEFAULT)

KEEP_ALL = 2**62
MOST = 40  # samples of a module; a few have hundreds, alike but for a flag

# Relative error of the gradient at 8 bits. A step is 1/255 of the range of a group, which for a bell-shaped tensor is
# 2 % of its deviation; a rounded value is off by half a step on average, and backward mixes several of them.
TOLERANCE = 0.05
# Samples without a batch have norms over four and groups of twelve elements; the rounding noise of one draw is that
# large there, and averages out over seeds.
_ATTENTION = ["Transformer", "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer"]
TOLERANCES = dict.fromkeys(_ATTENTION, 0.5)


def names():
    return [info.name.removeprefix("nn.") for info in module_db]


@cache
def infos():
    return {info.name.removeprefix("nn."): info for info in module_db}


def activations(tree):
    """The same inputs with leaves that need gradients turned into results of an op, as inside a network."""
    return tree_map(lambda leaf: leaf * 1.0 if isinstance(leaf, Tensor) and leaf.requires_grad else leaf, tree)


def single(tree):
    """The same arguments with float64 tensors (random samples of a pooling) turned into float32."""
    return tree_map(
        lambda leaf: leaf.float() if isinstance(leaf, Tensor) and leaf.dtype is torch.float64 else leaf, tree
    )


def loss_of(output):
    parts = [part for part in tree_leaves(output) if isinstance(part, Tensor) and part.requires_grad]
    weights = torch.Generator().manual_seed(5)
    return sum(
        ((part * torch.rand(part.shape, generator=weights, dtype=part.dtype)).sum() for part in parts), torch.zeros(())
    )


def gradients(info, sample, context_of):
    """Gradients of parameters and inputs."""
    torch.manual_seed(11)
    args, kwargs = single((sample.constructor_input.args, sample.constructor_input.kwargs))
    module = info.module_cls(*args, **kwargs).train()
    given = (sample.forward_input.args, sample.forward_input.kwargs)
    leaves = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
    args, kwargs = activations(given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with context_of(module):
            loss = loss_of(module(*args, **kwargs))
    if not loss.requires_grad:
        return []
    wanted = [leaf for leaf in (*module.parameters(), *leaves) if leaf.requires_grad]
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    return [gradient for gradient in found if gradient is not None]


def samples(info):
    torch.manual_seed(3)
    made = info.module_inputs_func(info, device="cpu", dtype=torch.float32, requires_grad=True, training=True)
    return list(islice(made, MOST))


def flat(tensors):
    return torch.cat([tensor.flatten().double() for tensor in tensors]) if tensors else torch.zeros(0)


@pytest.mark.parametrize("name", names())
def test_gradients_at_eight_bits(name):
    info = infos()[name]
    for at, sample in enumerate(samples(info)):
        exact = flat(gradients(info, sample, lambda _: torch.enable_grad()))
        got = flat(gradients(info, sample, lambda module: gact.Compressor(module, bits=8, group_size=32, min_bytes=0)))
        finite = exact.isfinite()
        got, exact = got[finite], exact[finite]
        assert bool(got.isfinite().all()), (at, sample.desc)
        error, size = (got - exact).norm().item(), exact.norm().item()
        assert error <= TOLERANCES.get(name, TOLERANCE) * size + 1e-6, (at, sample.desc)


@pytest.mark.parametrize("name", names())
def test_gradients_with_everything_kept(name):
    info = infos()[name]
    for at, sample in enumerate(samples(info)):
        exact = gradients(info, sample, lambda _: torch.enable_grad())
        got = gradients(info, sample, lambda module: gact.Compressor(module, min_bytes=KEEP_ALL))
        assert len(got) == len(exact)
        for one, other in zip(got, exact, strict=True):
            assert torch.equal(one.nan_to_num(), other.nan_to_num()), (at, sample.desc)
