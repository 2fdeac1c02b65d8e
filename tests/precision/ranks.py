"""What each of two processes does in the distributed tests; writes what it saw to a file named by its rank.

Run as ``python ranks.py FOLDER RANK SCENARIO...``; the processes find each other through a file in the folder.
"""

import json
import sys
import time
import warnings
from datetime import timedelta
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


def asked_alone(rank):
    """Rank 0 alone asks for a measurement, then rank 1 loads a state that the other has not; then rank 0 is alone."""
    model = network()
    parallel = DistributedDataParallel(model)
    c = gact.Compressor(model, bits=3, min_bytes=0, probe_interval=None)
    generator = torch.Generator().manual_seed(rank)
    early = gact.Compressor(network(), bits=3, min_bytes=0, probe_interval=None).state_dict()
    passes, widths, warned = [], [], []

    def steps(count, late=0.0):
        for _ in range(count):
            model.zero_grad()
            time.sleep(late)
            with c:
                loss = parallel(torch.randn(32, 64, generator=generator)).square().mean()
            loss.backward()
            passes.append(c._controller.passes)
            widths.append({str(site): bits for site, bits in c._controller.widths.items()})

    def alone(count):
        """A rank that alone goes on with steps of its own, of which the other knows nothing."""
        for _ in range(count):
            with c:
                loss = model(torch.randn(32, 64, generator=generator)).square().mean()
            loss.backward()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        steps(4)  # the first measurement
        if rank == 0:
            c.measure_next()
        steps(4)
        if rank == 1:
            c.load_state_dict({**early, "precision": {**early["precision"], "turns": 40, "is_used": 1}})
        steps(5, late=0.05 * rank)  # rank 0 has begun each step and waits for gradients when rank 1 begins it
        if rank == 0:
            c.measure_next()
            alone(6)
        warned = [str(each.message) for each in caught if "on the ranks" in str(each.message)]
    steps(3)
    return {
        "passes": passes,
        "widths": widths,
        "warned": warned,
        "count": c._controller.replicas.count,
        "failure": c._controller.failure,
    }


def averaged_by_hand(rank):
    """No DistributedDataParallel; one compressor is given the group, and is told only on rank 1."""
    model = network()
    c = gact.Compressor(model, bits=3, min_bytes=0, probe_interval=None, process_group=dist.group.WORLD)
    generator = torch.Generator().manual_seed(rank)
    for number in range(10):
        model.zero_grad()
        if number == 4 and rank == 1:
            c.measure_next()
        with c:
            loss = model(torch.randn(32 * (1 + rank), 64, generator=generator)).square().mean()
        loss.backward()
        for each in model.parameters():
            dist.all_reduce(each.grad)
    return {
        "widths": {str(site): bits for site, bits in c._controller.widths.items()},
        "passes": c._controller.passes,
        "failure": c._controller.failure,
    }


def resumed(rank):
    """Six steps in one go, and the rest of them with what was saved after the first, second and third."""

    def steps(first, c, network):
        saved = []
        for number in range(first, 6):
            network.zero_grad()
            generator = torch.Generator().manual_seed(10 * number + rank)
            with c:
                loss = network(torch.randn(32, 64, generator=generator)).square().mean()
            loss.backward()
            saved.append(c.state_dict())
        return saved, torch.cat([each.grad.flatten() for each in network.parameters()])

    def begun():
        model = network()
        return gact.Compressor(model, bits=3, min_bytes=0, probe_interval=2), DistributedDataParallel(model)

    saved, whole = steps(0, *begun())
    equal, agreed = [], []
    for number in range(1, 4):
        c, model = begun()
        c.load_state_dict(saved[number - 1])
        agreed.append(saved[number - 1]["precision"]["schedule"]["agreed"])
        equal.append(torch.equal(steps(number, c, model)[1], whole))
    return {"equal": equal, "agreed": agreed, "failure": c._controller.failure, "parted": c._controller.parted}


def out_of_work(rank):
    """Rank 1 has half as many batches, and joins the other's collectives when they are used up."""
    model = network()
    parallel = DistributedDataParallel(model)
    c = gact.Compressor(model, bits=3, min_bytes=0, probe_interval=2)
    generator = torch.Generator().manual_seed(rank)
    with parallel.join():
        for _ in range(6 if rank else 12):
            model.zero_grad()
            with c:
                loss = parallel(torch.randn(32, 64, generator=generator)).square().mean()
            loss.backward()
    return {"passes": c._controller.passes, "failure": c._controller.failure, "steps": c._steps.count}


def train(rank, scenario):
    others = {
        "uneven": train_unevenly,
        "asked": asked_alone,
        "by hand": averaged_by_hand,
        "resumed": resumed,
        "out of work": out_of_work,
    }
    if scenario in others:
        return others[scenario](rank)
    if "shard" in scenario:
        return train_sharded(rank, scenario)
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
    """A hook that fails in the measurement's first comparison."""
    seen = [0]

    def hook(gradient):
        seen[0] += gact.is_measuring()
        if gact.is_measuring() and seen[0] == 2:
            raise LookupError("once too often")
        return gradient

    return hook


def main(folder, rank, *scenarios):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    store, patience = f"file://{folder}/store", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=patience)
    seen = [train(rank, scenario) for scenario in scenarios]
    (Path(folder) / f"{rank}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
