"""The largest batch is found by trying, and what is not for want of memory is an error."""

import json
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

import forked
from gact.levels import LEVELS
from gact.memory.resident import resident_bytes
from gact.planning.trials import MaxBatchError, max_batch, search
from gact.planning.trials.guess import predictor_of
from gact.planning.trials.search import attempt
from gact.planning.trials.trial import Trial

pytestmark = pytest.mark.skipif(resident_bytes() is None, reason="the system does not tell resident sets")


FIXED = 1000


def searched(exact, start, most=65536, waste=0.0, predictor=lambda: None):
    """What a search finds where that batch is the largest that fits, and what it asked."""
    asked = []

    def peak(batch):
        asked.append(batch)
        return None if batch > exact else FIXED + int(100 * batch * (1 + waste))

    limit = FIXED + int(100 * exact * (1 + waste)) + 50
    return search.search(peak, limit, start, most, predictor), asked


@pytest.mark.parametrize("exact", [0, 1, 2, 3, 17, 31, 100, 1000, 65536])
@pytest.mark.parametrize("start", [1, 5, 64])
@pytest.mark.parametrize("predicted", [None, lambda batch: 300 + 90 * batch, lambda batch: 100 * batch + batch**2])
def test_the_search_is_within_three_parts_in_a_hundred(exact, start, predicted):
    found, asked = searched(exact, start, predictor=lambda: predicted)
    assert exact - exact // 32 - 1 <= found <= exact
    assert found == exact or exact > 32
    assert len(asked) == len(set(asked)) <= 12


@pytest.mark.parametrize("waste", [0.0, 0.1])
def test_predictions_and_a_straight_law_take_few_attempts(waste):
    found, asked = searched(500, 1, waste=waste, predictor=lambda: lambda batch: 100 * batch)
    assert 484 <= found <= 500
    assert len(asked) <= 5


def test_a_law_that_is_too_careful_is_not_followed_step_by_step():
    """Peaks that grow less and less, so that every guess fits and is hardly more than the last."""
    asked = []

    def peak(batch):
        asked.append(batch)
        size = round(2**20 * batch**0.9)
        return size if size <= 2**20 * 515.5**0.9 else None

    assert 498 <= search.search(peak, round(2**20 * 515.5**0.9), 1, 65536, lambda: lambda batch: 2**18 * batch) <= 515
    assert len(asked) <= 7


def test_a_law_that_is_too_hopeful_is_not_followed_to_the_end():
    """Peaks that jump beyond what the small batches say."""
    asked = []

    def peak(batch):
        asked.append(batch)
        size = 10 * batch if batch < 40 else 14 * batch
        return size if size <= 1000 else None

    assert search.search(peak, 1000, 1, 65536) in (69, 70, 71)
    assert len(asked) <= 14


def test_all_that_may_be_tried_fits():
    assert searched(65536, 1, most=100)[0] == 100


def test_a_step_within_the_limit_fits_and_reports_its_peak():
    done = attempt(Trial("factories:linear", "L0", 1), 2**34)
    assert done.fits
    assert 2**26 < done.peak_bytes < 2**34
    assert done.seconds > 0


def test_a_step_over_the_limit_is_stopped():
    done = attempt(Trial("factories:linear", "L0", 400), 600 * 2**20)
    assert not done.fits
    assert done.peak_bytes > 600 * 2**20


def test_another_failure_is_no_answer():
    with pytest.raises(MaxBatchError, match="failed at level L0 with batch 3, and not for want of memory"):
        attempt(Trial("factories:broken", "L0", 3), 2**34)


def test_peaks_of_a_trial_are_predicted():
    predicted = predictor_of(Trial("factories:linear", "L0", 1))
    assert predicted is not None
    assert predicted(20) - predicted(10) == pytest.approx(10 * 2 * 4 * 2**20, rel=0.1)
    assert predictor_of(Trial("factories:broken", "L0", 1)) is None
    assert predictor_of(Trial("factories:linear", "CB1", 1)) is None


def test_compression_trains_larger_batches(monkeypatch):
    """Of a training that takes 4 MiB a sample plainly and 1 MiB compressed."""

    def pretend(trial, limit):
        size = trial.batch * (1 if trial.level == "L1" else 4)
        return search.Attempt(trial.batch, size <= limit, size, 0.1)

    monkeypatch.setattr(search, "attempt", pretend)
    told = []
    plain, compressed = (max_batch("a:b", 100, level, tell=told.append) for level in ("L0", "L1"))
    assert (plain.batch, compressed.batch) == (25, 100)
    assert len(told) == len(plain.attempts) + len(compressed.attempts)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"level must be one of 'L0', .*'CB2', got 'L3'"):
        max_batch("a:b", "1 GiB", "L3")
    with pytest.raises(ValueError, match="optimizer must be one of 'adamw', 'sgd', got 'lion'"):
        max_batch("a:b", "1 GiB", optimizer="lion")
    with pytest.raises(ValueError, match="limit must be a number of bytes"):
        max_batch("a:b", None)
    with pytest.raises(ValueError, match="memory must be a number of bytes"):
        max_batch("a:b", "much")
    with pytest.raises(ValueError, match="start must be a whole number of at least 1"):
        max_batch("a:b", "1 GiB", start=0)


MADE = """
import warnings
import torch
from torch import nn
class Attending(nn.Sequential):
    def set_attn_implementation(self, name):
        print("attention", name)
def build(batch):
    blocks = [nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(2)]
    return Attending(*blocks), torch.randn(batch, 4096, 8), lambda model, x: model(x).sum()
"""


CHILD = """
import runpy, warnings
warnings.simplefilter("error")
runpy.run_module("gact.planning.trials.child", run_name="__main__", alter_sys=True)
"""


def check_training(tmp_path, level, optimizer, start):
    (tmp_path / "made.py").write_text(MADE)
    (tmp_path / "scratch").mkdir()
    trial = Trial("made:build", level, 2, 4, optimizer, str(tmp_path / "scratch"))
    done = start(json.dumps(asdict(trial)), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"peak_bytes"' in done.stdout.splitlines()[-1]
    assert ("attention sdpa" in done.stdout) == (level == "CB2")
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("level", LEVELS)
def test_the_process_of_a_level_trains(level, optimizer, tmp_path):
    check_training(tmp_path, level, optimizer, partial(forked.run, "-c", CHILD))


def test_a_fresh_process_warns_of_nothing(tmp_path):
    def start(trial, cwd):
        call = [sys.executable, "-W", "error", "-m", "gact.planning.trials.child", trial]
        return subprocess.run(call, capture_output=True, text=True, cwd=cwd)

    check_training(tmp_path, "CB1", "adamw", start)


def test_codes_on_disk_wait_in_a_directory_that_is_removed(monkeypatch, tmp_path):
    seen = []

    def pretend(trial, limit):
        seen.append(Path(trial.scratch))
        assert seen[-1].is_dir()
        return search.Attempt(trial.batch, trial.batch < 3, trial.batch, 0.1)

    monkeypatch.setattr(search, "attempt", pretend)
    assert max_batch("a:b", 3, "L2", scratch=str(tmp_path)).batch == 2
    assert {folder.parent for folder in seen} == {tmp_path}
    assert not list(tmp_path.iterdir())
