"""Each example runs as it stands where its libraries are installed, compresses, and stays short."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
LAUNCHED = ("ddp", "fsdp2")
NEEDS = {
    "trainer_finetuning": ("accelerate",),
    "sft_lora": ("trl", "peft", "datasets"),
    "lightning_vision": ("lightning",),
    "node_classification": ("torch_geometric",),
    "diffusion": ("diffusers",),
}


def test_there_are_examples():
    names = {path.stem for path in EXAMPLES}
    assert len(names) >= 10
    assert set(NEEDS) | set(LAUNCHED) <= names


def printed(path, capfd):
    for library in NEEDS.get(path.stem, ()):
        pytest.importorskip(library)
    if path.stem in LAUNCHED:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout
    runpy.run_path(str(path), run_name="__main__")
    return capfd.readouterr().out


@pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore::UserWarning:torch_geometric")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_compresses(path, capfd):
    ratio = re.search(r"([\d.]+)x smaller", printed(path, capfd))
    assert ratio is not None
    assert float(ratio[1]) > 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short(path):
    assert len(path.read_text().splitlines()) < 80
