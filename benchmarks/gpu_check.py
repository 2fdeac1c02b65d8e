"""Every test and timing that needs a GPU, in one call: ``python benchmarks/gpu_check.py``.

Without a GPU it says so and runs the checks that Triton's interpreter can do. ``docs/gpu.md`` says how to read
the table.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import gact  # noqa: E402 - found by the line above, as are the next
from benchmarks.codec_calls import ROUNDINGS, dequantizer, dequantizer_into, nbytes, quantizer  # noqa: E402
from benchmarks.rows import Row, Spread  # noqa: E402

SIZES = {"256 MiB": 2**28, "64 MiB": 2**26, "4 MiB": 2**22, "256 KiB": 2**18}
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ROUNDS = 30
TESTS = ROOT / "tests" / "ops"


def run_tests(*names: str) -> int:
    """Run test files of the kernels in a process of their own; their output is shown."""
    files = [str(TESTS / f"test_triton_{name}.py") for name in names]
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "-rs", *files], cwd=ROOT).returncode


def milliseconds(call: Callable[[], object], rounds: int) -> list[float]:
    """Time of each of several calls on the device, by its own clock."""
    for _ in range(3):
        call()
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(rounds)]
    for start, end in events:
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in events]


def codec_rows(rounds: int, sizes: Sequence[str]) -> Iterator[Row]:
    """Quantize and dequantize against ``y.copy_(x)``, at every width."""
    for size in sizes:
        for dtype in DTYPES:
            x = torch.randn(SIZES[size] // dtype.itemsize, device="cuda").to(dtype)
            config = {"size": size, "dtype": str(dtype).removeprefix("torch.")}
            y = torch.empty_like(x)
            copy = milliseconds(lambda x=x, y=y: y.copy_(x), rounds)
            yield Row("copy", "gbps", Spread.of(2e-6 * x.nbytes / time for time in copy), config)
            for bits in range(1, 9):
                yield from _width_rows(x, y, bits, statistics.median(copy), rounds, config)


def _width_rows(x: Tensor, y: Tensor, bits: int, copy: float, rounds: int, config: dict[str, object]) -> Iterator[Row]:
    for rounding in ROUNDINGS:
        times = milliseconds(quantizer(x, bits, rounding), rounds)
        where = {**config, "bits": bits, "rounding": rounding}
        yield Row("quantize", "ratio_to_copy", Spread.of(time / copy for time in times), where)
    code = quantizer(x, bits, "dithered")()
    where = {**config, "bits": bits}
    for way, call in (("dequantize_into", dequantizer_into(y, code, bits)), ("dequantize", dequantizer(code, x, bits))):
        times = milliseconds(call, rounds)
        yield Row(way, "ratio_to_copy", Spread.of(time / copy for time in times), where)
        yield Row(way, "gbps", Spread.of(1e-6 * (x.nbytes + nbytes(code)) / time for time in times), where)
    yield _rebuild_row(y, code, bits, copy, rounds, where)


def _rebuild_row(
    y: Tensor, code: tuple[Tensor, Tensor], bits: int, copy: float, rounds: int, where: dict[str, object]
) -> Row:
    """A rebuilt residual sum, normalised in channels of 4096 elements and masked, against ``y.copy_(x)``."""
    lines, inner = [torch.ones(2, 64, device="cuda")], [4096]
    mask = torch.ops.gact.encode_mask(y, 0.0, float("inf"))

    def call() -> object:
        return torch.ops.gact.rebuild_into(y, *code, bits, 256, 0, lines, inner, mask, 1.0, True)

    return Row("rebuild_into", "ratio_to_copy", Spread.of(time / copy for time in milliseconds(call, rounds)), where)


def _network() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(512, 8, 2048, dropout=0.0, activation="gelu", batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 6, enable_nested_tensor=False), nn.Linear(512, 10)).cuda()
    return model, torch.randn(32, 256, 512, device="cuda"), torch.randint(10, (32 * 256,), device="cuda")


def step_rows(rounds: int) -> Iterator[Row]:
    """A training step of a small transformer, plain and compressed: time, peak memory and the gradient's noise."""
    model, inputs, labels = _network()
    compressor = gact.Compressor(model, bits=4, adaptive=False)

    def plain() -> None:
        F.cross_entropy(model(inputs).flatten(0, 1), labels).backward()

    def compressed() -> None:
        with compressor:
            loss = F.cross_entropy(model(inputs).flatten(0, 1), labels)
        compressor.backward(loss)

    gradients = {}
    for way, call in (("plain step", plain), ("compressed step", compressed)):
        model.zero_grad()
        call()
        gradients[way] = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        times = milliseconds(call, rounds)
        yield Row(way, "ms", Spread.of(times))
        yield Row(way, "peak_mib", Spread.exact((torch.cuda.max_memory_allocated() - before) / 2**20))
    exact, found = gradients.values()
    yield Row("compressed step", "noise", Spread.exact(float(((found - exact).norm() / exact.norm()) ** 2)))


def main(arguments: Sequence[str]) -> int:
    """Run everything; the exit status is 0 if no test failed.

    Args:
        arguments: The command line without the program.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="one size and few rounds")
    quick = parser.parse_args(arguments).quick
    if not torch.cuda.is_available():
        print(
            "No GPU here (torch.cuda.is_available() is false): only the checks in Triton's interpreter run.", flush=True
        )
        return run_tests("interpreted")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    status = run_tests("device", "registration", "interpreted", "compiled")
    rounds = 5 if quick else ROUNDS
    for row in codec_rows(rounds, ["4 MiB"] if quick else list(SIZES)):
        print(row, flush=True)
    for row in step_rows(rounds):
        print(row, flush=True)
    print("all tests passed" if status == 0 else "TESTS FAILED, see above")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
