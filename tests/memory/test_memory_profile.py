"""The profile of a step, where the answer is known by arithmetic."""

import json
import mmap
import sys
from itertools import groupby

import pytest
import torch
from torch import nn

import gact
from gact.errors import MissingExtraError
from gact.memory import profile_step
from gact.memory.resident import ResidentPeak, resident_bytes

N = 40_000
SIZE = 4 * N


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(N))
        self.inner = nn.Sigmoid()

    def forward(self, x):
        return self.inner(x * self.weight).exp()


def step(model, x, optimizer=None):
    model(x).sum().backward()
    if optimizer is not None:
        optimizer.step()
        optimizer.zero_grad()


def test_the_peak_and_what_is_alive_there():
    model, x = Chain(), torch.zeros(N)
    profile = profile_step(lambda: step(model, x), model, [x])
    assert profile.start_bytes == 2 * SIZE
    # Weight and input; the results of sigmoid and exp; the gradients of exp, and of sigmoid before the first dies.
    forward = {(holder.module, holder.op): holder.nbytes for holder in profile.holders if holder.phase == "forward"}
    assert forward[("inner", "sigmoid")] == SIZE
    assert forward[("", "exp")] == SIZE
    assert profile.peak.phase == "backward"
    assert profile.peak_bytes == sum(holder.nbytes for holder in profile.holders)
    assert profile.phase_peaks["forward"] < profile.phase_peaks["backward"] == profile.peak_bytes
    assert sum(holder.nbytes for holder in profile.holders if holder.phase == "before") == 2 * SIZE


def test_nodes_of_backward_are_named():
    model, x = Chain(), torch.zeros(N)
    profile = profile_step(lambda: step(model, x), model, [x])
    assert "mul (MulBackward0)" in [sample.op for sample in profile.samples]


def test_phases_follow_each_other():
    model, x = Chain(), torch.zeros(N)
    profile = profile_step(lambda: step(model, x, torch.optim.SGD(model.parameters(), 0.1)), model, [x])
    assert list(profile.phase_peaks) == ["forward", "backward", "after"]


def test_every_forward_pass_of_accumulated_gradients_is_forward():
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Sigmoid(), nn.Linear(64, 64)), torch.randn(4096, 64)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def accumulated():
        for _ in range(2):
            with gact.Compressor(model, bits=4):
                loss = model(x).square().sum()
            loss.backward()
        optimizer.step()

    profile = profile_step(accumulated, model, [x])
    phases = [phase for phase, _ in groupby(sample.phase for sample in profile.samples)]
    assert [each for each, _ in groupby(each for each in phases if each != "after")] == ["forward", "backward"] * 2
    assert phases[-1] == "after"
    after = [sample for sample in profile.samples if sample.phase == "after"]
    assert max(sample.kinds[-1] for sample in after) < x.nbytes / 4
    second = profile.samples[len(profile.samples) // 2 :]
    assert max(sample.kinds[1] for sample in second) == max(sample.kinds[1] for sample in profile.samples)


def test_compression_lowers_the_peak_and_names_its_codes():
    model = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.Sigmoid()) for _ in range(6)])
    x = torch.randn(4096, 64)

    def compressed():
        with gact.Compressor(model, bits=4):
            loss = model(x).sum()
        loss.backward()

    plain = profile_step(lambda: step(model, x), model, [x])
    ours = profile_step(compressed, model, [x])
    assert ours.peak_bytes < plain.peak_bytes / 1.5
    assert any(holder.op.startswith("gact.quantize") for holder in ours.holders)


def test_a_step_that_does_nothing():
    profile = profile_step(lambda: None)
    assert (profile.peak_bytes, profile.peak, profile.holders) == (0, None, ())
    assert "live tensors: peak 0.00 MiB" in str(profile)
    assert "<svg" in profile.to_html()


def test_hooks_are_taken_off_after_an_exception():
    from torch.nn.modules import module as hooks

    before = len(hooks._global_forward_hooks)
    with pytest.raises(ZeroDivisionError):
        profile_step(lambda: 1 / 0)
    assert len(hooks._global_forward_hooks) == before


def test_views_of_the_profile():
    model, x = Chain(), torch.zeros(N)
    profile = profile_step(lambda: step(model, x), model, [x])
    text, data = str(profile), json.loads(profile.to_json())
    assert text.startswith(f"live tensors: peak {profile.peak_bytes / 2**20:.2f} MiB in backward at ")
    assert "alive before the step" in text
    assert data["peak_bytes"] == profile.peak_bytes
    assert len(data["samples"]) == len(profile.samples)


def test_the_kinds_of_a_sample_add_up_to_it():
    model, x = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.Sigmoid()) for _ in range(3)]), torch.randn(4096, 64)
    optimizer = torch.optim.Adam(model.parameters())

    def compressed():
        with gact.Compressor(model, bits=4):
            loss = model(x).sum()
        loss.backward()
        optimizer.step()

    profile = profile_step(compressed, model, [x])
    assert all(sum(sample.kinds) == sample.live_bytes for sample in profile.samples)
    before, codes, forward, backward, after = map(max, zip(*(sample.kinds for sample in profile.samples), strict=True))
    assert before == profile.start_bytes
    assert 3 * x.nbytes / 9 < codes < 3 * x.nbytes / 4  # of the input at 8 bits, and of two results of sigmoid at 4
    assert forward > x.nbytes
    assert backward > x.nbytes
    assert after >= 2 * sum(parameter.nbytes for parameter in model.parameters())
    assert {sample.module for sample in profile.samples} >= {"", "0.0", "2.1"}


def test_the_plot_has_the_bytes_of_the_profile_and_the_lines_of_others():
    axes = pytest.importorskip("matplotlib.figure").Figure().subplots()
    model, x = Chain(), torch.zeros(N)
    first, second = (profile_step(lambda: step(model, x), model, [x]) for _ in range(2))
    assert first.plot({"other": second}, "mine", axes) is axes
    mine, other = axes.get_lines()
    for line, profile in ((mine, first), (other, second)):
        assert max(line.get_ydata()) == profile.peak_bytes / 2**20
    assert [text.get_text() for text in axes.get_xticklabels()] == ["forward", "backward"]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[:3] == ["alive before the step", "made in forward", "made in backward"]
    assert names[3].startswith("mine: ")


def test_a_plot_of_nothing():
    axes = pytest.importorskip("matplotlib.figure").Figure().subplots()
    profile_step(lambda: None).plot(axes=axes)
    assert not axes.get_lines()


def test_a_plot_without_matplotlib_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match="needs matplotlib: run `pip install matplotlib`"):
        profile_step(lambda: None).plot()


def test_many_holders_are_summed_up():
    model = nn.Sequential(*[nn.Sigmoid() for _ in range(20)])
    x = torch.zeros(N, requires_grad=True)
    assert " others" in str(profile_step(lambda: step(model, x), model, [x]))


def test_the_resident_peak(tmp_path):
    (tmp_path / "clear_refs").touch()
    (tmp_path / "status").write_text("Name: x\nVmHWM:\t  12 kB\n")
    peak = ResidentPeak(tmp_path)
    assert peak.available
    assert peak.read() == 12 * 1024
    assert (tmp_path / "clear_refs").read_text() == "5"
    (tmp_path / "status").write_text("Name: x\n")
    assert peak.read() is None


def test_a_system_that_does_not_tell(tmp_path):
    assert resident_bytes(tmp_path) is None
    assert ResidentPeak(tmp_path / "none").read() is None


@pytest.mark.skipif(resident_bytes() is None, reason="needs /proc")
def test_the_resident_set_grows_with_what_is_touched():
    before = resident_bytes()
    held = mmap.mmap(-1, 2**26)
    held.write(bytes(2**26))
    assert resident_bytes() - before > 0.9 * 2**26
