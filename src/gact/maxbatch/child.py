"""Runs two training steps in a process of its own and prints what they took, as one line of JSON.

    python -m gact.maxbatch.child package.module:factory LEVEL BATCH BITS

The first step makes the optimizer's state; the second is that of a training under way, and is timed.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import torch

from ..factory import call_factory
from ..planning.applied import applied
from ..planning.levels import level_of
from ..planning.subject import loss_of


def peak_resident_bytes() -> int:
    """Highest resident set of this process so far, as the kernel notes it.

    ``getrusage`` would not do: what it gives begins with the peak of the process that started this one.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell the peak of a process: /proc/self/status has no VmHWM.")


def main(arguments: list[str]) -> int:
    """Train two steps.

    Args:
        arguments: Factory, level, batch and bits.

    Returns:
        Exit status.
    """
    factory, name, batch, bits = arguments
    model, inputs, loss_fn = call_factory(factory, int(batch))
    level = level_of(name)
    warnings.filterwarnings("ignore", message="gact compressed nothing")
    context = applied(model, level.compress, level.checkpoint, {"adaptive": False, "bits": int(bits)})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        with context:
            loss = loss_of(model, inputs, loss_fn)
        context.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.perf_counter() - start
    print(json.dumps({"peak_bytes": peak_resident_bytes(), "seconds": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
