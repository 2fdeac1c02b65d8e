"""The self-test passes on good kernels and fails on bad ones."""

import pytest
import torch

from gact.cli import selftest


@pytest.mark.parametrize("name", selftest.CHECKS)
def test_each_check_passes(name):
    passed, detail = selftest.CHECKS[name]()
    assert passed, detail


def test_an_exception_is_a_failure(monkeypatch):
    def broken():
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(selftest, "CHECKS", {"broken": broken})
    assert selftest.run_checks() == [selftest.Check("broken", False, "RuntimeError: no such kernel")]


def test_codes_that_differ_from_plain_torch_fail(monkeypatch):
    honest = selftest.reference.quantize

    def off_by_one(*arguments):
        codes, metadata = honest(*arguments)
        return codes + torch.ones_like(codes), metadata

    monkeypatch.setattr(selftest.reference, "quantize", off_by_one)
    assert selftest.reference_agreement() == (False, "codes of 1 bits differ")


def test_values_off_by_more_than_a_step_fail(monkeypatch):
    honest = selftest.quantize
    monkeypatch.setattr(selftest, "quantize", lambda x, bits, **options: honest(1.5 * x, bits, **options))
    passed, detail = selftest.error_bound()
    assert not passed
    assert "largest error" in detail


def test_a_compressor_that_keeps_everything_fails(monkeypatch):
    honest = selftest.Compressor
    monkeypatch.setattr(selftest, "Compressor", lambda *args, **options: honest(*args, min_bytes=2**20, **options))
    with pytest.warns(UserWarning, match="gact compressed nothing"):
        passed, _ = selftest.gradient()
    assert not passed
