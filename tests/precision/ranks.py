"""What each of two processes does in the distributed tests; writes what it saw to a file named by its rank.

Run as ``python ranks.py FOLDER RANK SCENARIO``; the processes find each other through a file in the folder.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import gact


def reduced(parallel):
    """Counts the buckets that are reduced, with the ordinary reduction."""
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    count = []

    def hook(state, bucket):
        count.append(bucket.index())
        return allreduce_hook(state, bucket)

    parallel.register_comm_hook(None, hook)
    return count


def network():
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(4)], nn.Linear(64, 8))


def sharded(model, scenario):
    """The same network with its parameters spread over the ranks."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    if "fully_shard" in scenario:
        mesh = init_device_mesh("cpu", (2,))
        for block in list(model)[:-1]:
            fully_shard(block, mesh=mesh)
        return fully_shard(model, mesh=mesh)
    policy = ModuleWrapPolicy({nn.Linear})
    return FullyShardedDataParallel(model, auto_wrap_policy=policy, device_id=torch.device("cpu"), use_orig_params=True)


def train_sharded(rank, scenario):
    """Four steps; the model is known to the compressor, or only its graph is."""
    plain, model = network(), sharded(network(), scenario)
    known = None if "unknown" in scenario else model
    options = {"adaptive": False} if "uniform" in scenario else {}
    c = gact.Compressor(known, bits=4, min_bytes=0, **options)
    generator = torch.Generator().manual_seed(rank)
    finest = []
    for _ in range(4):
        model.zero_grad()
        with c:
            loss = model(torch.randn(32, 64, generator=generator)).square().mean()
        finest.append(max(row.bits for row in c.report().rows if row.op == "tanh"))
        c.backward(loss)
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    local = [each.to_local() if hasattr(each, "to_local") else each for each in gradients]
    return {
        "gradient": torch.cat([each.flatten() for each in local]).tolist(),
        "finest": finest,
        "elements": sum(each.numel() for each in plain.parameters()),
        "failure": c._controller.failure,
        "report": str(c.report()),
        "widths": len(c._controller.widths),
    }


def train_unevenly(rank):
    """Plain backward passes; rank 0 also evaluates with gradients, differentiates alone and accumulates."""
    model = network()
    parallel = DistributedDataParallel(model)
    c = gact.Compressor(model, bits=3, min_bytes=0, probe_interval=4)
    generator = torch.Generator().manual_seed(rank)

    def loss_of(network):
        with c:
            return network(torch.randn(32 * (1 + rank), 64, generator=generator)).square().mean()

    for number in range(8):
        for _ in range(number if rank == 0 else 0):
            loss_of(model).item()
            loss_of(model).backward()
        model.zero_grad()
        for _ in range(rank):
            with parallel.no_sync():
                loss_of(parallel).backward()
        for _ in range(number if rank == 0 else 0):
            loss_of(parallel).item()
        loss_of(parallel).backward()
    return {
        "widths": {str(site): bits for site, bits in c._controller.widths.items()},
        "passes": c._controller.passes,
        "variance": c._controller.batch_variance,
        "gradient": torch.cat([each.grad.flatten() for each in model.parameters()]).tolist(),
    }


def train(rank, scenario):
    if "shard" in scenario:
        return train_sharded(rank, scenario)
    if scenario == "uneven":
        return train_unevenly(rank)
    model = network()
    parallel = DistributedDataParallel(model)
    buckets = reduced(parallel)
    options = {"adaptive": False} if scenario == "uniform" else {"probe_interval": 4, "max_noise": 0.5}
    c = gact.Compressor(model, bits=3, min_bytes=0, **options)
    if scenario == "failing" and rank == 1:
        model[0][0].weight.register_hook(failing_hook())
    generator = torch.Generator().manual_seed(rank)
    for _ in range(8):
        model.zero_grad()
        with c:
            loss = parallel(torch.randn(32 * (1 + rank), 64, generator=generator)).square().mean() * (1 + 9 * rank)
        c.backward(loss)
    gradient = torch.cat([each.grad.flatten() for each in model.parameters()])
    return {
        "buckets": len(buckets),
        "widths": {str(site): bits for site, bits in c._controller.widths.items()},
        "passes": c._controller.passes,
        "variance": c._controller.batch_variance,
        "failure": c._controller.failure,
        "gradient": gradient.tolist(),
    }


def failing_hook():
    """A hook that fails in the second pass over one graph: the measurement's first comparison."""
    seen = [0]

    def hook(gradient):
        seen[0] += 1
        if seen[0] == 3:
            raise LookupError("once too often")
        return gradient

    return hook


def main(folder, rank, scenario):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    seen = train(rank, scenario)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
