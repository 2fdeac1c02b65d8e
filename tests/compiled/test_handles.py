"""The operators that edited graphs call."""

import gc

import pytest
import torch
from torch.library import opcheck

import gact
from gact.compiled import handles

ops = torch.ops.gact


def held():
    return len(handles._owners)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool, torch.int64])
def test_operators_are_what_torch_expects(dtype):
    x = torch.ones(4, 6).to(dtype)
    # Handles are numbered, so that no two calls return the same.
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    opcheck(ops.pack.default, (x, "m|op|0|0", "value", 1.0, False, None), test_utils=tests)
    opcheck(ops.note.default, ([x], "m|op|0|0|small", 1), test_utils=tests)
    handle = ops.pack(x, "m|op|0|0", "value", 1.0, False)
    opcheck(ops.unpack.default, (handle, [4, 6], [6, 1], dtype, torch.device("cpu")))


def test_without_a_context_a_value_is_held_as_it_is():
    x = torch.randn(5, 7, 3)
    handle = ops.pack(x, "m|op|0|0", "value", 1.0, False)
    before = x.clone()
    x.zero_()
    again = ops.unpack(handle, [5, 7, 3], [3, 15, 1], torch.float32, torch.device("cpu"))
    assert again.stride() == (3, 15, 1)
    assert torch.equal(again, before)
    again.zero_()
    assert torch.equal(ops.unpack(handle, [5, 7, 3], [21, 3, 1], torch.float32, torch.device("cpu")), before)


def test_a_value_goes_with_the_last_reference_to_its_handle():
    gc.collect()
    before = held()
    handle = ops.pack(torch.randn(8), "m|op|0|0", "value", 1.0, False)
    view = handle.detach()
    del handle
    assert held() == before + 1
    copied = view.clone()
    del view
    assert held() == before
    with pytest.raises(RuntimeError, match=r"got a handle whose value is gone .* Run forward again"):
        ops.unpack(copied, [8], [1], torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("need", ["value magnitudes", "value"])
def test_compiled_code_may_write_to_its_own_memory_again(need):
    x = torch.exp(12 * torch.randn(128, 256))
    before = x.clone()
    with gact.Compressor(bits=8, adaptive=False):
        handle = ops.pack(x, "m|exp|0|0", need, 1.0, False)
        ops.pack(torch.randn(256, 256), "m|mul|0|0", "value", 1.0, False)
        x.zero_()  # as a kernel that writes its result into a buffer that is read no more
    again = ops.unpack(handle, [128, 256], [256, 1], torch.float32, torch.device("cpu"))
    if need == "value":
        assert (again - before).square().sum() < 1e-3 * before.square().sum()
    else:
        assert torch.equal(again, before)
