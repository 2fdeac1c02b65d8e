"""Several processes with DistributedDataParallel: ``torchrun --nproc-per-node 2 examples/ddp.py``.

More machines: ``torchrun --nnodes 2 --nproc-per-node 8 --rdzv-endpoint HOST:29500 examples/ddp.py`` on each.
All ranks measure in the same steps and have the same widths; the first prints its report, and each could log its own.
"""

import logging

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import gact


def main() -> None:
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank = dist.get_rank()
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.WARNING, format=f"rank {rank}: %(message)s")
    device = (
        torch.device("cuda", rank % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")
    )

    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.LayerNorm(128), nn.Linear(128, 128), nn.GELU()) for _ in range(6)]
    model = nn.Sequential(*blocks, nn.Linear(128, 10)).to(device)
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    compressor = gact.Compressor(model, bits=4)
    torch.manual_seed(rank)
    for _ in range(8):
        inputs = torch.randn(256, 128, device=device)
        with compressor:
            loss = F.cross_entropy(parallel(inputs), inputs[:, :10].argmax(dim=1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    if rank == 0:
        print(f"loss {loss.item():.3f}\n{compressor.report()}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
