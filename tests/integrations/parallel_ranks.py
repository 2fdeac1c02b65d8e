"""What each process does in the tests of parallel training; writes what it saw to a file named by its rank.

Run as ``python parallel_ranks.py FOLDER RANK WORLD SCENARIO``; the processes find each other by a file in the folder.
"""

import json
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import gact

WIDTH, BATCH = 64, 64


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


class Collectives(TorchDispatchMode):
    """Counts the collectives of tensors that are spread over ranks."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(kind.__name__ == "DTensor" for kind in types):
            return NotImplemented
        self.count += "c10d" in func.namespace and "wait" not in func.__name__
        return func(*args, **(kwargs or {}))


def network():
    torch.manual_seed(0)
    return nn.Sequential(*[Block() for _ in range(4)])


def flat(parameters):
    gradients = [each.grad for each in parameters]
    return torch.cat([(each.to_local() if hasattr(each, "to_local") else each).flatten() for each in gradients])


def bits(c):
    return {f"{row.module}:{row.op}:{row.slot}": row.bits for row in c.report().rows if row.codec == "groups"}


def tensor_parallel(rank, world, enabled):
    """Four steps of blocks that are split column by column and row by row."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    model, mesh = network(), init_device_mesh("cpu", (world,))
    for block in model:
        parallelize_module(block, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
    c = gact.Compressor(model, bits=8, min_bytes=0, enabled=enabled)
    generator, optimizer = torch.Generator().manual_seed(1), torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    counting = Collectives()
    with counting:
        for _ in range(4):
            optimizer.zero_grad()
            with c:
                loss = (model(torch.randn(BATCH, WIDTH, generator=generator)) - 1).square().mean()
            loss.backward()
            losses.append(loss.item())
            del loss
            optimizer.step()
    return c, model.parameters(), losses, counting.count


def pipeline(name, around):
    """Three steps of a schedule with four microbatches."""

    def run(rank, world, enabled):
        from torch.distributed import pipelining

        schedule = getattr(pipelining, f"Schedule{name}")
        full = network()
        mean = lambda result, target: (result - target).square().mean()  # noqa: E731
        mine = [rank, rank + 2] if name.startswith("Interleaved") else [slice(2 * rank, 2 * rank + 2)]
        parts = nn.ModuleList([full[each] for each in mine])
        count = world * len(mine)
        stages = [
            pipelining.PipelineStage(part, rank + world * at, count, torch.device("cpu"))
            for at, part in enumerate(parts)
        ]
        steps = schedule(stages if len(mine) > 1 else stages[0], 4, loss_fn=mean)
        c = gact.Compressor(parts, bits=8, min_bytes=0, enabled=enabled)
        generator, optimizer = torch.Generator().manual_seed(1), torch.optim.SGD(parts.parameters(), lr=0.05)
        losses = []
        with c if around else nullcontext():
            for _ in range(3):
                inputs, targets = (torch.randn(BATCH, WIDTH, generator=generator) for _ in range(2))
                optimizer.zero_grad()
                with nullcontext() if around else c:
                    if rank == 0:
                        steps.step(inputs)
                    else:
                        found = []
                        steps.step(target=targets, losses=found)
                        losses.append(sum(each.item() for each in found) / len(found))
                optimizer.step()
        return c, parts.parameters(), losses, 0

    return run


SCENARIOS = {
    "tensor parallel": tensor_parallel,
    "1F1B": pipeline("1F1B", False),
    "1F1B in one context": pipeline("1F1B", True),
    "interleaved": pipeline("Interleaved1F1B", False),
    "zero bubble": pipeline("InterleavedZeroBubble", False),
}


def main(folder, rank, world, scenario):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    run = SCENARIOS[scenario]
    _, plain, plain_losses, plain_count = run(rank, world, False)
    plain = flat(plain)
    c, ours, losses, count = run(rank, world, True)
    report = c.report()
    seen = {
        "error": float((flat(ours) - plain).norm() / plain.norm()),
        "losses": losses,
        "plain losses": plain_losses,
        "collectives": [count, plain_count],
        "passes": report.passes,
        "coverage": report.coverage,
        "ratio": report.ratio,
        "bits": bits(c),
        "reasons": sorted({row.reason for row in report.rows if row.reason}),
        "unmeasured": report.unmeasured,
    }
    (Path(folder) / f"{rank}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
