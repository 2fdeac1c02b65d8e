"""The branches for devices without one: on a device that stands in for a GPU, nothing waits but a measurement."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils import cpp_extension

HERE = Path(__file__).parent
SOURCE, TRAININGS = HERE / "device.cpp", HERE / "trainings.py"
FEW = 4
"""Waits of a measurement beside one for each pass."""


def library():
    """The device as a library, built once for each release of torch (ten seconds)."""
    key = f"{torch.__version__}-{hashlib.sha1(SOURCE.read_bytes()).hexdigest()[:12]}"
    path = HERE.parents[1] / "build" / "standin" / f"{key}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        release = tuple(int(each) for each in torch.__version__.split(".")[:2])
        made = path.with_suffix(f".{os.getpid()}")
        command = [
            *(os.environ.get("CXX", "c++"), "-shared", "-fPIC", "-O0", "-g0", "-w"),
            f"-std=c++{20 if release >= (2, 13) else 17}",
            *(f"-I{folder}" for folder in cpp_extension.include_paths()),
            *(str(SOURCE), "-o", str(made)),
            *(f"-L{folder}" for folder in cpp_extension.library_paths()),
            *("-lc10", "-ltorch_cpu", "-ltorch"),
        ]
        subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
        made.replace(path)
    return path


@pytest.fixture(scope="module")
def seen():
    ran = subprocess.run(
        [sys.executable, str(TRAININGS), str(library())], capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("name", ["convolutions", "on the host", "run again"])
def test_neither_packing_nor_unpacking_nor_a_report_waits(seen, name):
    assert seen[name]["waited"] == [0, 0]
    assert seen[name]["ratio"] > 1.5


@pytest.mark.parametrize("name", ["convolutions", "on the host", "run again"])
def test_gradients_are_those_of_plain_training(seen, name):
    assert seen[name]["error"] < 0.03


def test_codes_move_to_the_host_beside_the_computation(seen):
    assert seen["on the host"]["moved"] > 0


def test_a_measurement_waits_once_a_pass(seen):
    measured = seen["measured"]
    assert not measured["unmeasured"]
    assert measured["passes"][1] > 6
    assert measured["waited"][1] <= measured["passes"][1] + FEW
    assert measured["waited"][2] <= FEW  # the meter reads the variance from batch to batch
    assert measured["waited"][0] == measured["waited"][3] == 0
