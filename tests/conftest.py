"""One thread, fixed seeds, no network; a compressor that compresses nothing is an error unless a test expects it."""

import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile(
    "gact", deadline=None, derandomize=True, max_examples=150, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("gact")


def pytest_configure(config):
    torch.set_num_threads(1)
    config.addinivalue_line("filterwarnings", "error:gact compressed nothing")


@pytest.fixture(autouse=True, scope="module")
def _no_walks_over_imports():
    """Takes what there is so far out of the collector's sight, which tests and measurements go through again and again.

    Most of nearly a million objects are those of imported modules.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
