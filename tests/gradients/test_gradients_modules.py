"""Every module in PyTorch's own list has the gradient of plain autograd: in bounds at 8 bits, on average at 4."""

import warnings

import pytest
from module_samples import EXCEPTIONS, faults_of, modules

PARTS = 6


@pytest.mark.parametrize("part", range(PARTS))
def test_modules(part):
    warnings.simplefilter("ignore")
    chosen = [info for info in modules()[part::PARTS] if info.name not in EXCEPTIONS]
    faults = [fault for info in chosen for fault in faults_of(info)]
    assert not faults, "\n".join(faults)


def test_exceptions_are_modules_of_the_list():
    assert set(EXCEPTIONS) <= {info.name for info in modules()}
