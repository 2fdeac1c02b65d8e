"""Which kernels run, how to choose them, and what is said when the fast ones are missing."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest
import torch

from gact.ops import cpu, schema

needs_extension = pytest.mark.skipif(not cpu.available(), reason="the C++ extension is not built")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import gact; from gact.ops import cpu; {code}"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)


@needs_extension
def test_status_by_default() -> None:
    status = cpu.status()
    assert status.kernels == "C++"
    assert status.instruction_set in status.available
    assert "baseline" in status.available


@needs_extension
def test_environment_chooses() -> None:
    result = run("print(cpu.status().instruction_set, cpu.status().reason)", GACT_CPU="baseline")
    assert result.stdout.strip() == "baseline GACT_CPU=baseline asks for it."


@needs_extension
def test_environment_is_checked() -> None:
    result = run("", GACT_CPU="avx3")
    assert "GACT_CPU must be one of" in result.stderr
    assert "got 'avx3'" in result.stderr


def test_environment_can_ask_for_the_reference() -> None:
    result = run("print(cpu.status().kernels)", GACT_CPU="reference")
    assert result.stdout.strip() == "plain torch"
    assert "gact:" not in result.stderr


@needs_extension
def test_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"GACT_CPU must be one of .*baseline on this machine, .* got 'neon'"):
        cpu.use_instruction_set("neon")


class TestWithoutExtension:
    @pytest.fixture(autouse=True)
    def _no_extension(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("GACT_CPU", raising=False)
        monkeypatch.setattr(cpu._Extension, "library", None)
        monkeypatch.setattr(cpu._Extension, "failure", "")

    def test_says_what_runs_and_how_to_get_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cpu, "_path", lambda: None)
        with pytest.warns(UserWarning, match=r"extension is not built\. Plain torch runs instead: .* `pip install"):
            cpu.load()
        assert cpu.status() == cpu.Status("plain torch", "", (), "the C++ extension is not built.")
        with pytest.raises(RuntimeError, match=r"No instruction set can be chosen: the C\+\+ extension is not built"):
            cpu.use_instruction_set("avx2")

    def test_says_why_it_does_not_load(self, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
        broken = tmp_path / "_C.so"
        broken.write_bytes(b"no library")
        monkeypatch.setattr(cpu, "_path", lambda: broken)
        with pytest.warns(UserWarning, match=r"extension does not load \(.*_C\.so"):
            cpu.load()

    def test_asking_for_the_reference_warns_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GACT_CPU", "reference")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cpu.load()
        assert cpu.status().reason == "GACT_CPU=reference asks for it."


def test_plain_torch_is_the_kernel_of_other_devices() -> None:
    """The meta device has fakes; a device with neither C++ nor Triton kernels falls back to plain torch."""
    for name in schema.NAMES:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"gact::{name}", "CompositeExplicitAutograd")
