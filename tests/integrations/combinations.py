"""What was run in which combination: ``python tests/integrations/combinations.py`` runs the tests and writes the table.

It goes between the two marks in ``docs/training.md``. A library that is not installed leaves the table as it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/training.md"
BEGIN, END = "<!-- combinations -->\n", "<!-- end of combinations -->\n"
COLUMNS = ("trains, measured", "accumulation, clipping", "bf16", "checkpointing", "resumed, bit-equal", "LoRA")

_TRAINER = "test_transformers.py::test_training_is_compressed_measured_and_close_to_plain"
_LIGHTNING = "test_lightning.py::test_training_is_compressed_measured_and_close_to_plain"
_TRL = "test_trl.py::test_fine_tuning"
_RESUMED = "test_trl.py::test_a_resumed_run_equals_one_that_never_stopped"
_CONTEXT = "test_context.py::"
_RECIPES = "test_recipes.py::"
_WHOLE = "_equals_one_that_never_stopped"
_PIPES = "test_parallel.py::test_pipelines_are_measured"
CELLS: dict[str, tuple[str, ...]] = {
    "transformers Trainer": (
        f"{_TRAINER}[plain]",
        f"{_TRAINER}[accumulation and clipping]",
        f"{_TRAINER}[bf16]",
        f"{_TRAINER}[checkpointing]",
        "test_transformers.py::test_a_resumed_run_equals_one_that_never_stopped[False]",
        "test_transformers.py::test_lora",
    ),
    "Seq2SeqTrainer": ("test_transformers.py::test_a_sequence_to_sequence_trainer",),
    "TRL SFTTrainer": (
        f"{_TRL}[full-plain]",
        "test_trl.py::test_options_of_the_trainer[accumulation and clipping]",
        "test_trl.py::test_options_of_the_trainer[bf16]",
        f"{_TRL}[full-checkpointing]",
        f"{_RESUMED}[full]",
        f"{_TRL}[LoRA-plain]",
    ),
    "Lightning Trainer": (
        f"{_LIGHTNING}[plain]",
        f"{_LIGHTNING}[accumulation and clipping]",
        f"{_LIGHTNING}[bf16-mixed]",
        "",
        "test_lightning.py::test_a_resumed_run_equals_one_that_never_stopped",
    ),
    "Lightning, manual optimization": ("test_lightning.py::test_manual_optimization",),
    "Lightning Fabric": ("test_lightning.py::test_fabric[32-true]", "", "test_lightning.py::test_fabric[bf16-mixed]"),
    "Accelerate": (
        f"{_CONTEXT}test_accelerate[plain]",
        f"{_CONTEXT}test_accelerate[accumulation and clipping]",
        f"{_CONTEXT}test_accelerate[bf16]",
        "",
        f"{_CONTEXT}test_a_compressor_is_among_what_accelerate_saves",
    ),
    "PyG GCN": (f"{_CONTEXT}test_graphs[GCN]",),
    "PyG GAT": (f"{_CONTEXT}test_graphs[GAT]",),
    "PyG GCNII": (f"{_CONTEXT}test_graphs[GCNII]",),
    "diffusers UNet": (f"{_CONTEXT}test_a_unet_of_diffusers",),
    "MMEngine": (f"{_RECIPES}test_mmengine", "", "", "", f"{_RECIPES}test_a_resumed_run_of_mmengine{_WHOLE}"),
    "timm's loop (stand-in)": (f"{_RECIPES}test_timm", f"{_RECIPES}test_timm"),
    "torchtitan's loop (stand-in)": (f"{_RECIPES}test_torchtitan", f"{_RECIPES}test_torchtitan"),
    "plain script, fp16 and GradScaler": (f"{_CONTEXT}test_a_plain_script_with_a_scaler",),
    "pipeline 1F1B": (f"{_PIPES}[1F1B-2]",),
    "pipeline, interleaved": (f"{_PIPES}[interleaved-2]",),
    "pipeline, zero bubble": (f"{_PIPES}[zero bubble-2]",),
}


class Outcomes:
    """Collects how each test came out."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes the worst of a test's phases."""
        if report.when == "call" or not report.passed:
            self.found[report.nodeid.rpartition("/")[2]] = report.outcome


def render(outcomes: dict[str, str]) -> str:
    """The table."""
    words = {"passed": "yes", "failed": "no", "skipped": "not run"}
    lines = [f"| | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for name, tests in CELLS.items():
        padded = (*tests, *[""] * (len(COLUMNS) - len(tests)))
        lines.append(f"| {name} | {' | '.join(words.get(outcomes.get(test, ''), '') for test in padded)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Runs the tests and writes the table; 1 if one has failed."""
    outcomes = Outcomes()
    folder = Path(__file__).parent
    pytest.main(["-v", *(f"{folder}/{test}" for tests in CELLS.values() for test in tests if test)], plugins=[outcomes])
    wanted = [outcomes.found.get(test, "missing") for tests in CELLS.values() for test in tests if test]
    if "skipped" in wanted or "missing" in wanted:
        print("some tests were not run: the table stays as it was.")
        return 1
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(before + BEGIN + render(outcomes.found) + END + rest.partition(END)[2])
    return int("failed" in wanted)


if __name__ == "__main__":
    sys.exit(main())
