"""One training in a process of its own: times of its steps and the highest resident set above the one before them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHAPES = {
    "bert-large": {"num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096},
    "tiny": {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 256},
}
LENGTH = 64


@dataclass(frozen=True, slots=True)
class Trained:
    """What a child process reports.

    Attributes:
        seconds: Time of each step.
        peak_mib: Highest resident set above the one before the first step.
        passes: Backward passes that measurements ran.
    """

    seconds: list[float]
    peak_mib: float
    passes: int


def train_apart(shape: str, batch: int, steps: int, options: dict[str, Any]) -> Trained:
    """Trains BERT of a shape for some steps in a fresh process.

    Args:
        shape: Key of ``SHAPES``.
        batch: Sequences a step, of ``LENGTH`` tokens.
        steps: How many.
        options: Arguments of the compressor.
    """
    call = [sys.executable, "-m", "benchmarks.probing", shape, str(batch), str(steps), json.dumps(options)]
    done = subprocess.run(call, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    return Trained(**json.loads(done.stdout.splitlines()[-1]))


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _train(shape: str, batch: int, steps: int, options: dict[str, Any]) -> Trained:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    import gact

    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**SHAPES[shape], attn_implementation="eager")).train()
    compressor = gact.Compressor(model, **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    before, seconds = _resident_mib(), []
    for _ in range(steps):
        ids, labels = torch.randint(0, 1000, (batch, LENGTH)), torch.randint(0, 2, (batch,))
        start = time.perf_counter()
        with compressor:
            loss = model(input_ids=ids, labels=labels).loss
        compressor.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Trained(seconds, peak - before, compressor.report().passes)


if __name__ == "__main__":
    from dataclasses import asdict

    print(json.dumps(asdict(_train(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])))))
