"""``gact demo``: progress, table, picture."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .. import __version__
from .facts import kernels, threads
from .picture import check_picture

_WIDTH = 88
"""Columns where the output is no terminal: as many as the table takes."""


def run_demo(seeds: int, epochs: int, output: Path, as_json: bool = False) -> None:
    """Run the demonstration and print what came out.

    Args:
        seeds: Trainings of each network in each way.
        epochs: Passes over the training images.
        output: Picture to write.
        as_json: Print the results as JSON instead of a table; progress goes to the standard error.

    Raises:
        Exit: Of typer, with status 1, if an extra is missing or the picture's folder does not exist.
    """
    check_picture(output, "--output")
    from ..demo import Settings, run
    from ..demo.picture import draw
    from ..demo.run import batches_of
    from ..demo.table import explanation, table

    console = Console(stderr=as_json)
    if not console.is_terminal:
        console = Console(width=_WIDTH, stderr=as_json)
    settings = Settings(seeds=seeds, epochs=epochs)
    start = time.perf_counter()
    console.print(f"gact {__version__}, torch {torch.__version__}, {threads()}, kernels: {kernels()}", highlight=False)
    with _progress(console, batches_of(settings)) as advance:
        results = run(settings, advance)
    draw(results, output)
    if as_json:
        typer.echo(json.dumps([asdict(result) for result in results], indent=2))
        return
    console.print()
    console.print(table(results))
    console.print(explanation(settings), highlight=False)
    console.print(f"\npicture: {output}   time: {time.perf_counter() - start:.0f} s", highlight=False)


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal, elsewhere one line for each thing begun."""
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=total)
        yield lambda label: bar.update(task, advance=1, description=label)


def _lines(console: Console) -> Callable[[str], None]:
    begun: set[str] = set()

    def advance(label: str) -> None:
        if label not in begun:
            begun.add(label)
            console.print(f"training: {label}", highlight=False)

    return advance
