"""Ways to train in less memory, side by side on one network: plain PyTorch's own, and gact's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

import gact

from .architectures.graph import gcn
from .architectures.lora import lora
from .networks import Built, build, repeatable

Forward = Callable[[], Tensor]

PLAIN = "plain"
_KEPT = frozenset(
    getattr(torch.ops.aten, name).default
    for name in ("mm", "addmm", "bmm", "convolution", "_scaled_dot_product_flash_attention_for_cpu")
)
"""Ops whose results selective checkpointing keeps: those that cost most to run again."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A network and what of it is run again.

    Attributes:
        make: Builds it, the much smaller one if it is given True.
        blocks: Patterns of the names of the modules that checkpointing runs again.
        halves: Whether its ops have kernels for bfloat16.
    """

    make: Callable[[bool], Built]
    blocks: tuple[str, ...]
    halves: bool = True


SUBJECTS: Mapping[str, Subject] = {
    "bert": Subject(partial(build, "bert"), ("bert.encoder.layer.*",)),
    "gpt2_lora": Subject(partial(repeatable, lora), ("transformer.h.*",)),
    "resnet50": Subject(partial(build, "resnet50"), ("resnet.encoder.stages.*.layers.*",)),
    "gcn": Subject(partial(repeatable, gcn), ("layers.*",), halves=False),
}


def eager_ways(built: Built, subject: Subject) -> dict[str, Forward]:
    """Forward passes that hold less for backward, without compilation.

    Args:
        built: The network.
        subject: What it was made of.
    """
    modules = _found(built.model, subject.blocks)
    contexts = partial(create_selective_checkpoint_contexts, _policy)
    ways: dict[str, Forward] = {
        PLAIN: built.loss,
        "checkpointing": _inside(built, lambda: _checkpointed(modules)),
        "selective checkpointing": _inside(built, lambda: _checkpointed(modules, context_fn=contexts)),
    }
    for bits in (8, 4, 2):
        ways[f"gact, {bits} bits"] = _inside(built, _compressor(built, bits))
    ways["gact, 4 bits, checkpointing"] = _inside(built, _compressor(built, 4, checkpoint=list(subject.blocks)))
    if subject.halves:
        ways["bfloat16 autocast"] = _inside(built, lambda: torch.autocast("cpu", torch.bfloat16))
        ways["gact, 4 bits, bfloat16 autocast"] = _inside(built, _both(_compressor(built, 4)))
    return ways


def compiled_ways(built: Built) -> Iterator[tuple[str, Forward]]:
    """Compiled forward passes, each made when it is asked for, since they share what the compiler remembers."""
    for way, budget in (("compiled", 1.0), ("compiled, activation_memory_budget=0.3", 0.3)):
        torch._dynamo.reset()
        with torch._functorch.config.patch(activation_memory_budget=budget):
            compiled = torch.compile(built.loss)
            compiled().backward()
        yield way, compiled
    torch._dynamo.reset()
    yield "gact, 4 bits, compiled", _inside(built, _compressor(built, 4), torch.compile(built.loss))


def _inside(built: Built, context: Callable[[], Any], loss: Forward | None = None) -> Forward:
    def forward() -> Tensor:
        with context():
            return (loss or built.loss)()

    return forward


def _compressor(built: Built, bits: int, **settings: Any) -> Callable[[], gact.Compressor]:
    """One compressor, entered anew in each step; its widths come from a measurement of the first steps."""
    compressor = gact.Compressor(built.model, bits=bits, **{**built.settings, **settings})
    return lambda: compressor


def _both(compressor: Callable[[], Any]) -> Callable[[], Any]:
    @contextlib.contextmanager
    def both() -> Iterator[None]:
        with compressor(), torch.autocast("cpu", torch.bfloat16):
            yield

    return both


def _found(model: nn.Module, patterns: tuple[str, ...]) -> list[nn.Module]:
    from fnmatch import fnmatchcase

    names = [name for name, _ in model.named_modules() if any(fnmatchcase(name, each) for each in patterns)]
    outer = [name for name in names if not any(name.startswith(f"{other}.") for other in names)]
    return [model.get_submodule(name) for name in outer]


@contextlib.contextmanager
def _checkpointed(modules: list[nn.Module], **how: Any) -> Iterator[None]:
    """Runs modules under torch's own checkpointing."""
    for module in modules:
        module.forward = partial(checkpoint, module.forward, use_reentrant=False, **how)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _policy(context: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if op in _KEPT else CheckpointPolicy.PREFER_RECOMPUTE
