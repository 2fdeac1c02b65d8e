"""``gact doctor``: what is installed, what runs, does it work."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import typer
from rich.console import Console

from .facts import facts
from .selftest import run_checks

_NAME_WIDTH = 28


def run_doctor(as_json: bool = False) -> int:
    """Print the facts, run the self-test.

    Args:
        as_json: Print both as JSON.

    Returns:
        Exit status: 0, or 1 if a check failed.
    """
    if as_json:
        checks = run_checks()
        typer.echo(json.dumps({"facts": dict(facts()), "checks": [asdict(check) for check in checks]}, indent=2))
        return 0 if all(check.passed for check in checks) else 1
    console = Console(soft_wrap=True, highlight=False)
    for name, fact in facts():
        console.print(f"{name:{_NAME_WIDTH}} {fact}", markup=False)
    start = time.perf_counter()
    checks = run_checks()
    console.print(f"\nself-test, {time.perf_counter() - start:.1f} s")
    for check in checks:
        console.print(f"{check.name:{_NAME_WIDTH}} {'ok' if check.passed else 'FAILED'}: {check.detail}", markup=False)
    if all(check.passed for check in checks):
        return 0
    console.print("\nThe self-test failed: gradients would be wrong. GACT_CPU=reference runs plain torch instead.")
    return 1
