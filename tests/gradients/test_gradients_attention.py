"""Attention, fused and written out, sharp, with masks; and routers whose graph is partly dropped."""

import math

import pytest
import torch
import torch.nn.functional as F
from kinds import Kinds, mlp
from torch import nn

KINDS = Kinds()
LENGTH, WIDTH, HEADS = 24, 32, 2
CAUSAL = torch.full((LENGTH, LENGTH), -torch.inf).triu(1)
PADDED = torch.zeros(LENGTH).masked_fill_(torch.arange(LENGTH) >= 18, torch.finfo(torch.float32).min).expand(LENGTH, -1)
MASKS = {"none": None, "causal": CAUSAL, "padded": PADDED, "bool": CAUSAL == 0}


def written(q, k, v, mask):
    """Attention as it is written out."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype is torch.bool else scores + mask
    return scores.softmax(-1) @ v


ATTENTION = {
    "fused": lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
    "is causal": lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    "written": written,
}


@KINDS.of(
    *((w, m, s) for w in ("fused", "written") for m in MASKS for s in (1.0, 100.0)),
    ("is causal", "none", 1.0),
    ("is causal", "none", 100.0),
)
def attention(way, mask, sharpness):
    """Logits are of about this size."""
    model, x = nn.Sequential(nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)), torch.randn(3, LENGTH, WIDTH)
    model[0].weight.data[: 2 * WIDTH] *= math.sqrt(2 * sharpness)
    target = torch.randn(3, LENGTH, WIDTH)

    def loss():
        q, k, v = model[0](x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        out = ATTENTION[way](q, k, v, MASKS[mask]).transpose(1, 2).flatten(2)
        return (model[1](out) - target).square().mean()

    return model, loss


@KINDS.of(*((w, m, p) for w in (False, True) for m in (False, True) for p in (0.0, 0.2)))
def multihead(need_weights, masked, dropout):
    model = nn.MultiheadAttention(WIDTH, HEADS, dropout=dropout, batch_first=True)
    x, target = torch.randn(3, LENGTH, WIDTH), torch.randn(3, LENGTH, WIDTH)
    masks = {"attn_mask": CAUSAL, "key_padding_mask": CAUSAL[20:23]} if masked else {}

    def loss():
        out, weights = model(x, x, x, need_weights=need_weights, **masks)
        return (out - target).square().mean() + (0 if weights is None else weights.square().mean())

    return model, loss


@KINDS.of(False, True)
def encoder_layer(norm_first):
    model = nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True, norm_first=norm_first, activation="relu")
    x, target = torch.randn(3, LENGTH, WIDTH), torch.randn(3, LENGTH, WIDTH)
    return model, lambda: (model(x, src_mask=CAUSAL, is_causal=True) - target).square().mean()


def experts():
    return nn.ModuleDict({"gate": nn.Linear(32, 4), "experts": nn.ModuleList(mlp(32, 64, 32) for _ in range(4))})


@KINDS.of("softmax first", "top first")
def router(order):
    """Each token goes to two of four experts; the other probabilities are dropped."""
    model, x, target = experts(), torch.randn(96, 32), torch.randn(96, 32)

    def loss():
        logits = model["gate"](x)
        weights, chosen = (logits.softmax(-1) if order == "softmax first" else logits).topk(2, -1)
        weights = weights / weights.sum(-1, keepdim=True) if order == "softmax first" else weights.softmax(-1)
        out = torch.zeros_like(x)
        for number, expert in enumerate(model["experts"]):
            token, place = (chosen == number).nonzero(as_tuple=True)
            out = out.index_add(0, token, expert(x[token]) * weights[token, place, None])
        return (out - target).square().mean() + logits.logsumexp(-1).square().mean() * 1e-3

    return model, loss


@KINDS
def router_that_drops_a_graph():
    """Probabilities are computed for a choice, differentiably, and forgotten."""
    model, x = experts(), torch.randn(96, 32)

    def loss():
        logits = model["gate"](x)
        chosen = torch.sigmoid(logits[:16]).argmax(-1)
        a, b = (torch.sin(expert[0](x)) for expert in model["experts"][:2])
        return a.sum() + 2 * b.sum() + logits.sum() + 0 * chosen.sum()

    return model, loss


@pytest.mark.parametrize("name", KINDS)
def test_attention(name):
    KINDS.check(name)
