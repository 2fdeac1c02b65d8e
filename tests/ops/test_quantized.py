from __future__ import annotations

import copy
import io
from typing import Any

import op_cases
import pytest
import torch
from torch import Tensor

import gact
from gact import QuantizedTensor


def images() -> Tensor:
    return op_cases.random(2 * 3 * 5 * 7, torch.float32).view(2, 3, 5, 7).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", op_cases.DTYPES)
@pytest.mark.parametrize("rounding", ["stochastic", "dithered", "nearest"])
def test_round_trip_keeps_size_stride_and_dtype(dtype: torch.dtype, rounding: Any) -> None:
    x = images().to(dtype)
    q = gact.quantize(x, 8, group_size=64, rounding=rounding)
    back = q.dequantize()
    assert (back.shape, back.stride(), back.dtype) == (x.shape, x.stride(), dtype)
    torch.testing.assert_close(back, x, atol=0.1, rtol=0.02)
    assert q.dequantize(torch.float64).dtype == torch.float64


def test_gaps_and_overlaps_come_back_dense() -> None:
    for x in (images()[:, :2, ::2], images()[:1].expand(4, 3, 5, 7), images().transpose(1, 3)[1:]):
        back = gact.quantize(x, 8).dequantize()
        assert back.stride() == torch.empty_like(x).stride()
        torch.testing.assert_close(back, x, atol=0.1, rtol=0)


def test_sizes_and_views() -> None:
    q = gact.quantize(torch.linspace(0, 1, 1000), 3, group_size=256)
    assert q.nbytes == 4 * 3 * 32 + 4 * 4 == q.codes.nbytes + q.metadata.nbytes
    assert q.numel() == 1000
    assert q.minimum.shape == q.scale.shape == (4,)
    assert q.minimum.data_ptr() == q.metadata.data_ptr()
    assert q.device == torch.device("cpu")
    assert gact.quantize(torch.zeros(0, 4), 3).nbytes == 0


def test_repr_says_what_it_is() -> None:
    assert repr(gact.quantize(torch.linspace(0, 1, 1024), 4)) == (
        "QuantizedTensor(size=(1024,), dtype=torch.float32, bits=4, group_size=256, device='cpu', nbytes=528, "
        "7.8x smaller)"
    )
    assert repr(gact.quantize(torch.zeros(0), 4)).endswith("nbytes=0)")


def same(a: QuantizedTensor, b: QuantizedTensor) -> bool:
    fields = ("bits", "group_size", "size", "stride", "dtype")
    return torch.equal(a.dequantize(), b.dequantize()) and all(getattr(a, f) == getattr(b, f) for f in fields)


def test_saving_and_loading() -> None:
    q = gact.quantize(images(), 5)
    for value in (q, q.state_dict()):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        buffer.seek(0)
        loaded = torch.load(buffer, weights_only=True)
        assert same(q, loaded if isinstance(loaded, QuantizedTensor) else QuantizedTensor.from_state_dict(loaded))
    assert same(q, copy.deepcopy(q))


def test_moving() -> None:
    q = gact.quantize(images(), 5)
    assert q.to("cpu").codes is q.codes
    moved = q.to("meta")
    assert moved.device.type == moved.metadata.device.type == "meta"
    assert moved.dequantize().shape == q.size


def test_is_a_constant() -> None:
    q = gact.quantize(torch.ones(4), 5)
    with pytest.raises(AttributeError):
        q.bits = 4  # type: ignore[misc]


def test_result_does_not_require_grad() -> None:
    x = images().requires_grad_()
    assert not gact.quantize(x, 4).dequantize().requires_grad


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": [1.0]}, TypeError, r"x must be a torch\.Tensor, got list\. Convert it with torch\.as_tensor"),
        ({"x": torch.ones(3, dtype=torch.int64)}, ValueError, r"dtype must be float32, .* got torch\.int64"),
        ({"x": torch.ones(3, dtype=torch.bool)}, ValueError, r"got torch\.bool"),
        ({"x": torch.ones(3, dtype=torch.complex64)}, ValueError, r"got torch\.complex64"),
        ({"x": torch.ones(3).to_sparse()}, ValueError, r"x must be a strided tensor, got layout torch\.sparse_coo"),
        ({"x": torch.nested.nested_tensor([torch.ones(3)])}, ValueError, r"x must be a strided tensor, got a nested"),
        ({"bits": 0}, ValueError, r"bits must be a whole number from 1 to 8, got 0\."),
        ({"bits": 4.0}, ValueError, r"bits must be a whole number from 1 to 8, got 4\.0\."),
        ({"group_size": 16}, ValueError, r"group_size must be a power of two from 32 to 1024, got 16\."),
        ({"rounding": "up"}, ValueError, r"rounding must be 'stochastic', 'dithered' or 'nearest', got 'up'"),
        ({"seed": 2**63}, ValueError, r"seed must be a whole number of 64 bits \(signed\), got 9223372036854775808"),
        ({"seed": 0.5}, ValueError, r"seed must be .* got 0\.5"),
    ],
)
def test_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gact.quantize(**{"x": torch.ones(3), "bits": 4, **arguments})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 1}, r"state must have exactly the keys codes, metadata, bits, .* got codes, .* extra\."),
        ({"bits": 3}, r"codes must have 84 bytes .* got 140\."),
        ({"group_size": 64}, r"metadata must be contiguous with shape \[4, 2\]"),
        ({"stride": (2,)}, r"size and stride must describe a tensor without gaps or overlaps, got \[210\] and \[2\]"),
        ({"dtype": torch.int8}, r"dtype must be float32"),
        ({"dtype": torch.float64}, r"metadata must be torch\.float32 for dtype torch\.float64, got torch\.bfloat16"),
        ({"dtype": "float32"}, r"dtype must be a torch\.dtype, got 'float32'"),
        ({"seed": "x"}, r"seed must be a whole number .* got 'x'"),
        ({"seed": 2**63}, r"seed must be a whole number of 64 bits"),
        ({"seed": True}, r"seed must be a whole number .* got True"),
        ({"bits": True}, r"bits must be a whole number, got True"),
        ({"bits": torch.tensor(5)}, r"bits must be a whole number, got tensor\(5\)"),
        ({"group_size": 256.0}, r"group_size must be a whole number, got 256\.0"),
        ({"size": 210}, r"size must be a tuple of whole numbers of at least 0, got 210"),
        ({"size": (-210,)}, r"size must be a tuple of whole numbers of at least 0, got \(-210,\)"),
        ({"size": (210.0,)}, r"size must be a tuple"),
        ({"size": (2**62, 2**62), "stride": (2**62, 1)}, r"size must have fewer than 2\^63 elements"),
        ({"stride": None}, r"stride must be a tuple of whole numbers of at least 0, got None"),
        ({"codes": [1, 2]}, r"codes must be a strided tensor, got list"),
        ({"codes": torch.zeros(140, dtype=torch.uint8, device="meta")}, r"codes must hold data, got a tensor on the m"),
        ({"metadata": torch.zeros(1, 2, device="meta")}, r"metadata must hold data"),
        (
            {"metadata": torch.zeros(1, 2).to_sparse()},
            r"metadata must be a strided tensor, got layout torch\.sparse_coo",
        ),
    ],
)
def test_broken_state_is_refused(changes: dict[str, Any], message: str) -> None:
    state = gact.quantize(images().flatten(), 5).state_dict()
    with pytest.raises(ValueError, match=message):
        QuantizedTensor.from_state_dict({**state, **changes})


@pytest.mark.parametrize("state", [None, [], "codes", 3])
def test_a_state_that_is_no_dict(state):
    with pytest.raises(ValueError, match="state must be a dict"):
        QuantizedTensor.from_state_dict(state)


def test_dequantize_refuses_other_dtypes() -> None:
    with pytest.raises(ValueError, match=r"dtype must be float32, .* got torch\.int32"):
        gact.quantize(torch.ones(3), 4).dequantize(torch.int32)
