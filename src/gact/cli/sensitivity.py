"""``gact sensitivity``: predicted against measured gradient noise of a demo network."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from ..compressor import Compressor
from ..precision.comparison import draw, table
from .picture import check_picture

_BATCH = 64


def run_sensitivity(
    network: str, bits: float, steps: int, rounds: int, plot: Path | None, as_json: bool = False
) -> None:
    """Train a demo network for some steps, then compare what is predicted for each site with what is measured.

    Args:
        network: Which of the demo's networks.
        bits: Average width.
        steps: Steps of training before.
        rounds: Roundings that are averaged for each site.
        plot: Picture to write, if any.
        as_json: Print JSON instead of a table.

    Raises:
        Exit: Of typer, with status 1, if the network is unknown, or something that is needed is missing.
    """
    check_picture(plot, "--plot")
    from ..demo import digits
    from ..demo.networks import NETWORKS

    if network not in NETWORKS:
        typer.echo(f"gact: the network must be one of {', '.join(NETWORKS)}, got {network}.", err=True)
        raise typer.Exit(1)
    torch.manual_seed(0)
    model = NETWORKS[network]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    compressor = Compressor(model, bits=bits, min_bytes=4096)

    def loss_of(batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    batches = digits.batches(digits.load(), _BATCH, 1 + steps * _BATCH // 1024, seed=0)
    for _ in range(steps):
        with compressor:
            loss = loss_of(next(batches))
        compressor.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    batch = next(batches)
    compared = compressor.predicted_against_measured(lambda: loss_of(batch), rounds)
    if plot is not None:
        draw(compared, plot)
    if as_json:
        rows = [{**asdict(each), "site": each.site and each.site.module, "ratio": each.ratio} for each in compared]
        typer.echo(json.dumps({"network": network, "bits": bits, "steps": steps, "rows": rows}, indent=2))
        return
    typer.echo(f"{network}, {bits:g} bits on average, after {steps} steps: gradient noise |g - g0|^2 / |g0|^2\n")
    typer.echo(table(compared))
    if plot is not None:
        typer.echo(f"\npicture: {plot}")
