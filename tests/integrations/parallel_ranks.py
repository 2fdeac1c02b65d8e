"""What each process does in the tests of parallel training; writes what it saw to a file named by its rank.

Run as ``python parallel_ranks.py FOLDER RANK WORLD SCENARIO``; the processes find each other by a file in the folder.
"""

import json
import sys
import warnings
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import pipelining
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

import gact

WIDTH, BATCH, BLOCKS = 64, 64, 8


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


class Collectives(TorchDispatchMode):
    """Counts the collectives of each kind, those of tensors that are spread over ranks once."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(kind.__name__ == "DTensor" for kind in types):
            return NotImplemented
        name = func.__name__.partition(".")[0]
        if "c10d" in func.namespace and "wait" not in name:
            self.count[name] += 1
        return func(*args, **(kwargs or {}))


def network():
    torch.manual_seed(0)
    return nn.Sequential(*[Block() for _ in range(BLOCKS)])


def flat(parameters):
    gradients = [each.grad for each in parameters if each.grad is not None]
    return torch.cat([(each.to_local() if hasattr(each, "to_local") else each).flatten() for each in gradients])


def bits(c):
    return {f"{row.module}:{row.op}:{row.slot}": row.bits for row in c.report().rows if row.codec == "groups"}


def data_parallel(model, world):
    """Copies whose gradients are averaged."""
    return DistributedDataParallel(model)


def fully_sharded(model, world):
    """Parameters that are spread over all ranks and gathered block by block."""
    return _sharded(model, init_device_mesh("cpu", (world,)))


def tensor_parallel(model, world):
    """Blocks that are split column by column and row by row."""
    return _split(model, init_device_mesh("cpu", (world,)))


def hybrid(model, world):
    """Blocks that are split over two ranks, and what each of them has spread over two others."""
    mesh = init_device_mesh("cpu", (world // 2, 2), mesh_dim_names=("data", "tensor"))
    return _sharded(_split(model, mesh["tensor"]), mesh["data"])


def _sharded(model, mesh):
    for block in model:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def _split(model, mesh):
    for block in model:
        parallelize_module(block, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
    return model


def frozen(spread):
    """The same with weights that are not trained, as beneath adapters."""

    def run(model, world):
        for block in model:
            block.up.weight.requires_grad_(False)
            block.down.weight.requires_grad_(False)
        return spread(model, world)

    return run


def steps_of(spread):
    """Four steps on data that is the same on all ranks, so that the losses are those of a process that is alone."""

    def run(rank, world, enabled):
        model = network()
        parallel = spread(model, world)
        c = gact.Compressor(model, bits=8, min_bytes=0, enabled=enabled)
        generator, optimizer = torch.Generator().manual_seed(1), torch.optim.SGD(model.parameters(), lr=0.05)
        losses = []
        with Collectives() as counting:
            for _ in range(4):
                optimizer.zero_grad()
                with c:
                    loss = (parallel(torch.randn(BATCH, WIDTH, generator=generator)) - 1).square().mean()
                loss.backward()
                losses.append(loss.item())
                del loss
                optimizer.step()
        return c, model.parameters(), losses, counting.count

    return run


def pipeline(name, around):
    """Three steps of a schedule with four microbatches."""

    def run(rank, world, enabled):
        schedule = getattr(pipelining, f"Schedule{name}")
        full = network()
        mean = lambda result, target: (result - target).square().mean()  # noqa: E731
        share = BLOCKS // (2 * world if name.startswith("Interleaved") else world)
        mine = [rank, rank + world] if name.startswith("Interleaved") else [rank]
        parts = nn.ModuleList([full[share * each : share * (each + 1)] for each in mine])
        count = world * len(mine)
        stages = [
            pipelining.PipelineStage(part, rank + world * at, count, torch.device("cpu"))
            for at, part in enumerate(parts)
        ]
        steps = schedule(stages if len(mine) > 1 else stages[0], 4, loss_fn=mean)
        c = gact.Compressor(parts, bits=8, min_bytes=0, enabled=enabled)
        generator, optimizer = torch.Generator().manual_seed(1), torch.optim.SGD(parts.parameters(), lr=0.05)
        losses = []
        with Collectives() as counting, c if around else nullcontext():
            for _ in range(3):
                inputs, targets = (torch.randn(BATCH, WIDTH, generator=generator) for _ in range(2))
                optimizer.zero_grad()
                with nullcontext() if around else c:
                    found, last = [], rank == world - 1
                    steps.step(*[inputs] * (rank == 0), **({"target": targets, "losses": found} if last else {}))
                    losses += [sum(each.item() for each in found) / len(found)] if last else []
                optimizer.step()
        return c, parts.parameters(), losses, counting.count

    return run


SCENARIOS = {
    "data parallel": steps_of(data_parallel),
    "fully sharded": steps_of(fully_sharded),
    "tensor parallel": steps_of(tensor_parallel),
    "hybrid": steps_of(hybrid),
    "hybrid, frozen": steps_of(frozen(hybrid)),
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
        "weights": [f"{row.module} {row.op}" for row in report.rows if row.op == "linear" and row.slot == 1],
        "reasons": sorted({row.reason for row in report.rows if row.reason}),
        "unmeasured": report.unmeasured,
    }
    (Path(folder) / f"{rank}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
