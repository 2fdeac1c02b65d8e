"""Under autocast, codes of regions that are coded in several parts, whose metadata have a dtype of their own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gact


class Network(nn.Module):
    """Products, a norm, attention and functions whose arguments are coded in forms of their own."""

    def __init__(self):
        super().__init__()
        self.rise, self.mix, self.fall = nn.Linear(64, 256), nn.Linear(256, 256), nn.Linear(256, 10)
        self.norm = nn.LayerNorm(256)

    def forward(self, x):
        h = F.gelu(self.rise(x))
        h = torch.tanh(self.norm(self.mix(h))) + F.silu(self.mix(h)) * torch.sigmoid(h)
        rows = h.unflatten(0, (-1, 64))
        h = (torch.softmax(rows @ rows.mT / 16, -1) @ rows).flatten(0, 1)
        return F.log_softmax(self.fall(h), -1)


def gradients(dtype, compressor, within):
    torch.manual_seed(0)
    model, x, y = Network(), torch.randn(640, 64), torch.arange(640) % 10
    for _ in range(2):  # the second step measures
        with compressor(model) as context:
            with torch.autocast("cpu", dtype):
                loss = F.nll_loss(model(x).float(), y)
                if within:
                    loss.backward()
            if not within:
                loss.backward()
        found = torch.cat([each.grad.flatten() for each in model.parameters()])
        model.zero_grad()
        compressor = lambda _, context=context: context  # noqa: E731
    return found


@pytest.mark.parametrize("within", [False, True], ids=["backward outside", "backward inside"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_gradients_under_autocast(dtype, within):
    plain = gradients(dtype, lambda model: gact.Compressor(model, enabled=False), within)
    held = gradients(dtype, lambda model: gact.Compressor(model, bits=8), within)
    assert (held - plain).norm() < 0.02 * plain.norm()
