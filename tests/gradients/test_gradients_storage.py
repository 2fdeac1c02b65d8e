"""A forward that drops graphs, logs, frees storages and uses their addresses again; weights that are computed."""

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds, mlp
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

KINDS = Kinds()


def layers(number=6, width=48):
    return nn.ModuleList(nn.Linear(width, width) for _ in range(number))


LOGS = {
    "largest": lambda h: h.abs().max().item(),
    "nan": lambda h: bool(torch.isnan(h).any()),
    "norm": lambda h: h.norm().item(),
    "histogram": lambda h: torch.histc(h.detach(), 4).tolist(),
    "deviation": lambda h: (h.std().item(), torch.exp(h).mean().item()),
    "softmax": lambda h: torch.softmax(h, -1).argmax(-1).tolist(),
    "printed": lambda h: repr(h[:2, :4]),
}


@KINDS.of(*((log, (torch.tanh, torch.relu)[number % 2]) for number, log in enumerate(LOGS)), ("largest", torch.relu))
def logged(log, act):
    model, x = layers(), torch.randn(96, 48)

    def loss():
        h = x
        for layer in model:
            h = act(layer(h)) * 1.3
            LOGS[log](h)
        return h.square().mean()

    return model, loss


@KINDS
def freed_and_used_again():
    """Each turn makes, saves and drops tensors of one size, so that addresses come again."""
    model, x = layers(), torch.randn(96, 48)

    def loss():
        total = 0
        for layer in model:
            dropped = torch.sigmoid(layer(x)) * 3
            del dropped
            h = layer(x).exp()
            total = total + (h * torch.sin(h.clone())).mean()
            del h
        return total

    return model, loss


@KINDS
def resized_storage():
    """As sharded training frees the parameters that it has gathered."""
    model, x = layers(2), torch.randn(96, 48)

    def loss():
        h = torch.tanh(model[0](x))
        buffer = torch.empty(96, 48)
        buffer.copy_(h.detach())
        weight = buffer.sigmoid()
        buffer.untyped_storage().resize_(0)
        return (model[1](h) * weight).square().mean()

    return model, loss


@KINDS
def changed_in_place():
    model, x = layers(3), torch.randn(96, 48)

    def loss():
        h = model[0](x)
        h.relu_()
        k = model[1](h).mul_(0.5).add_(1)
        k[:, :8] = model[2](h)[:, :8]
        return k.sigmoid_().square().mean()

    return model, loss


@KINDS
def views_of_one_tensor():
    model, x = nn.Linear(48, 96), torch.randn(96, 48)

    def loss():
        h = model(x)
        a, b = h.chunk(2, -1)
        rows = (h[::2] * h[1::2])[:, :48] + h.t()[:48, :48].exp()
        return (a * b).square().mean() + (a.t() @ b / 48 + rows).square().mean()

    return model, loss


@KINDS
def checkpointed():
    model, x = layers(3), torch.randn(96, 48)

    def loss():
        h = model[0](x).tanh()
        h = checkpoint(lambda t: model[1](t).relu().exp().clamp(max=3), h, use_reentrant=False)
        return model[2](h).square().mean()

    return model, loss


@KINDS
def dora():
    """A norm of the weight scales its rows; its graph is detached, or not."""
    model = nn.ModuleDict(
        {"base": nn.Linear(48, 48), "a": nn.Linear(48, 4, bias=False), "b": nn.Linear(4, 48, bias=False)}
    )
    model["size"] = nn.Linear(1, 48, bias=False)
    x = torch.randn(96, 48)

    def loss():
        weight = model["base"].weight + model["b"].weight @ model["a"].weight
        scale = model["size"].weight[:, 0] / weight.norm(dim=1).detach()
        free = model["size"].weight[:, 0] / torch.linalg.norm(weight, dim=1)
        return (F.linear(x, weight) * scale).square().mean() + (F.linear(x, weight).relu() * free).mean()

    return model, loss


@KINDS.of(parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal)
def parametrized(parametrization):
    model, x = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 48)), torch.randn(96, 48)
    for layer in (model[0], model[2]):
        parametrization(layer)
    return model, lambda: (model(x) - 1).square().mean()


@KINDS.of(nn.utils.weight_norm, nn.utils.spectral_norm)
def reparametrized_by_hooks(wrap):
    model, x = nn.Sequential(wrap(nn.Linear(48, 48)), nn.ReLU(), nn.Conv1d(1, 4, 3)), torch.randn(96, 48)
    return model, lambda: (model[2](model[:2](x)[:, None]) - 1).square().mean()


@KINDS.of(nn.GRU, nn.LSTM, nn.RNN)
def recurrent(kind):
    options = {"nonlinearity": "relu"} if kind is nn.RNN else {}
    model, x = (
        nn.ModuleList([kind(16, 24, num_layers=2, batch_first=True, **options), nn.Linear(24, 8)]),
        torch.randn(16, 6, 16),
    )
    return model, lambda: model[1](model[0](x)[0]).square().mean()


@KINDS.of(nn.GRUCell, nn.LSTMCell, nn.RNNCell)
def cells(kind):
    options = {"nonlinearity": "relu"} if kind is nn.RNNCell else {}
    model, x = kind(16, 24, **options), torch.randn(6, 24, 16)

    def loss():
        state = None
        for turn in x:
            state = model(turn, state)
        return (state[0] if isinstance(state, tuple) else state).square().mean()

    return model, loss


@KINDS
def recurrent_without_onednn():
    model, x = nn.LSTM(16, 24, batch_first=True), torch.randn(16, 6, 16)

    def loss():
        with torch.backends.mkldnn.flags(enabled=False):
            return model(x)[0].square().mean()

    return model, loss


@KINDS
def packed_sequence():
    model, x = nn.GRU(16, 24, batch_first=True), torch.randn(4, 8, 16)

    def loss():
        rows = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([8, 6, 5, 2]), batch_first=True)
        return model(rows)[0].data.square().mean()

    return model, loss


@KINDS
def tied_weights():
    model, ids = nn.Sequential(nn.Embedding(80, 32), *mlp(32, 64, 32)), torch.randint(0, 80, (96,))
    return model, lambda: F.cross_entropy(model(ids) @ model[0].weight.t(), ids.roll(1))


@pytest.mark.parametrize("name", KINDS)
def test_storage(name):
    KINDS.check(name)
