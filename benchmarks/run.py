"""Runs benchmark cases and appends their rows to ``benchmarks/results/<case>.csv``.

    python benchmarks/run.py --list
    python benchmarks/run.py codec overhead
    python benchmarks/run.py codec --where bits=4 dtype=float32 --cpu avx2

``docs/benchmarks.md`` says what each case measures and how to read a row.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The folder of this file is none to import from: its datasets.py would stand for the library of that name.
sys.path[:] = [str(ROOT), *(each for each in sys.path if Path(each).resolve() not in (ROOT, ROOT / "benchmarks"))]

from benchmarks import cases  # noqa: E402 - found by the line above
from benchmarks.options import Options, parse_where  # noqa: E402


def names() -> list[str]:
    """All cases."""
    return sorted(found.name for found in pkgutil.iter_modules(cases.__path__) if not found.name.startswith("_"))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line, checked."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=summary, allow_abbrev=False)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="cases to run")
    parser.add_argument("--list", action="store_true", help="say which cases there are")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that a case runs")
    parser.add_argument(
        "--where", nargs="+", default=[], metavar="NAME=VALUE", help="measure these configurations only"
    )
    parser.add_argument("--cpu", metavar="SET", help="force an instruction set: avx512, avx2, baseline")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the rows")
    parsed = parser.parse_args(arguments)
    unknown = sorted(set(parsed.cases) - set(names()))
    if unknown or not (parsed.cases or parsed.list):
        parser.error(f"name cases out of {', '.join(names())}" + (f"; got {', '.join(unknown)}" if unknown else ""))
    try:
        parsed.where = parse_where(parsed.where)
    except ValueError as error:
        parser.error(str(error))
    return parsed


def run_elsewhere(arguments: Sequence[str], instruction_set: str) -> int:
    """Run the same in another process, whose kernels are of the given instruction set."""
    rest, skip = [], False
    for argument in arguments:
        if not (skip or argument.startswith("--cpu")):
            rest.append(argument)
        skip = argument == "--cpu"
    environment = {**os.environ, "GACT_CPU": instruction_set}
    return subprocess.run([sys.executable, __file__, *rest], env=environment).returncode


def main(arguments: Sequence[str]) -> int:
    """Run what the command line names.

    Args:
        arguments: The command line without the program.

    Returns:
        Exit status.
    """
    parsed = parse(arguments)
    if parsed.cpu:
        return run_elsewhere(arguments, parsed.cpu)
    modules = {name: importlib.import_module(f"benchmarks.cases.{name}") for name in parsed.cases or names()}
    if parsed.list:
        for name, module in modules.items():
            print(f"{name:10} {(module.__doc__ or '').splitlines()[0]}")
        return 0

    from benchmarks.rows import Writer

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore", message="gact compressed nothing")
    options = Options(parsed.quick, parsed.where)
    writer = Writer(parsed.output, arguments)
    for name, module in modules.items():
        print(f"\n{name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        for row in module.run(options):
            writer.append(name, row)
            print(f"  {row}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
