"""Which kernels run for tensors on a GPU, and what is said when Triton is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from gact.ops import schema, triton
from gact.ops.reference import groups as reference


def test_every_operator_has_a_kernel_for_devices() -> None:
    for name in schema.NAMES:
        own = torch._C._dispatch_has_kernel_for_dispatch_key(f"gact::{name}", "CUDA")
        assert own == (name in triton.NAMES)
    assert set(schema.NAMES) - set(triton.NAMES) == {"count_poisoned", "correct_squares_", "bend_into"}


def test_import_does_not_load_triton() -> None:
    code = "import gact, sys; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_triton_plain_torch_runs_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("gact.ops.triton.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("exact", "groups"):
        monkeypatch.delattr(triton, name, raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    triton.kernels.cache_clear()
    with pytest.warns(UserWarning, match="need Triton, which does not load .* Plain torch runs instead"):
        found = triton.kernels()
    assert found["quantize"] is reference.quantize
    assert found.keys() == set(triton.NAMES)
    triton.kernels.cache_clear()


def test_operators_check_their_arguments() -> None:
    pytest.importorskip("triton", reason="Triton is an optional dependency, for GPUs: pip install triton")
    from gact.ops.triton import exact, groups

    x = torch.zeros(64)
    codes, metadata = reference.quantize(x, 4, 64, 0, 0)
    with pytest.raises(ValueError, match="bits must be a whole number from 1 to 8, got 9"):
        groups.quantize(x, 9, 64, 0, 0)
    with pytest.raises(ValueError, match="codes must have 32 bytes for this size and code, got 31"):
        groups.dequantize_into(x, codes[:31], metadata, 4, 64)
    with pytest.raises(ValueError, match="size and stride must describe a tensor without gaps"):
        groups.dequantize(codes, metadata, 4, 64, [64], [2], torch.float32)
    with pytest.raises(ValueError, match="out must be a tensor without gaps or overlaps"):
        exact.decode_mask_into(x[::2], codes, 0.0, 1.0)
    with pytest.raises(ValueError, match="bits must be 1, 2, 4, 8, 16 or 32, got 3"):
        exact.encode_integers(x.long(), 0, 3)
