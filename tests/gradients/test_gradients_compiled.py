"""Losses and bounds under ``torch.compile``, where backward is written out in simpler operators."""

import warnings

import pytest
import test_gradients_bounds as bounds
import test_gradients_decays as decays
import test_gradients_divided as divided
import test_gradients_logits as logits
import test_gradients_losses as losses
import test_gradients_steep as steep
import torch
import torch.nn.functional as F
from kinds import Kinds
from torch.utils.checkpoint import checkpoint

KINDS = Kinds()
CHOSEN = (
    (bounds, "at_the_bound elu"),
    (decays, "chunk sum 64 64 0.2"),
    (divided, "softmax in place sum"),
    (divided, "part_of_a_softmax lower"),
    (divided, "part_of_a_softmax chunk"),
    (divided, "part_of_a_softmax features"),
    (divided, "two_weights_of_chosen_groups"),
    (divided, "experts_of_chosen_groups"),
    (divided, "weights_dropped_before_they_are_divided"),
    (divided, "few_columns_whose_rows_are_quiet layer"),
    (divided, "few_columns_whose_rows_are_quiet scores"),
    (divided, "few_columns_some_layers_before_a_norm 8 64 8"),
    (logits, "label_smoothing sure"),
    (logits, "padded_vocabulary sure 0.1"),
    (losses, "divergence_whose_target_learns False 1.0"),
    (losses, "divergence_whose_target_learns True 1.0"),
    (steep, "probability gather"),
    (steep, "mixture by hand"),
    (steep, "divided magnitude"),
)


@KINDS.of(*CHOSEN)
def compiled(kinds, name):
    model, loss = kinds.KINDS[name]()
    torch._dynamo.reset()
    return model, torch.compile(loss, backend="aot_eager")


@KINDS
def compiled_values_of_one_name():
    """What is held has names that the graph of backward gives to others: quotients of quotients."""
    last, x = torch.nn.Linear(32, 2), 4 * torch.randn(64, 32)
    target = torch.rand(64, 64).softmax(1) / 64

    def loss():
        h = last(x)
        near = 1 / (1 + (h[:, None] - h[None]).square().sum(-1)) * (1 - torch.eye(64))
        return (target * torch.log(target / (near / near.sum() + 1e-9) + 1e-12)).sum()

    torch._dynamo.reset()
    return last, torch.compile(loss, backend="aot_eager")


@KINDS.of("kl_div", "reverse", "entropy")
def compiled_near_the_optimum(name):
    """What weighs log-probabilities almost cancels against them."""
    torch.manual_seed(0)
    last, x = torch.nn.Linear(64, 256), torch.randn(256, 64)
    torch.nn.init.normal_(last.weight)
    target = (last(x).detach() + 0.05 * torch.randn(256, 256)).log_softmax(1)

    def loss():
        logits = last(x)
        found = F.log_softmax(logits, 1)
        if name == "kl_div":
            return F.kl_div(found, target.exp(), reduction="batchmean")
        if name == "reverse":
            return (found.exp() * (found - target)).sum(1).mean()
        return -(F.softmax(logits, 1) * found).sum(1).mean()

    torch._dynamo.reset()
    return last, torch.compile(loss, backend="aot_eager")


BLOCKS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "dropout": lambda h: F.dropout(F.relu(h), 0.3),
    "softmax": lambda h: h.softmax(-1) * h,
    "norm": lambda h: F.layer_norm(h, (64,)).tanh(),
    "largest": lambda h: h * (h > h.median(-1, keepdim=True).values),
    "logarithm": lambda h: (h.softmax(-1) * (h > 0) + 1e-6).log(),
}


@KINDS.of(*BLOCKS)
def compiled_checkpoint(name):
    """A checkpoint inside of compiled code: backward computes the block again of what is held."""
    model = torch.nn.ModuleList(torch.nn.Linear(64, 64) for _ in range(4))
    x, t = torch.randn(256, 64), torch.randn(256, 64)

    def block(first, second, h):
        return h + second(BLOCKS[name](first(h)))

    def loss():
        h = checkpoint(block, model[0], model[1], x, use_reentrant=False)
        h = checkpoint(block, model[2], model[3], h, use_reentrant=False)
        return (h * t).mean()

    torch._dynamo.reset()
    return model, torch.compile(loss, backend="aot_eager")


@KINDS.of("expand", "slice", "rows")
def compiled_views(name):
    """What backward reads is part of a value, or shows its elements more than once."""
    model, x, t = torch.nn.Linear(64, 128), torch.randn(64, 64), torch.randn(64, 64, 64)
    views = {
        "expand": lambda h: h[:, None].expand(64, 64, 128)[..., :64],
        "slice": lambda h: h[:, 32:96] + t,
        "rows": lambda h: h.unfold(1, 64, 1)[:, 1:],
    }

    def loss():
        h = model(x)
        v = views[name](h.tanh())
        v = v.expand(64, 64, v.shape[-1])[..., :64]
        return (v * F.gelu(h[:, None, : v.shape[-1]]) * t[..., : v.shape[-1]]).mean()

    torch._dynamo.reset()
    return model, torch.compile(loss, backend="aot_eager")


@pytest.mark.parametrize("name", KINDS)
def test_compiled(name):
    warnings.simplefilter("ignore")
    KINDS.check(name, (8, 4))
