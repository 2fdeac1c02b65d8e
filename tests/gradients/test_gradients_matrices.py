"""Functions of matrices that are nearly singular, and angles near the origin, in plain and in compiled code."""

import pytest
import torch
from kinds import Kinds
from measure import compressor, network_gradient, off
from torch import nn

KINDS = Kinds()
ROWS, WIDTH = 64, 32


def model_and_data():
    return nn.Linear(WIDTH, 2 * WIDTH), torch.randn(ROWS, WIDTH), torch.randn(ROWS, WIDTH)


@KINDS.of("logdet", "solve", "cholesky", "whitening", "inverse", "eigenvalues", "cholesky_solve")
def covariance(name):
    model, x, t = model_and_data()

    def loss():
        h, k = model(x).chunk(2, -1)
        c = h.T @ h / ROWS * 1e-2 + 1e-5 * torch.eye(WIDTH)
        if name == "logdet":
            return torch.logdet(c)
        if name == "solve":
            return torch.linalg.solve(c, k.T @ t).square().mean()
        if name == "inverse":
            return torch.linalg.inv(c).square().mean()
        if name == "eigenvalues":
            return torch.linalg.eigh(c)[0].log().sum()
        factor = torch.linalg.cholesky(c)
        if name == "cholesky":
            return factor.diagonal().log().sum()
        if name == "cholesky_solve":
            return (torch.cholesky_solve(t.T, factor) * t.T).sum()
        return (torch.linalg.solve_triangular(factor, h.T, upper=False).T * t).sum()

    return model, loss


@KINDS
def angle():
    model, x, t = model_and_data()

    def loss():
        h, k = model(x).chunk(2, -1)
        return (torch.atan2(h * k, k * h.cos()) * t).sum()

    return model, loss


@pytest.mark.parametrize("name", KINDS)
def test_gradients(name):
    KINDS.check(name, (8, 4))


@pytest.mark.parametrize("name", ["covariance solve", "covariance cholesky_solve"])
def test_compiled_gradients(name):
    torch.manual_seed(0)
    torch._dynamo.reset()
    model, loss = KINDS[name]()
    gradient = network_gradient(model, torch.compile(loss, backend="aot_eager"))
    g0 = gradient(torch.enable_grad())
    c = compressor(model, 4)
    gradient(c)
    assert off(gradient(c), g0) < 0.02
