"""Transformers architectures: gradients at 8 bits point where plain ones do, weights and layouts come back."""

import warnings

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import gact
from cases import ARCHITECTURES
from saved import address, all_saved


def loss_of(model, batch):
    """A loss that every differentiable output has a part in; the same dropout masks each time."""
    torch.manual_seed(9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        output = model(**batch, return_dict=False)
    parts = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.requires_grad]
    directions = torch.Generator().manual_seed(4)
    return sum((part * torch.randn(part.shape, generator=directions)).sum() for part in parts)


def gradient(model):
    flat = torch.cat(
        [parameter.grad.flatten().double() for parameter in model.parameters() if parameter.grad is not None]
    )
    model.zero_grad()
    return flat


@pytest.fixture(params=ARCHITECTURES.values(), ids=ARCHITECTURES)
def case(request):
    return request.param.build(), request.param.batch()


def test_an_architecture(case):
    model, batch = case
    plain = loss_of(model, batch)
    # Groups as long as the rows of these small networks, as they are shorter than the rows of real ones.
    c = gact.Compressor(model, bits=8, group_size=32, min_bytes=0)
    with c:
        loss = loss_of(model, batch)
    assert torch.equal(loss, plain)

    own = {address(parameter) for parameter in model.parameters()}
    weights = 0
    for (node, key, exact), (other, _, got) in zip(all_saved(plain), all_saved(loss), strict=True):
        assert node == other
        assert (got.size(), got.stride(), got.dtype) == (exact.size(), exact.stride(), exact.dtype), (node, key)
        if address(exact) in own:
            weights += 1
            assert got.data_ptr() == exact.data_ptr(), (node, key)
        elif not exact.is_floating_point():
            assert torch.equal(got, exact), (node, key)
    assert weights > 0
    assert c.report().parameter_saves >= weights
    assert c.report().coverage > 50
    assert c.report().kept_bytes < c.report().plain_bytes / 2

    plain.backward()
    exact = gradient(model)
    c.backward(loss)
    assert torch.nn.functional.cosine_similarity(gradient(model), exact, 0) > 0.99


def test_an_architecture_with_everything_kept(case):
    model, batch = case
    loss_of(model, batch).backward()
    exact = gradient(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="gact compressed nothing")
        with gact.Compressor(model, min_bytes=2**62):
            loss = loss_of(model, batch)
    loss.backward()
    assert torch.equal(gradient(model), exact)
