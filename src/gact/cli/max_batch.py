"""``gact bench max-batch``: the largest batch of each level, found by trying."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table

from ..memory.resident import resident_bytes
from ..planning.trials import MaxBatch, MaxBatchError, max_batch
from ..planning.trials.search import AVAILABLE, Attempt
from ..text import sized


def run_max_batch(
    factory: str,
    limit: str,
    levels: list[str] | None,
    bits: int,
    start: int,
    optimizer: str,
    scratch: str | None,
    as_json: bool = False,
) -> list[MaxBatch]:
    """Find the largest batches and print them.

    Returns:
        One row for each level.

    Raises:
        Exit: Of typer, with status 1, if something is wrong; what and why is printed.
    """
    console = Console(highlight=False, stderr=as_json)

    def tell(attempt: Attempt) -> None:
        verdict = f"{attempt.seconds:.2f} s" if attempt.fits else "too large"
        console.print(f"  batch {attempt.batch}: {attempt.peak_bytes / 2**20:.0f} MiB, {verdict}")

    found: list[MaxBatch] = []
    try:
        for level in levels or AVAILABLE:
            console.print(f"{level}:")
            found.append(
                max_batch(
                    factory, limit, level, bits=bits, optimizer=optimizer, scratch=scratch, start=start, tell=tell
                )
            )
    except (ValueError, OSError, MaxBatchError) as error:
        typer.echo(f"gact: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({"limit": limit, "levels": [asdict(each) for each in found]}, indent=2))
    else:
        _print(console, found, limit)
    return found


def _print(console: Console, found: list[MaxBatch], limit: str) -> None:
    table = Table(title=f"largest batch with {limit} of resident memory")
    for column, name in enumerate(("level", "batch", "x of plain", "peak MiB", "samples/s")):
        table.add_column(name, justify="right" if column else "left")
    plain = next((row.batch for row in found if row.level == "L0"), 0)
    for row in found:
        ratio = f"{row.batch / plain:.1f}" if plain else "-"
        speed = f"{row.batch / row.seconds:.1f}" if row.seconds else "-"
        table.add_row(row.level, str(row.batch), ratio, f"{row.peak_bytes / 2**20:.0f}", speed)
    console.print(table)
    if any(row.batch == 0 for row in found):
        alone = resident_bytes()
        told = f" This process, which has torch and no model, takes {sized(alone)}." if alone else ""
        console.print(f"Batch 0: not one sample fits into {limit}.{told} Try a larger --limit.", soft_wrap=True)
