"""What a context may leave behind, and whether training is plain outside of it and compressed inside."""

import torch
from torch import nn
from torch.nn.modules import module as modules

import gact
from gact.autograd import hooks
from gact.autograd.modules import _here
from gact.memory import serving
from gact.packing import consumers
from saved import active_pair, all_saved

TORCHS_ENGINE = torch.autograd._engine_run_backward
TORCHS_SWITCH = torch.autograd.graph.disable_saved_tensors_hooks


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(16, 16)
        self.runs = 0

    def forward(self, x):
        self.runs += 1
        return self.inner(x).sin()


def left_behind(c, model):
    """The names of what is still there, on this thread and in the process."""
    found = {
        "hooks": active_pair() is not None or hooks._OPEN._hooks or hooks._OPEN._anywhere,
        "engine": torch.autograd._engine_run_backward is not TORCHS_ENGINE,
        "switch": torch.autograd.graph.disable_saved_tensors_hooks is not TORCHS_SWITCH,
        "mode": torch._C._len_torch_function_stack(),
        "module hooks": modules._global_forward_pre_hooks or modules._global_forward_hooks,
        "always": modules._global_forward_hooks_always_called,
        "followers": _here.followers or consumers.follow.__globals__["_hooks"]._followers,
        "forward": [name for name, each in model.named_modules() if {"forward", "__getstate__"} & each.__dict__.keys()],
        "entries": c._parts.checkpointing._entries or c._parts.checkpointing._here.entries,
        "context": serving._Process.contexts,
        "state": c._thread.depth or c._thread.packer,
        "closers": c._thread.opened._closers,
    }
    return [name for name, value in found.items() if value]


def step(model, context):
    """Whether a training step in a context saved its input as it is, and how often blocks ran."""
    x = torch.ones(4, 16)
    for each in model[1:]:
        each.runs = 0
    with context:
        loss = model(x).square().mean()
    loss.backward(retain_graph=True)
    runs = {each.runs for each in model[1:]}
    plain = any(tensor.data_ptr() == x.data_ptr() for _, _, tensor in all_saved(loss))
    torch.optim.SGD(model.parameters(), 0.1).step()
    return plain, runs


def end_steps():
    """Ends the training step that an earlier test has left unfinished, as an optimizer does."""
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1).step()


def assert_as_new(c, model):
    assert left_behind(c, model) == []
    assert step(model, torch.enable_grad()) == (True, {1})
    assert not gact.allocator_status().enabled
    assert step(model, c) == (False, {2})
    assert left_behind(c, model) == []
