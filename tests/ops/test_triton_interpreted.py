"""The numbers of the Triton kernels, through Triton's interpreter, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is an optional dependency, for GPUs: pip install triton")

import triton_parity

SCRIPT = Path(triton_parity.__file__)


@pytest.mark.parametrize("check", sorted(triton_parity.CHECKS))
def test_same_bits_as_the_reference(check: str) -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, str(SCRIPT), check], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
