"""Tiny networks and data for trainers of other libraries, which are used where they are installed."""

import gc
import os
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

ENGINE = torch.autograd._engine_run_backward


def pytest_configure(config):
    for library in ("lightning", "torch_geometric", "trl", "accelerate", "mmengine"):
        warnings.filterwarnings("ignore", module=library)


@pytest.fixture(autouse=True)
def _nothing_is_left():
    before = torch.autograd._engine_run_backward  # another test's graph may be alive
    yield
    assert torch._C._autograd._top_saved_tensors_default_hooks(True) is None
    assert torch._C._len_torch_function_stack() == 0
    gc.collect()
    assert torch.autograd._engine_run_backward in (ENGINE, before)
