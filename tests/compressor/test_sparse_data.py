"""Data that is mostly zero is held exactly: gradients are those of plain training, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import gact


def words(rows: int = 256, columns: int = 512, share: float = 0.05) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    counts = torch.rand(rows, columns, generator=generator)
    return counts * (torch.rand(rows, columns, generator=generator) < share)


def gradients(model: nn.Module, x: Tensor, compressor: gact.Compressor | None = None) -> list[Tensor]:
    model.zero_grad()
    torch.manual_seed(0)
    if compressor is None:
        model(x).square().sum().backward()
    else:
        with compressor:
            loss = model(x).square().sum()
        loss.backward()
    return [each.grad.clone() for each in model.parameters() if each.grad is not None]


def rows(compressor: gact.Compressor) -> dict[str, gact.report.rows.Row]:
    return {row.codec: row for row in compressor.report().rows if row.plain_bytes}


@pytest.mark.parametrize("bits", [2, 8])
def test_a_linear_layer_of_bags_of_words(bits: int) -> None:
    model, x = nn.Linear(512, 32), words()
    compressor = gact.Compressor(model, bits=bits, min_bytes=65536)
    plain = gradients(model, x)
    assert all(map(torch.equal, gradients(model, x, compressor), plain))
    held = rows(compressor)["sparse"]
    assert held.kept_bytes < x.nbytes / 8
    assert held.plain_bytes == x.nbytes
    assert "sparse, exact" in str(compressor.report())


@pytest.mark.parametrize("offload", [None, "cpu", "disk"])
def test_a_linear_layer_of_masked_features(offload: str | None, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 512, generator=generator) * (torch.rand(256, 512, generator=generator) < 0.03)
    assert bool((x.signbit() & (x == 0)).any())
    model = nn.Linear(512, 32)
    place = f"disk:{tmp_path}" if offload == "disk" else offload
    compressor = gact.Compressor(model, bits=8, min_bytes=65536, offload=place)
    plain = gradients(model, x)
    assert all(map(torch.equal, gradients(model, x, compressor), plain))
    held = rows(compressor)["sparse"]
    assert held.kept_bytes + held.offloaded_bytes < x.nbytes / 10


def test_readers_of_other_kinds_share_it() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.weight = nn.Linear(512, 32), nn.Parameter(torch.ones(512))

        def forward(self, x: Tensor) -> Tensor:
            return self.first(x) + self.first(torch.exp(x * self.weight) + x.t().t())

    model, x = Twice(), words()
    compressor = gact.Compressor(model, bits=8, min_bytes=65536)
    plain = gradients(model, x)
    for ours, theirs in zip(gradients(model, x, compressor), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05 * float(theirs.abs().max()))
    sparse = [row for row in compressor.report().rows if row.codec == "sparse"]
    assert sum(row.count for row in sparse) >= 2
    assert sum(row.kept_bytes > 0 for row in sparse) == 1


def test_a_change_in_place_after_forward_does_not_reach_backward() -> None:
    model, x = nn.Linear(512, 32), words()
    plain = gradients(model, x)
    model.zero_grad()
    with gact.Compressor(model, bits=4, min_bytes=65536):
        loss = model(x).square().sum()
    x.zero_()
    loss.backward()
    assert torch.equal(next(iter(model.parameters())).grad, plain[0])


def test_what_an_op_made_is_coded_in_groups() -> None:
    model, x = nn.Linear(512, 32), words()
    compressor = gact.Compressor(model, bits=4, min_bytes=65536)
    gradients(model, x * 2.0, compressor)  # a leaf for autograd all the same
    assert "sparse" in rows(compressor)
    again = nn.Sequential(nn.Linear(512, 512), nn.Threshold(2.0, 0.0), nn.Linear(512, 32))
    compressor = gact.Compressor(again, bits=4, min_bytes=65536)
    gradients(again, torch.randn(256, 512), compressor)
    assert "sparse" not in rows(compressor)


def test_stores_rules_and_state(tmp_path: object) -> None:
    model, x = nn.Linear(512, 32), words()
    plain = gradients(model, x)
    for settings in ({"offload": "cpu"}, {"offload": f"disk:{tmp_path}"}, {"rules": [gact.Rule(bits=2)]}):
        compressor = gact.Compressor(model, bits=4, min_bytes=65536, **settings)
        assert all(map(torch.equal, gradients(model, x, compressor), plain))
        assert [row.codec for row in compressor.report().rows if row.plain_bytes == x.nbytes] == ["sparse"]
    kept = gact.Compressor(model, bits=4, min_bytes=65536, rules=[gact.Rule(keep=True)])
    with pytest.warns(gact.GactWarning, match="compressed nothing"):
        gradients(model, x, kept)
    assert "sparse" not in rows(kept)


def test_compiled_code() -> None:
    model, x = nn.Sequential(nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 8)), words()
    plain = gradients(model, x)
    compressor = gact.Compressor(model, bits=4, min_bytes=65536)
    found = gradients(torch.compile(model, backend="aot_eager"), x, compressor)
    torch.testing.assert_close(found[1], plain[1], rtol=0.3, atol=0.1 * float(plain[1].abs().max()))
    assert rows(compressor)["sparse"].plain_bytes == x.nbytes


def test_measured_steps_leave_it_alone() -> None:
    model, x = nn.Sequential(nn.Linear(512, 256), nn.GELU(), nn.Linear(256, 32)), words()
    compressor = gact.Compressor(model, bits=4, min_bytes=65536)
    for _ in range(3):
        gradients(model, x, compressor)
    report = compressor.report()
    assert report.passes > 0
    found = rows(compressor)["sparse"]
    assert (found.noise_share, found.plain_bytes) == (None, x.nbytes)
