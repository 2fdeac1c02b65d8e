"""Sharded parameters with ``fully_shard``: ``torchrun --nproc-per-node 2 examples/fsdp2.py``.

Its hooks count on one backward pass for each forward, so nothing is measured: every tensor has the width asked for.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import gact


def main() -> None:
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    rank = dist.get_rank()
    device = torch.device(kind, rank % torch.cuda.device_count()) if kind == "cuda" else torch.device(kind)

    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.LayerNorm(128), nn.Linear(128, 128), nn.GELU()) for _ in range(6)]
    model = nn.Sequential(*blocks, nn.Linear(128, 10)).to(device)
    mesh = init_device_mesh(kind, (dist.get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    compressor = gact.Compressor(model, bits=4, adaptive=False)
    torch.manual_seed(rank)
    for _ in range(8):
        inputs = torch.randn(256, 128, device=device)
        with compressor:
            loss = F.cross_entropy(model(inputs), inputs[:, :10].argmax(dim=1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    if rank == 0:
        print(f"loss {loss.item():.3f}\n{compressor.report()}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
