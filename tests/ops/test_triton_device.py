"""The Triton kernels on a GPU, where there is one: the same bits as the reference, and no waiting for the device."""

from __future__ import annotations

from collections.abc import Iterator

import op_cases
import pytest
import torch

pytest.importorskip("triton", reason="Triton is an optional dependency, for GPUs: pip install triton")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU with CUDA or ROCm", allow_module_level=True)

import triton_parity

from gact.ops.reference import groups as reference

LARGE = 2**31 + 1000


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Whatever waits for the device raises."""
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("check", sorted(triton_parity.DEVICE_CHECKS))
def test_same_bits_as_the_reference(check: str) -> None:
    triton_parity.DEVICE_CHECKS[check]("cuda")


def test_operators_dispatch_here_and_do_not_wait(no_waiting: None) -> None:
    x = torch.empty(10_007, device="cuda").normal_()
    codes, metadata = torch.ops.gact.quantize(x, 4, 256, 3, 2)
    back = torch.ops.gact.dequantize(codes, metadata, 4, 256, [10_007], [1], torch.float32, 3)
    mask = torch.ops.gact.encode_mask(x, 0.0, float("inf"))
    torch.ops.gact.apply_mask_(x, mask, 0.0, 2.0)
    index = torch.arange(5000, device="cuda")
    offsets = torch.ops.gact.encode_integers(index, 0, 16)
    again = torch.empty_like(index)
    torch.ops.gact.decode_integers_into(again, offsets, 0, 16)
    torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(again, index)
    assert (x >= 0).all()
    assert back.isfinite().all()


def test_a_cuda_graph_can_hold_them() -> None:
    x = torch.randn(4096, device="cuda")
    torch.ops.gact.quantize(x, 4, 256, 3, 2)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        codes, metadata = torch.ops.gact.quantize(x, 4, 256, 3, 2)
    x.normal_()
    graph.replay()
    expected, fields = reference.quantize(x.cpu(), 4, 256, 3, 2)
    triton_parity.same(codes, expected)
    triton_parity.same(metadata, fields)


def test_more_than_2_to_the_31_elements() -> None:
    if torch.cuda.mem_get_info()[0] < 16 * 2**30:
        pytest.skip("needs 16 GiB of free memory on the device")
    x = torch.zeros(LARGE, dtype=torch.bfloat16, device="cuda")
    tail = op_cases.random(LARGE % 256 + 256, torch.bfloat16)
    x[-tail.numel() :] = tail.cuda()
    codes, metadata = torch.ops.gact.quantize(x, 2, 256, 0, 0)
    back = torch.ops.gact.dequantize(codes, metadata, 2, 256, x.shape, x.stride(), x.dtype)
    expected, fields = reference.quantize(tail, 2, 256, 0, 0)
    triton_parity.same(codes[-expected.numel() :], expected)
    layout = (2, 256, tail.shape, tail.stride(), tail.dtype)
    triton_parity.same(back[-tail.numel() :], reference.dequantize(expected, fields, *layout))
    assert not back[: -tail.numel()].any()
