"""What plain autograd keeps, as the report says, against a walk over the storages of a plain graph."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import gact


def held(result, model):
    """Bytes of all storages that the graph of a result keeps and that are no parameter's or buffer's."""
    known = {each.untyped_storage()._cdata for each in (*model.parameters(), *model.buffers())}
    coming, seen, storages, alive = [result.grad_fn], set(), {}, []
    while coming:
        node = coming.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        coming.extend(earlier for earlier, _ in node.next_functions)
        for name in dir(node):
            if not name.startswith("_saved_") and name != "saved_tensors":
                continue
            value = getattr(node, name)
            for tensor in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in known:
                    alive.append(tensor)  # or its address might be given to another one
                    storages[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


class Around(nn.Module):
    """A function of an input as a module."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, x):
        return self.function(x, *self.parts)


def first(result):
    return result[0] if isinstance(result, tuple) else result


def encoder(**options):
    return nn.TransformerEncoderLayer(32, 4, 64, 0.1, batch_first=True, **options)


def split(x, layer):
    query, key, value = layer(x).chunk(3, -1)
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def routed(x, router, expert):
    chosen = router(x).softmax(-1).topk(2, -1)
    return (expert(x[..., None, :]) * chosen.values[..., None] * (chosen.indices[..., None] + 1.0)).sum(-2)


def masked(x, layer):
    scores = layer(x)
    return scores.masked_fill(scores > 1, -1e9).softmax(-1) @ x


def attended(x, layer):
    return layer(x, x, x)[0]


def sliced(x, layer):
    return torch.cat([layer(x)[..., :16].square(), layer(x)[..., 16:].exp()], -1)


def shortcut(x, one, other):
    return other(one(x) + x) * torch.sigmoid(x)


def weighed(x, layer):
    """Weights that forward makes without a gradient, and of which it uses a part."""
    with torch.no_grad():
        kernel = torch.linspace(0, 1, 64 * 32).view(64, 32).softmax(-1)
    noise = torch.linspace(-1, 1, 4 * 16 * 32).view(4, 16, 32)
    return (
        layer(x) @ kernel[:32] + (layer(x) * kernel[8:24].mul(2)).tanh() * noise[1, 2:3] * noise[:, ::2, :1].mean(0)[0]
    )


def targeted(x, layer):
    """A target that the network itself has made, as in distillation."""
    with torch.no_grad():
        target = layer(x.flip(0)).chunk(2, -1)[1]
    return layer(x)[..., :16] * target


def cast(x, *layers):
    """The second layer twice, under autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        for layer in (*layers, layers[-1]):
            x = layer(x).relu()
    return x


def cast_anew(x, layer):
    """Copies that are not kept for the next call."""
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        return layer(layer(x))


def turned(x, layer):
    """A weight in another order."""
    return x.matmul(layer.weight.t().contiguous()) * layer.weight.double().sum(0)


IMAGES, ROWS, WORDS = (4, 3, 16, 16), (8, 16, 32), "words"
NETWORKS = {
    "perceptron": (nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8)), ROWS),
    "gelu": (nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 8)), ROWS),
    "tanh and sigmoid": (nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 8), nn.Sigmoid()), ROWS),
    "dropout": (nn.Sequential(nn.Linear(32, 64), nn.Dropout(0.3), nn.ReLU(), nn.Dropout(0.1)), ROWS),
    "layer norm": (nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32), nn.LayerNorm(32)), ROWS),
    "rms norm": (nn.Sequential(nn.RMSNorm(32), nn.Linear(32, 32)), ROWS),
    "convolutions": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)), IMAGES),
    "pooling": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.ReLU(), nn.AvgPool2d(2)), IMAGES),
    "group norm": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU()), IMAGES),
    "depthwise": (nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Hardswish()), IMAGES),
    "transposed": (nn.Sequential(nn.ConvTranspose2d(3, 8, 3), nn.LeakyReLU(), nn.Upsample(scale_factor=2)), IMAGES),
    "flattened": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 10)), IMAGES),
    "encoder": (encoder(), ROWS),
    "encoder, norm first": (encoder(norm_first=True, activation="gelu"), ROWS),
    "self attention": (
        Around(attended, nn.MultiheadAttention(32, 4, batch_first=True)),
        ROWS,
    ),
    "fused attention": (Around(split, nn.Linear(32, 96)), ROWS),
    "masked softmax": (Around(masked, nn.Linear(32, 16)), ROWS),
    "recurrent": (Around(lambda x, layer: first(layer(x)), nn.GRU(32, 32, 2, batch_first=True)), ROWS),
    "experts": (Around(routed, nn.Linear(32, 4), nn.Linear(32, 32)), ROWS),
    "embedding": (nn.Sequential(nn.Embedding(50, 32), nn.Linear(32, 50)), WORDS),
    "shortcuts": (Around(shortcut, nn.Linear(32, 32), nn.Linear(32, 32)), ROWS),
    "slices": (
        Around(sliced, nn.Linear(32, 32)),
        ROWS,
    ),
    "made in forward": (Around(weighed, nn.Linear(32, 32)), ROWS),
    "target": (Around(targeted, nn.Linear(32, 32)), ROWS),
    "autocast": (Around(cast, nn.Linear(32, 32), nn.Linear(32, 32)), ROWS),
    "autocast, frozen": (Around(cast, nn.Linear(32, 32), nn.Linear(32, 32).requires_grad_(False)), ROWS),
    "autocast without its cache": (Around(cast_anew, nn.Linear(32, 32)), ROWS),
    "autocast, attention": (Around(lambda x, layer: cast(x, layer), encoder()), ROWS),
    "turned": (Around(turned, nn.Linear(32, 32)), ROWS),
}


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("least", [0, 65536])
@pytest.mark.parametrize(("model", "size"), NETWORKS.values(), ids=NETWORKS)
def test_plain_bytes_are_those_of_the_graph(model, size, least):
    x = torch.randint(0, 50, (8, 16)) if size == WORDS else torch.randn(size)
    expected = held(model(x).float().logsumexp(-1).mean(), model)
    c = gact.Compressor(model, bits=8, min_bytes=least, adaptive=False)
    with c:
        loss = model(x).float().logsumexp(-1).mean()
    assert c.report().plain_bytes == pytest.approx(expected, rel=0.01)
    loss.backward()


class Held(nn.Module):
    """Runs its layer under a reentrant checkpoint that gets tensors by position, in a list, bound and from around."""

    def __init__(self, others):
        super().__init__()
        self.layer, self.others = nn.Linear(32, 32), others

    def forward(self, x):
        bias, more = torch.linspace(0, 1, 4096).view(128, 32), torch.linspace(0, 2, 4096).view(128, 32)

        def block(x, others=(), scale=None):
            y = self.layer(x) * sum(each.mean() for each in others)
            return y * more.mean() if scale is None else y * scale.mean()

        run = functools.partial(block, scale=bias) if self.others == "bound" else block
        others = {"bound": (), "around": ()}.get(self.others, ([bias, {"more": [bias[:64]]}],))
        if self.others == "list":
            others = ([bias, bias[:64]],)
        return checkpoint(run, x, *others, use_reentrant=True)


@pytest.mark.parametrize("others", ["list", "bound", "around"])
def test_what_a_reentrant_checkpoint_holds_in_containers_is_counted(others):
    model, x = Held(others), torch.randn(8, 16, 32, requires_grad=True)
    c = gact.Compressor(model, bits=8, min_bytes=0, adaptive=False)
    for _ in range(2):
        with c:
            loss = (model(x) * model(x)).sum()
        rows = [row for row in c.report().rows if row.op == "checkpoint_arguments"]
        assert (
            sum(row.plain_bytes for row in rows)
            == sum(row.kept_bytes for row in rows)
            == 2 * 128 * 32 * 4 * (1 if others == "around" else 2)
        )
        loss.backward()


@pytest.mark.parametrize("inside", [False, True])
def test_slices_of_a_data_set_count_by_themselves(inside):
    """Whether they are cut inside of the context or before, and for all steps."""
    model, data = nn.Sequential(nn.Linear(32, 32), nn.Tanh()), torch.randn(512, 32)
    c = gact.Compressor(model, min_bytes=0, adaptive=False)
    with c:
        for number in range(3):
            x = data[64 * number : 64 * (number + 1)].view(-1, 32) if inside else data[:64].to("cpu")
            loss = model(x).square().mean()
            assert c.report().plain_bytes == 2 * 64 * 32 * 4
            loss.backward()
