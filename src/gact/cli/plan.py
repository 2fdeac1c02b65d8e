"""``gact plan``: what training would take in every way, as a table."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from ..planning import Plan, plan
from ..planning.factory import call_factory
from ..planning.plan import HEAD, rows, summary
from ..planning.planner import SIZES
from ..store import StoreError

_WIDTH = 100
"""Columns where the output is no terminal."""


def run_plan(
    factory: str,
    memory: str | None,
    device: str | None,
    bits: int,
    optimizer_bytes: float,
    offload: str | None,
    sizes: bool,
    save: Path | None = None,
    as_json: bool = False,
) -> None:
    """Plan for what a factory makes and print the table.

    Raises:
        Exit: Of typer, with status 1, if something is wrong; what and why is printed.
    """
    try:
        model, inputs, loss_fn = call_factory(factory)
        found = plan(
            model,
            inputs,
            loss_fn,
            memory=memory,
            device=device,
            bits=bits,
            optimizer_bytes_per_parameter=optimizer_bytes,
            offload=offload,
            sizes=SIZES if sizes else (),
        )
    except (ValueError, TypeError, OSError, StoreError) as error:
        typer.echo(f"gact: {error}", err=True)
        raise typer.Exit(1) from None
    if save is not None:
        try:
            found.save(save)
        except OSError as error:
            typer.echo(f"gact: {error}", err=True)
            raise typer.Exit(1) from None
    if as_json:
        typer.echo(found.to_json())
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    _print(console, found)


def _print(console: Console, found: Plan) -> None:
    first, *others = summary(found)
    console.print(first, highlight=False)
    table = Table()
    for column, name in enumerate(HEAD):
        table.add_column(name, justify="right" if column else "left")
    for cells in rows(found):
        table.add_row(*cells, style="bold" if cells[0].endswith("*") else None)
    console.print(table)
    for line in others:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
