"""The largest batch is found by trying, and what is not for want of memory is an error."""

import subprocess
import sys

import pytest

from gact.maxbatch import MaxBatchError, max_batch, search
from gact.maxbatch.search import AVAILABLE, attempt, bisect
from gact.memory.resident import resident_bytes

pytestmark = pytest.mark.skipif(resident_bytes() is None, reason="the system does not tell resident sets")


@pytest.mark.parametrize("exact", [0, 1, 2, 3, 17, 31, 100, 1000, 65536])
@pytest.mark.parametrize("start", [1, 5, 64])
def test_bisection_is_within_three_parts_in_a_hundred(exact, start):
    asked = []

    def fits(batch):
        asked.append(batch)
        return batch <= exact

    found = bisect(fits, start, 65536)
    assert exact - exact // 32 - 1 <= found <= exact
    assert found == exact or exact > 32
    assert len(asked) == len(set(asked)) <= 30


def test_all_that_may_be_tried_fits():
    assert bisect(lambda batch: True, 1, 100) == 100


def test_a_step_within_the_limit_fits_and_reports_its_peak():
    done = attempt("factories:linear", "L0", 1, 4, 2**34)
    assert done.fits
    assert 2**26 < done.peak_bytes < 2**34
    assert done.seconds > 0


def test_a_step_over_the_limit_is_stopped():
    done = attempt("factories:linear", "L0", 400, 4, 600 * 2**20)
    assert not done.fits
    assert done.peak_bytes > 600 * 2**20


def test_another_failure_is_no_answer():
    with pytest.raises(MaxBatchError, match="failed at level L0 with batch 3, and not for want of memory"):
        attempt("factories:broken", "L0", 3, 4, 2**34)


def test_compression_trains_larger_batches(monkeypatch):
    """Of a training that takes 4 MiB a sample plainly and 1 MiB compressed."""

    def pretend(factory, level, batch, bits, limit):
        size = batch * (1 if level == "L1" else 4)
        return search.Attempt(batch, size <= limit, size, 0.1)

    monkeypatch.setattr(search, "attempt", pretend)
    told = []
    plain, compressed = (max_batch("a:b", 100, level, tell=told.append) for level in ("L0", "L1"))
    assert (plain.batch, compressed.batch) == (25, 100)
    assert len(told) == len(plain.attempts) + len(compressed.attempts)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"level must be one of 'L0', .* here, got 'L2'"):
        max_batch("a:b", "1 GiB", "L2")
    with pytest.raises(ValueError, match="limit must be a number of bytes"):
        max_batch("a:b", None)
    with pytest.raises(ValueError, match="memory must be a number of bytes"):
        max_batch("a:b", "much")
    with pytest.raises(ValueError, match="start must be a whole number of at least 1"):
        max_batch("a:b", "1 GiB", start=0)


@pytest.mark.parametrize("level", AVAILABLE)
def test_the_process_of_a_level_trains(level, tmp_path):
    (tmp_path / "made.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def build(batch):\n"
        "    blocks = [nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(2)]\n"
        "    return nn.Sequential(*blocks), torch.randn(batch, 4096, 8), lambda model, x: model(x).sum()\n"
    )
    call = [sys.executable, "-m", "gact.maxbatch.child", "made:build", level, "2", "4"]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"peak_bytes"' in done.stdout
