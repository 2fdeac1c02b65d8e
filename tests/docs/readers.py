"""What readers of a page have: a model, data, an optimizer, and on some pages more."""

import torch
from torch import nn

import gact


def names(page):
    """The names that the blocks of a page take as given.

    Args:
        page: Path of the page below the root, without its ending.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 1024), nn.GELU(), nn.Linear(1024, 10))
    loader = [(torch.randn(256, 784), torch.randint(0, 10, (256,))) for _ in range(2)]
    return {
        "torch": torch,
        "nn": nn,
        "gact": gact,
        "model": model,
        "loader": loader,
        "inputs": loader[0][0],
        "labels": loader[0][1],
        "criterion": nn.functional.cross_entropy,
        "optimizer": torch.optim.AdamW(model.parameters()),
        **MORE.get(page, dict)(),
    }


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def _operators():
    """An operator of each kind that a user may have."""

    @torch.library.custom_op("mylib::scale", mutates_args=())
    def scale(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    return {
        "MyFunction": type("MyFunction", (_Scaled,), {}),
        "SwiGLU": type("SwiGLU", (_Scaled,), {}),
        "mylib_scale": scale,
    }


MORE = {"docs/consumers": _operators}
