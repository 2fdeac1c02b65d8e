"""What plain autograd keeps, as the report says, against a walk over the storages of a plain graph."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

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
