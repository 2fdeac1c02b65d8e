"""``gact profile``: where the memory of a training step goes, plain and compressed."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from ..autograd.internals import tree_leaves
from ..compressor import Compressor
from ..memory import MemoryProfile, profile_step
from ..memory.figures import table
from ..planning.factory import FactoryError, call_factory
from ..planning.failures import is_users, users_traceback
from ..planning.subject import LossFunction, loss_of
from ..text import mebibytes
from .script import WARM, Outcome, run_script

_WIDTH = 100
"""Columns where the output is no terminal."""
_T = TypeVar("_T")


def run_profile(
    target: str, arguments: list[str], bits: float, optimizer: bool, html: Path | None, as_json: bool
) -> None:
    """Profile a step of a script or of what a factory makes, plainly and compressed, and print what set the peaks.

    Args:
        target: A script's path, ending with ``.py``, or a factory as ``package.module:function``.
        arguments: The script's.
        bits: Average width of a code.
        optimizer: Whether AdamW's state and step count; a script has its own optimizer.
        html: Page to write, if any.
        as_json: Print JSON instead.

    Raises:
        Exit: Of typer, with status 1, if something is wrong; what and why is printed.
    """
    if html is not None and not html.resolve().parent.is_dir():
        _fail(f"there is no folder {html.parent}. Make it first, or choose another --html.")
    ways: dict[str, float | None] = {"plain": None, f"{bits:g} bits": bits}
    try:
        if target.endswith(".py"):
            outcomes = _of_script(target, arguments, ways)
        else:
            outcomes = {way: _apart(profiled, target, width, optimizer) for way, width in ways.items()}
    except (ValueError, TypeError, OSError) as error:
        _fail(str(error))
    profiles = {way: each.profile for way, each in outcomes.items() if each.profile is not None}
    report = next((each.report for each in outcomes.values() if each.report is not None), None)
    if html is not None and report is not None:
        html.write_text(report.to_html(profiles, f"gact profile: {target}"), encoding="utf-8")
    if as_json:
        shown = {way: json.loads(each.to_json()) for way, each in profiles.items()}
        typer.echo(json.dumps({**shown, **({"report": json.loads(report.to_json())} if report else {})}, indent=2))
        return
    _print(profiles)
    if report is not None:
        typer.echo(f"\nwhat the compressed step kept:\n{report}")
    if html is not None:
        typer.echo(f"\npage: {html}")


def _apart(run: Callable[..., _T], *arguments: Any) -> _T:
    """What a function returns in a process of its own: one that has freed memory before would show its resident set."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(run, *arguments).result()


def _of_script(path: str, arguments: list[str], ways: dict[str, float | None]) -> dict[str, Outcome]:
    """What came of a script's step in each way."""
    if not Path(path).is_file():
        raise ValueError(f"there is no script {path}. Name a file, or a factory as package.module:function.")
    outcomes = {}
    for way, bits in ways.items():
        outcome = _apart(run_script, path, arguments, bits)
        if outcome.profile is None:
            raise ValueError(outcome.failure)
        outcomes[way] = outcome
    return outcomes


def profiled(factory: str, bits: float | None, optimizer: bool) -> Outcome:
    """The profile of a training step, after some steps of the same, and what was kept in it.

    Args:
        factory: As ``package.module:function``.
        bits: Average width of a code; None for plain training.
        optimizer: Whether AdamW's state and step count.
    """
    model, inputs, loss_fn = call_factory(factory)
    model.train()
    compressor = Compressor(model, enabled=False) if bits is None else Compressor(model, bits=bits)
    adam = torch.optim.AdamW(model.parameters()) if optimizer else None
    step = _step(model, inputs, loss_fn, compressor, adam)
    try:
        for _ in range(WARM):
            step()
    except Exception as error:
        if isinstance(error, ValueError) and not is_users(error):
            raise
        raise FactoryError(f"a step of {factory} failed:\n{users_traceback(error)}") from error
    batch = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    profile = profile_step(step, model, [*batch, *_state(adam)])
    return Outcome(profile, None if bits is None else compressor.report())


def _step(
    model: nn.Module,
    inputs: Any,
    loss_fn: LossFunction | None,
    compressor: Compressor,
    optimizer: torch.optim.Optimizer | None,
) -> Callable[[], None]:
    def step() -> None:
        with compressor:
            loss = loss_of(model, inputs, loss_fn)
        compressor.backward(loss)
        if optimizer is not None:
            optimizer.step()
        model.zero_grad(set_to_none=True)

    return step


def _state(optimizer: torch.optim.Optimizer | None) -> list[Tensor]:
    values = [] if optimizer is None else [value for state in optimizer.state.values() for value in state.values()]
    return [value for value in values if isinstance(value, Tensor)]


def _print(profiles: dict[str, MemoryProfile]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    phases = list(dict.fromkeys(phase for each in profiles.values() for phase in each.phase_peaks))
    resident = all(each.resident_peaks for each in profiles.values())
    shown = Table(title="peaks of one training step, MiB")
    for name in ("way", *phases, "peak", *["resident peak"] * resident):
        shown.add_column(name, justify="right" if name != "way" else "left")
    for way, each in profiles.items():
        cells = [mebibytes(each.phase_peaks.get(phase, 0)) for phase in phases]
        process = [mebibytes(each.resident_peak or 0)] if resident else []
        shown.add_row(way, *cells, mebibytes(each.peak_bytes), *process)
    console.print(shown)
    for way, each in profiles.items():
        console.print(f"\n{way}", style="bold", highlight=False, markup=False)
        console.print(table(each), highlight=False, markup=False, soft_wrap=True)


def _fail(reason: str) -> None:
    typer.echo(f"gact: {reason}", err=True)
    raise typer.Exit(1)
