"""Predicted against measured peaks of live tensors, and the batches of BERT-large that are predicted for a T4."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import gact
from benchmarks.options import Options
from benchmarks.planned import BUILDERS, make
from benchmarks.rows import Row, Spread
from gact.memory import profile_step
from gact.planning import Costs
from gact.planning.subject import loss_of

LEVELS = ("L0", "checkpointing", "L1", "CB1")
_NO_SPEEDS = Costs({4: 1.0, 8: 1.0}, {4: 1.0, 8: 1.0}, 1.0, 1.0)
"""Where only sizes are asked for, nothing needs to be measured."""
PAPER = {"L0": 24, "L1": 128, "checkpointing": 308, "L2": 352, "CB1": 560, "CB2": 592}
"""Largest batches of BERT-large, sequence 128, on a T4 (GACT, Liu et al., ICML 2022)."""


def run(options: Options) -> Iterator[Row]:
    """``ratio`` is predicted by measured; ``largest_batch`` is predicted beside the paper's in the configuration."""
    for network in options.pick(tuple(BUILDERS), ("unet",)):
        if options.wants({"network": network, "way": "predicted"}):
            yield from _peaks(network, options)
    if options.wants({"network": "bert-large", "way": "T4"}):
        yield from _bert_large(options)


def _peaks(network: str, options: Options) -> Iterator[Row]:
    model, inputs, loss_fn = make(network, options.quick)
    plan = gact.plan(model, inputs, loss_fn, optimizer_bytes_per_parameter=0)
    for level in LEVELS:
        config = {"network": network, "level": level, "bits": 4}
        if level not in {each.name for each in plan.levels} or not options.wants(config):
            continue
        context = plan.apply(model, level)

        def step() -> None:
            with context:  # noqa: B023 - runs at once
                loss = loss_of(model, inputs, loss_fn)
            context.backward(loss)  # noqa: B023

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
            model.zero_grad()
            measured = profile_step(step, model, tensors).peak_bytes
        predicted = plan.level(level).peak_bytes
        yield Row("predicted", "peak_mib", Spread.exact(predicted / 2**20), config)
        yield Row("measured", "peak_mib", Spread.exact(measured / 2**20), config)
        yield Row("predicted", "ratio", Spread.exact(predicted / measured), config)


def _bert_large(options: Options) -> Iterator[Row]:
    import transformers

    layers, width = options.pick((24, 1024), (2, 128))
    config = transformers.BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        attn_implementation="eager",
    )
    with torch.device("meta"):
        model = transformers.BertForSequenceClassification(config).train()
    ids = torch.zeros(24, 128, dtype=torch.int64)
    inputs = {"input_ids": ids, "labels": torch.zeros(24, dtype=torch.int64)}
    configs = {
        level: {"network": "bert-large", "level": level, "sequence": 128, "device": "T4", "paper": paper}
        for level, paper in PAPER.items()
    }
    levels = options.pick(tuple(PAPER), ("L0", "CB2"))
    wanted = [level for level in levels if options.wants(configs[level])]
    plan = gact.plan(model, inputs, device="T4", levels=wanted, sizes=["batch"], costs=_NO_SPEEDS)
    for level in wanted:
        found = plan.level(level).batch
        assert found is not None
        yield Row("predicted", "largest_batch", Spread.exact(found.size), configs[level])
        yield Row("predicted", "peak_gib", Spread.exact(found.peak / 2**30), configs[level])
