"""The memory of large codes is used again, up to a limit, and belongs to no tensor meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from gact.memory import allocator
from gact.ops import arena, cpu

MIB = 2**20
USUAL = 64 * MIB
HAS_DELETERS = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 11)

pytestmark = pytest.mark.skipif(not cpu.available(), reason="the C++ extension is not built")
keeps = pytest.mark.skipif(not HAS_DELETERS, reason="tensors of this torch cannot give memory back to an extension")


def quantize(mib: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Codes of so many MiB: 8 bits of as many elements."""
    x = torch.linspace(-1, 1, mib * MIB)
    codes, metadata = torch.ops.gact.quantize(x, 8, 256, seed, 1)
    return codes, metadata


@pytest.fixture(autouse=True)
def _empty_arena(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is kept before a test, and the allocator, to which the arena gives way, is off during it."""
    monkeypatch.setattr(allocator._State, "decided", allocator._State.decided)
    served = allocator.allocator_status().enabled
    allocator.use_allocator(False)
    arena.limit(0)
    arena.limit(USUAL)
    yield
    arena.limit(USUAL)
    if served:
        allocator.use_allocator()


@keeps
def test_memory_is_used_again() -> None:
    codes, metadata = quantize(2)
    address, expected = codes.data_ptr(), codes.clone()
    assert arena.kept() == 0
    del codes
    assert arena.kept() == 2 * MIB
    again, _ = quantize(2)
    assert again.data_ptr() == address
    assert arena.kept() == 0
    assert again.equal(expected)
    assert metadata.untyped_storage().nbytes() == metadata.nbytes


@keeps
def test_sizes_between_two_powers_share_steps_of_an_eighth() -> None:
    x = torch.ones(2 * MIB + 32 * 1000)
    codes = torch.ops.gact.quantize(x, 8, 256, 0, 1)[0]
    assert codes.untyped_storage().nbytes() == codes.numel()
    del codes
    assert arena.kept() == 2 * MIB * 9 // 8


@keeps
def test_no_more_than_the_limit_is_kept() -> None:
    arena.limit(3 * MIB)
    codes = [quantize(1)[0] for _ in range(5)]
    del codes
    assert arena.kept() == 3 * MIB
    arena.limit(1 * MIB)
    assert arena.kept() == 1 * MIB


@keeps
def test_the_size_unused_the_longest_goes_first() -> None:
    arena.limit(3 * MIB)
    old, young = quantize(1)[0], quantize(2)[0]
    del young, old
    assert arena.kept() == 3 * MIB
    other = quantize(1, seed=1)[0]
    late = quantize(1)[0]
    del other, late
    assert arena.kept() == 2 * MIB
    assert quantize(1)[0].numel() == MIB


def test_a_limit_of_zero_keeps_nothing() -> None:
    expected = quantize(1)[0]
    arena.limit(0)
    codes = quantize(1)[0]
    assert codes.equal(expected)
    del codes, expected
    assert arena.kept() == 0


def test_small_codes_come_from_torch() -> None:
    codes = torch.ops.gact.quantize(torch.ones(1024), 4, 256, 0, 1)
    del codes
    assert arena.kept() == 0


@keeps
def test_exact_codes_are_kept_too() -> None:
    mask = torch.ops.gact.encode_mask(torch.ones(8 * MIB), 0.0, float("inf"))
    integers = torch.ops.gact.encode_integers(torch.ones(MIB, dtype=torch.int64), 0, 8)
    del mask, integers
    assert arena.kept() == 2 * MIB


def test_threads_share_it() -> None:
    """Each thread makes and drops codes and passes the last to this one, which must find its own values."""
    expected = {seed: quantize(1, seed)[0] for seed in range(4)}
    got: dict[int, Tensor] = {}

    def work(seed: int) -> None:
        for _ in range(10):
            got[seed] = quantize(1, seed)[0]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(got[seed].equal(expected[seed]) for seed in expected)
    got.clear()
    assert arena.kept() <= USUAL


def test_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nbytes must be 0 \(keep nothing\) or more, got -1"):
        arena.limit(-1)


@pytest.mark.parametrize(("value", "kept"), [("0", 0), ("1", 1), ("", 2 if HAS_DELETERS else 0)])
def test_environment_sets_the_limit(value: str, kept: int) -> None:
    code = (
        "import torch; from gact.ops import arena; x = torch.ones(2**20);"
        "codes = [torch.ops.gact.quantize(x, 8, 256, 0, 1)[0] for _ in range(2)]; del codes;"
        "print(arena.kept() // 2**20)"
    )
    result = run(code, GACT_ARENA_MIB=value)
    assert result.stdout.strip() == str(kept if HAS_DELETERS else 0)


@pytest.mark.parametrize("value", ["-1", "much", "1.5"])
def test_environment_is_checked(value: str) -> None:
    result = run("import gact", GACT_ARENA_MIB=value)
    assert f"GACT_ARENA_MIB must be a whole number of MiB, 0 to keep nothing; got '{value}'" in result.stderr


def test_without_the_extension_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu._Extension, "library", None)
    arena.limit(USUAL)
    assert arena.kept() == 0


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
