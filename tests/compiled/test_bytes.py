"""What torch saved is held where codes of all that is made of it would take more."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gact

WAYS = {
    "differences": lambda h: F.gelu(h[:, None] - h[None]),
    "rows": lambda h: (h[:, None] * torch.linspace(0.1, 1, 64)[:, None]).tanh(),
}


@pytest.mark.parametrize("backend", ["aot_eager", "aot_eager_decomp_partition"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", WAYS)
def test_no_more_than_plain_code_holds(name, bits, backend):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, x, t = nn.Linear(64, 64), torch.randn(64, 64), torch.randn(64, 1, 1)
    run = torch.compile(lambda: (WAYS[name](model(x)) * t).mean(), backend=backend)
    expected = torch.autograd.grad(run(), model.weight)[0]
    compressor = gact.Compressor(model, bits=bits, adaptive=False, min_bytes=0)
    with compressor:
        loss = run()
    found = torch.autograd.grad(loss, model.weight)[0]
    assert (found - expected).norm() < 0.1 * expected.norm()
    report = compressor.report()
    assert report.kept_bytes < report.plain_bytes
