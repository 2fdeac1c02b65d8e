"""Other people's trainers with the one line: loss over seeds, bytes kept, passes that measure, and resuming."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ..options import Options
from ..rows import Row, Spread
from ..trainers import TRAINERS, trainer
from ..trainers.record import BITS, Asked, Trained
from ..training.loop import tenths

CURVE = "curves"
SEEDS = 3
WAYS = {"plain": False, f"{BITS} bits": True}


def run(options: Options) -> Iterator[Row]:
    """Curves over the seeds for each way; ratio, coverage, passes and resuming of the compressed one.

    ``resumed_equal`` is 1 if a training that was saved and stopped halfway, and resumed by another trainer from what
    was saved, has the parameters and losses of one that went through, to the bit.
    """
    for name in TRAINERS:
        if not options.wants({"trainer": name}):
            continue
        train = trainer(name)
        if train is None:
            print(f"  {name}: not installed", flush=True)
            continue
        seeds = range(options.pick(SEEDS, 1))
        for way, compressed in WAYS.items():
            done = [_train(train, seed, compressed, options.quick) for seed in seeds]
            config: dict[str, Any] = {"trainer": name, "steps": len(done[0].losses)}
            yield from _curves(way, config, done)
            if compressed:
                yield from _figures(way, config, done)
                equal = _resumed(train, done[0], options.quick)
                yield Row(way, "resumed_equal", Spread.exact(float(equal)), config)


def _train(train: Callable[[Asked], Trained], seed: int, compressed: bool, tiny: bool) -> Trained:
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        return train(Asked(seed, compressed, Path(folder), tiny))


def _curves(way: str, config: dict[str, Any], done: Sequence[Trained]) -> Iterator[Row]:
    for seed, each in enumerate(done):
        curve = tenths(torch.tensor(each.losses))
        for step, loss in curve.items():
            yield Row(way, "training_loss", Spread.exact(loss), {**config, "seed": seed, "step": step}, part=CURVE)
        yield Row(way, "last_loss", Spread.exact(loss), {**config, "seed": seed})


def _figures(way: str, config: dict[str, Any], done: Sequence[Trained]) -> Iterator[Row]:
    reports = [each.report for each in done if each.report is not None]
    for metric in ("ratio", "coverage", "passes"):
        yield Row(way, metric, Spread.of(float(getattr(report, metric)) for report in reports), config)


def _resumed(train: Callable[[Asked], Trained], whole: Trained, tiny: bool) -> bool:
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        train(Asked(0, True, Path(folder), tiny, stop=True))
        resumed = train(Asked(0, True, Path(folder), tiny, resume=True))
    rest = len(whole.losses) // 2
    same = [torch.equal(each, resumed.parameters[name]) for name, each in whole.parameters.items()]
    return all(same) and list(whole.losses[-rest:]) == list(resumed.losses[-rest:])
