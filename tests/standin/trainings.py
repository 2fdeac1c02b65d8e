"""Trainings on the stand-in device, in a process of their own; what they saw is printed as JSON.

Run as ``python trainings.py LIBRARY``. No step but one that measures may wait for the device, nor may a report.
"""

import itertools
import json
import os
import sys
import types
import warnings

import torch
from torch import nn
from torch.nn import functional as F

import gact
from gact.store.host import HostStore

MEASURED = (1, 2)
"""Steps that measure, and read the variance from batch to batch."""


class Attends(nn.Module):
    """A block of a transformer, written out."""

    def __init__(self):
        super().__init__()
        self.words, self.norm, self.queries = nn.Embedding(50, 32), nn.LayerNorm(32), nn.Linear(32, 96)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(2))
        self.head = nn.Linear(32, 50)

    def forward(self, words):
        x = self.words(words)
        query, key, value = self.queries(self.norm(x)).view(4, 16, 3, 4, 8).permute(2, 0, 3, 1, 4)
        weights = F.dropout((query @ key.transpose(-1, -2) / 8**0.5).softmax(-1), 0.1)
        x = x + (weights @ value).transpose(1, 2).reshape(4, 16, 32)
        for block in self.blocks:
            x = x + block(x)
        return F.cross_entropy(self.head(x).flatten(0, 1), words.flatten())


class Convolves(nn.Module):
    """Convolutions and what stands between them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.LeakyReLU(), nn.Hardswish()),
            *(nn.Flatten(), nn.Linear(200, 5), nn.Tanh(), nn.Sigmoid()),
        )

    def forward(self, x):
        return self.layers(x).log().square().mean()


class Transfer:
    """Copies beside the computation, which on this device is at once."""

    def out(self, tensor):
        return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor, non_blocking=True)

    def back(self, copy, device):
        return copy.to(device, non_blocking=True), None

    def wait(self, tensor, arrival):
        """It has arrived."""


def words():
    return torch.randint(0, 50, (4, 16))


def images():
    return torch.randn(4, 3, 16, 16)


TRAININGS = {
    "measured": (Attends, words, {"bits": 4, "probe_interval": None, "max_noise": 0.5}),
    "convolutions": (Convolves, images, {"bits": 8, "adaptive": False}),
    "on the host": (Attends, words, {"bits": 8, "adaptive": False, "offload": "host"}),
    "run again": (Attends, words, {"bits": 8, "adaptive": False, "checkpoint": True}),
}


def train(make, data, **options):
    """Steps on equal data, and the same with nothing compressed: how far the last gradient is off, and who waited."""
    found, waited, passes, adaptive = [], [], [0], options.get("adaptive", True)
    for enabled in (False, True):
        torch.manual_seed(0)
        model = make().to("standin")
        c = gact.Compressor(model, min_bytes=0, enabled=enabled, **options)
        for number in range(4 if adaptive else 2):
            x = data().to("standin")
            model.zero_grad()
            torch.ops.standin.forbid(enabled and not (adaptive and number in MEASURED))
            before = torch.ops.standin.waits()
            with c:
                loss = model(x)
            loss.backward()
            torch.ops.standin.forbid(enabled)
            report = c.report()
            torch.ops.standin.forbid(False)
            if enabled:
                waited.append(torch.ops.standin.waits() - before)
                passes.append(report.passes)
        found.append(torch.cat([each.grad.flatten() for each in model.parameters()]).cpu())
    return {
        "error": float((found[1] - found[0]).norm() / found[0].norm()),
        "waited": waited,
        "passes": [after - before for before, after in itertools.pairwise(passes)],
        "ratio": report.ratio,
        "unmeasured": report.unmeasured,
        "moved": report.offloaded_bytes,
    }


def main(library):
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.utils.rename_privateuse1_backend("standin")
    torch.ops.load_library(library)
    module = types.ModuleType("standin")
    module._is_in_bad_fork = lambda: False
    module.manual_seed_all = lambda seed: None
    torch._register_device_module("standin", module)
    gact.register_store("host", lambda: HostStore(Transfer()))
    seen = {}
    for name, (make, data, options) in TRAININGS.items():
        if "checkpoint" in options:
            module.get_amp_supported_dtype = lambda: [torch.bfloat16]  # torch's checkpoint asks for it
        seen[name] = train(make, data, **options)
    print(json.dumps(seen), flush=True)
    os._exit(0)  # autograd's thread for the device outlives the interpreter otherwise


if __name__ == "__main__":
    main(sys.argv[1])
