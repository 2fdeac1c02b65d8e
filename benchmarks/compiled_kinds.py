"""Every kind of the gradient harness as a compiled function: what is wrong at 8, 4 and 2 bits.

python -m benchmarks.compiled_kinds                                  # all kinds, operators as Inductor writes them out
python -m benchmarks.compiled_kinds --backend inductor losses steep  # those of two files, by Inductor itself

Takes minutes. The exit status is 1 if a kind is wrong. A kind that torch does not compile without gact is told and
counts as right. Tensors of 64 elements and more are coded, so that small kinds are not spared.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from gact.compiled import values

TESTS = Path(__file__).parents[1] / "tests" / "gradients"
LEFT_OUT = {
    "divided channels_gated_before_a_batch_norm": "quiet channels share the step of a code with loud ones: known",
    "divided softmax scattered sum": "two graphs, of which neither shows the whole",
    "inner": "double backward is nothing that torch compiles",
    "storage resized_storage": "torch gives compiled backward memory that was freed",
}
WIDTHS = {"graphs": (8, 4), "matrices": (8, 4), "turning": (8, 4), "uneven": (4,)}
"""Widths at which kinds of a file are held to anything, where it is not at all three."""
SMALL = 64


def kinds(chosen: list[str]) -> Iterator[tuple[str, Any]]:
    """Names, with what makes a model and its loss."""
    sys.path.insert(0, str(TESTS))
    measure = importlib.import_module("kinds")
    for path in sorted(TESTS.glob("test_gradients_*.py")):
        name = path.stem.removeprefix("test_gradients_")
        if (chosen and name not in chosen) or name in LEFT_OUT or name in ("compiled", "written_out"):
            continue
        for found in list(vars(importlib.import_module(path.stem)).values()):
            if isinstance(found, measure.Kinds):
                yield from ((f"{name} {kind}", make) for kind, make in found.items())


def faults(make: Any, backend: str, widths: tuple[int, ...]) -> list[str]:
    """What is wrong with one, plain compiled code being right."""
    measure = importlib.import_module("measure")
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, loss = make()
    compiled, losses = torch.compile(loss, backend=backend), []

    def run() -> torch.Tensor:
        value: torch.Tensor = compiled()
        losses.append(value.detach().clone())
        return value

    gradient = measure.network_gradient(model, run)
    try:
        expected = gradient(nullcontext())
    except Exception as error:
        print(f"    torch does not compile it: {type(error).__name__}")
        return []
    found = []
    for bits in widths:
        context = measure.compressor(model, bits)
        fault = measure.kind_fault(lambda context=context: gradient(context), expected, bits)
        found += [f"{bits} bits: {fault}"] if fault else []
        found += [] if torch.equal(losses[-1], losses[0]) else [f"{bits} bits: another loss"]
    return found


def main() -> int:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="names of files of tests/gradients, without test_gradients_")
    parser.add_argument("--backend", default="aot_eager_decomp_partition", help="as torch.compile takes it")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    values.SMALL = SMALL
    wrong = count = 0
    for name, make in kinds(options.files):
        if name in LEFT_OUT:
            continue
        found = faults(make, options.backend, WIDTHS.get(name.split()[0], (8, 4, 2)))
        count, wrong = count + 1, wrong + bool(found)
        if found:
            print(f"{name}: {'; '.join(found)}", flush=True)
    print(f"{wrong} of {count} kinds are wrong under {options.backend}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
