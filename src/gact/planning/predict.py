"""The peak of one training step, from a run without data.

NOTE: Why the prediction is exact
The step that is counted is the real one: the model's own forward, our own hooks and autograd's own backward, on
tensors that have sizes and no data. What is alive after every operation is then the same as in a step with data, as far
as sizes do not depend on values. Not counted, as in the measurement, is what a kernel frees before it returns.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..autograd.internals import tree_leaves
from ..autograd.modules import follow, unfollow
from ..checkpoint.blocks import find_blocks
from ..compressor import Compressor
from ..levels import Level
from ..packing.rules import Rule
from ..store.disk import QUEUE_BYTES
from .applied import applied
from .fakes import AsOnGpu, AsOnGpuAgain
from .subject import Subject
from .tracker import Tracker, Watch


@dataclass(frozen=True, slots=True)
class Run:
    """What a step takes.

    Attributes:
        peak: Highest bytes of tensors alive: parameters, gradients, batch, activations, codes.
        peak_offloaded: The same if the codes that the way offloads lay elsewhere, but for those on their way: two of
            the largest, and what a store holds of others.
        compressor: The compressor that ran, with its figures; None in plain training.
    """

    peak: int
    peak_offloaded: int
    compressor: Compressor | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Way:
    """How a step is run: a level, or a mix of techniques.

    Attributes:
        compress: Whether there is a compressor.
        checkpoint: Blocks that run again in backward: none, the repeated ones, or those of these names.
        attention: Whether attention is exchanged.
        bits: Width of a code.
        rules: What is done with some tensors.
        offload: Blocks whose codes lie elsewhere; None for all.
        again: Whether what blocks save when they run again is compressed too.
    """

    compress: bool = False
    checkpoint: bool | tuple[str, ...] = False
    attention: bool = False
    bits: int = 4
    rules: tuple[Rule, ...] = ()
    offload: tuple[str, ...] | None = None
    again: bool = False

    @classmethod
    def of(cls, level: Level, bits: int) -> Way:
        """The way of a level."""
        return cls(level.compress, level.checkpoint, level.attention, bits, again=level.compresses_again)


class Predictor:
    """Predicts steps of one model, and remembers them.

    Args:
        subject: The model and its batch, without data.
        on_gpu: Whether ops are to save what they save on a GPU though tensors pretend to be on a CPU.
        hold_gradients: Whether gradients stay in memory from step to step.
    """

    def __init__(self, subject: Subject, on_gpu: bool = False, hold_gradients: bool = False) -> None:
        self.subject = subject
        self._on_gpu = on_gpu
        self._hold_gradients = hold_gradients
        self._known: dict[Any, Run] = {}

    def run(self, way: Way, batch: int | None = None, length: int | None = None) -> Run:
        """What a step takes at a batch size and a sequence length; those of the example by default."""
        key = (way, batch or self.subject.batch, length or self.subject.length)
        if key not in self._known:
            self._known[key] = self.follow(way, batch, length)
        return self._known[key]

    def follow(self, way: Way, batch: int | None = None, length: int | None = None, watch: Watch | None = None) -> Run:
        """Runs the step anew; a watcher sees every operation."""
        subject = self.subject
        model = subject.model
        model.zero_grad(set_to_none=True)
        inputs = subject.inputs(batch, length)
        tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
        options = {"bits": way.bits, "adaptive": False, "rules": way.rules, "compress_again": way.again}
        context = applied(model, way.compress, way.checkpoint, options)
        with contextlib.ExitStack() as stack:
            stack.enter_context(_quietly())
            if way.attention:
                stack.enter_context(_exchanged_attention(model))
            if self._on_gpu:
                stack.enter_context(AsOnGpu())
                _again_on_gpu(model, way.checkpoint)
            stack.enter_context(subject.mode)
            elsewhere = stack.enter_context(_Running(model, way.offload))
            if self._hold_gradients:
                for parameter in model.parameters():
                    parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            alive = [*model.parameters(), *model.buffers(), *tensors, *gradients]
            tracker = stack.enter_context(Tracker(alive, watch, elsewhere))
            with context:
                loss = subject.loss(inputs)
            del gradients, alive
            loss.backward()
            del loss
        model.zero_grad(set_to_none=True)
        offloaded = tracker.peak_without_codes + 2 * tracker.largest_code + QUEUE_BYTES
        return Run(tracker.peak, min(tracker.peak, offloaded), context.compressor)


class _Running:
    """Tells whether one of some modules is running its forward; without names, always yes."""

    def __init__(self, model: nn.Module, names: tuple[str, ...] | None) -> None:
        self._modules = None if names is None else {model.get_submodule(name) for name in names}
        self._depth = 0

    def __enter__(self) -> _Running:
        if self._modules is not None:
            follow(self)
        return self

    def __exit__(self, *exception: Any) -> None:
        unfollow(self)

    def __call__(self) -> bool:
        """Whether one is running now."""
        return self._modules is None or self._depth > 0

    def module_begins(self, module: nn.Module) -> None:
        """One of the modules may begin."""
        self._depth += module in (self._modules or ())

    def module_ends(self, module: nn.Module) -> None:
        """One of the modules may have ended."""
        self._depth -= module in (self._modules or ())


def _again_on_gpu(model: nn.Module, choice: bool | tuple[str, ...]) -> None:
    """Has the blocks of a copy that run again do so as on a GPU."""
    blocks = {} if choice is False else find_blocks(model, None if choice is True else choice)
    for module in blocks.values():
        if not isinstance(module.forward, AsOnGpuAgain):
            module.forward = AsOnGpuAgain(module.forward)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the warnings of a real step, which say what the plan says better, and with the random state untouched."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    disabled, logger.disabled = logger.disabled, True
    try:
        with _as_if_real(), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = disabled


@contextlib.contextmanager
def _as_if_real() -> Iterator[None]:
    """Has transformers, if it is loaded, build the masks of a real step: without data it would make larger ones."""
    module = sys.modules.get("transformers.utils.import_utils")
    known = getattr(module, "is_fake_tensor", None)
    if module is None or known is None:
        yield
        return
    module.is_fake_tensor = lambda tensor: False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.is_fake_tensor = known  # type: ignore[attr-defined]


def can_exchange_attention(model: nn.Module) -> bool:
    """Whether a model has a switch for its attention and does not use an efficient one already."""
    config = getattr(model, "config", None)
    return _switch(model) is not None and getattr(config, "_attn_implementation", None) == "eager"


def _switch(model: nn.Module) -> Callable[[str], Any] | None:
    switch = getattr(model, "set_attn_implementation", None)
    return switch if callable(switch) else None


@contextlib.contextmanager
def _exchanged_attention(model: nn.Module) -> Iterator[None]:
    switch = _switch(model)
    if switch is None:
        raise ValueError(f"{type(model).__name__} has no set_attn_implementation: its attention cannot be exchanged.")
    switch("sdpa")
    try:
        yield
    finally:
        switch("eager")
