"""Every operator in PyTorch's list has the gradient of plain autograd: in bounds at 8 bits, on average at 4 and 2."""

import warnings

import pytest
from operator_samples import EXCEPTIONS, faults_of, name_of, operators

PARTS = 24


@pytest.mark.parametrize("part", range(PARTS))
def test_operators(part):
    warnings.simplefilter("ignore")
    faults = [fault for op in operators()[part::PARTS] if name_of(op) not in EXCEPTIONS for fault in faults_of(op)]
    assert not faults, "\n".join(faults)


def test_exceptions_are_operators_of_the_list():
    assert set(EXCEPTIONS) <= {name_of(op) for op in operators()}
