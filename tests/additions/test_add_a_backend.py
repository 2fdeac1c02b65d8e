"""A backend: kernels of the operators for another dispatch key, here MPS, which run in plain torch."""

import torch

from gact.autograd.internals import has_kernel
from gact.ops import reference, schema

LIBRARY = torch.library.Library("gact", "IMPL")
for name in ("quantize", "dequantize", "dequantize_into"):
    LIBRARY.impl(name, getattr(reference, name), "MPS")
ON_DEVICE = torch._C.DispatchKeySet(torch._C.DispatchKey.MPS)


def test_its_kernels_run_for_the_device():
    assert [name for name in schema.NAMES if has_kernel(f"gact::{name}", "MPS")][:2] == ["quantize", "dequantize"]
    x = torch.randn(1000)
    codes, metadata = torch.ops.gact.quantize.default.redispatch(ON_DEVICE, x, 4, 64, 7, 2)
    expected = torch.ops.gact.quantize(x, 4, 64, 7, 2)
    assert torch.equal(codes, expected[0])
    assert torch.equal(metadata, expected[1])
