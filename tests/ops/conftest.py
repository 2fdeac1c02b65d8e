from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gact.ops import cpu

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[2]))


@pytest.fixture(params=cpu.INSTRUCTION_SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test with the C++ kernels of each instruction set of this machine."""
    if request.param not in cpu.available():
        pytest.skip(f"this machine or this build has no {request.param} kernels")
    before = cpu.status().instruction_set
    cpu.use_instruction_set(request.param)
    yield request.param
    cpu.use_instruction_set(before)
