"""What trainings on real data come to, plainly, compressed, and with a code that keeps no exact masks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from ..options import Options
from ..rows import Row, Spread
from ..training import SEEDS, TASKS
from ..training.loop import train
from ..training.ways import WAYS

CURVE = "curves"


def run(options: Options) -> Iterator[Row]:
    """A row for each seed as soon as it is trained, then the curve of the way over all seeds.

    ``--where task=fashion 'way=4 bits' seed=3,4`` chooses, so that a long run can be taken up where it ended.
    """
    for task in TASKS:
        for way in options.pick(tuple(WAYS), ("plain", "4 bits", "min-max 4 bits")):
            if not options.wants({"task": task, "way": way}):
                continue
            config: dict[str, Any] = {"task": task}
            seeds = [seed for seed in range(options.pick(SEEDS[task], 1)) if options.wants({"seed": seed})]
            trainings = []
            for seed in seeds:
                done = train(partial(TASKS[task], options.quick), WAYS[way], seed)
                trainings.append(done)
                config["steps"] = max(done.curve)
                yield Row(way, done.metric, Spread.exact(done.value), {**config, "seed": seed})
            for step in trainings[0].curve if trainings else ():
                losses = Spread.of(training.curve[step] for training in trainings)
                yield Row(way, "training_loss", losses, {**config, "seeds": len(seeds), "step": step}, part=CURVE)
