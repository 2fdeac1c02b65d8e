"""Tensors without storage of their own, and code that is being traced: training goes on as without a compressor."""

import pytest
import torch
from torch import nn

import gact

pytestmark = [
    pytest.mark.filterwarnings("ignore:gact compressed nothing"),
    pytest.mark.filterwarnings("ignore:Sparse"),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]
INDICES = torch.tensor([[0, 1, 2, 3], [1, 2, 0, 3]])
DENSE = torch.arange(16.0).view(4, 4) / 7


def sparse(values):
    return torch.sparse_coo_tensor(INDICES, values, (4, 4))


USES = {
    "times a number": lambda v: torch.sparse.mm(sparse(v) * 2.0, DENSE),
    "plus another": lambda v: torch.sparse.mm(sparse(v) + sparse(v), DENSE),
    "negative": lambda v: torch.sparse.mm(-sparse(v), DENSE),
    "cloned": lambda v: torch.sparse.mm(sparse(v).clone(), DENSE),
    "times sparse": lambda v: (sparse(v) * sparse(v)).to_dense(),
    "added to dense": lambda v: (DENSE * 1).add_(sparse(v)),
    "its values": lambda v: sparse(v).coalesce().values() ** 2,
    "opaque": lambda v: (DENSE * v).to_mkldnn().relu().to_dense(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_tensors_without_strides(use):
    values = torch.ones(4, requires_grad=True)
    (exact,) = torch.autograd.grad(use(values).square().sum(), values)
    with gact.Compressor(nn.Identity(), bits=8, min_bytes=0, adaptive=False):
        loss = use(values).square().sum()
    (found,) = torch.autograd.grad(loss, values)
    assert (found - exact).abs().max() < 0.02 * exact.abs().max()


def test_a_trace_made_inside_has_nothing_of_ours():
    model, x = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16)), torch.randn(16, 16)
    c = gact.Compressor(model, bits=8, min_bytes=0, adaptive=False)
    with c:
        traced = torch.jit.trace(model, x)
        loss = traced(x).square().sum()
    assert "gact::" not in str(traced.inlined_graph)
    exact = torch.autograd.grad(model(x).square().sum(), model.parameters())
    found = torch.autograd.grad(loss, model.parameters())
    for one, other in zip(found, exact, strict=True):
        assert (one - other).norm() < 0.02 * other.norm()
    assert c.report().coverage > 0
