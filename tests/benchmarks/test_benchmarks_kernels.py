"""The tables and the picture of docs/kernels.md can be made from the rows there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import kernels_table


@pytest.mark.parametrize("dtype", kernels_table.DTYPES)
def test_limits_have_a_column_for_each_width(dtype: str) -> None:
    lines = kernels_table.limits(dtype)
    assert {line.count("|") for line in lines} == {10}
    assert lines[0].startswith(f"| {dtype}, avx512 | 1 | 2 |")
    assert len(lines) == 3 + len(kernels_table.WAYS)


def test_sizes_have_a_column_each() -> None:
    lines = kernels_table.sizes()
    assert {line.count("|") for line in lines} == {2 + len(kernels_table.SIZES)}


def test_picture_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    kernels_table.picture(tmp_path / "kernels.png")
    assert (tmp_path / "kernels.png").stat().st_size > 10_000


def test_a_missing_row_says_what_to_run() -> None:
    with pytest.raises(LookupError, match=r"no row of quantize, gbps, .*'bits': 9.* Run the case first"):
        kernels_table.find(kernels_table.rows("codec"), "quantize", "gbps", {"bits": 9})
