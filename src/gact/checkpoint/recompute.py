"""Codes for what checkpointed blocks save when they run again in backward.

NOTE: Between checkpoint and autograd
Checkpoint has a pair of hooks in forward, which leaves placeholders, and one when a block runs again, which puts the
tensors that are saved then in their places. Contexts of ours lie inside of both. The second one hands codes to
checkpoint instead of a tensor, which only asks for their size, dtype and device; the first one decodes what checkpoint
gives to autograd. So the block's tensors die while it runs again, and one after the other comes back.

NOTE: Not in a step that is measured
There the passes over the graph are compared with each other, and fresh rounding inside of blocks would be taken for
what is measured. Such a step holds the plain tensors of one block.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ..autograd.hooks import top_pair
from ..codecs.groups import Groups
from ..operators.need import Need
from ..packing.consumers import Consumers
from ..packing.packer import Packer
from ..packing.rules import Rules
from ..packing.sites import Sites
from ..precision.controller import Controller
from ..records import Settings, Site
from ..remat.observer import Observer
from ..remat.recipes import Recipes
from ..saved.held import HeldRegions
from ..saved.ledger import Ledger
from ..saved.parameters import Parameters
from ..saved.save import Save
from ..saved.steps import Step, Steps
from ..saved.unpacking import unpack
from .checkpointing import Contexts, ContextsOf

_SEED = 0x2545F491
"""Tells the rounding of the second run from that of the step."""


class Coded:
    """What checkpoint holds instead of a tensor.

    Args:
        packed: The save.
        tensor: The tensor.
    """

    __slots__ = ("device", "dtype", "packed", "shape")

    requires_grad = False

    def __init__(self, packed: Save, tensor: Tensor) -> None:
        self.packed = packed
        self.shape = tensor.shape
        self.dtype = tensor.dtype
        self.device = tensor.device


class Again:
    """Packs what blocks save when they run again, in steps and with figures of their own: they are no part of a report.

    Args:
        model: The network.
        settings: Those of the compressor.
        controller: Knows the widths.
        steps: The compressor's, which know whether a step is measured.
        sites: The sites of the model.
        rules: What the user wants for some tensors.
    """

    def __init__(
        self,
        model: nn.Module | None,
        settings: Settings,
        controller: Controller,
        steps: Steps,
        sites: Sites,
        rules: Rules,
    ) -> None:
        self._model = model
        self._settings = dataclasses.replace(settings, seed=settings.seed ^ _SEED)
        self._controller = controller
        self._steps = steps
        self._sites = sites
        self._rules = Rules(rules.all)
        self._held = HeldRegions()
        self._own = steps.again = Steps(self, steps.small, steps.choices)

    def begin_step(self, step: Step, before: Ledger) -> None:
        """Nothing is measured here."""

    def width(self, site: Site, needed: Need) -> int:
        """Width of a site's codes."""
        return self._controller.width(site, needed)

    def saw(self, site: Site, numel: int, code: Groups) -> None:
        """Nothing is learnt here."""

    def contexts(self, module: nn.Module) -> Contexts:
        """What a block's first and second run take place in."""
        return _opening(), _EachTime(lambda: self._coding(module))

    @contextlib.contextmanager
    def _coding(self, module: nn.Module) -> Iterator[None]:
        if self._steps.is_measured():
            yield
            return
        outer = top_pair()
        assert outer is not None
        consumers, recipes = Consumers(self._sites), Recipes(self._own)
        parameters = Parameters(self._model)
        controller = self
        packer = Packer(self._settings, controller, self._own, self._held, recipes, parameters, consumers, self._rules)

        @functools.wraps(outer[0])
        def pack(tensor: Tensor) -> Any:
            packed = packer.pack(tensor)
            return outer[0](Coded(packed, tensor) if isinstance(packed, Save) else tensor)

        def in_charge() -> bool:
            pair = top_pair()
            return pair is not None and pair[0] is pack

        consumers.serve(packer, self._own.inner, in_charge)
        with consumers, saved_tensors_hooks(pack, _opened):
            consumers.module_begins(module)
            if self._settings.derive:
                consumers.observe(Observer(recipes, self._held, self._own.small, consumers.run).run)
            try:
                yield
            finally:
                packer.close()
                consumers.release()


class _EachTime:
    """A context that may be entered again, as every backward pass over one graph does.

    Args:
        make: Makes the real context.
    """

    def __init__(self, make: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self._make = make
        self._open: list[contextlib.AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        context = self._make()
        context.__enter__()
        self._open.append(context)

    def __exit__(self, *exception: Any) -> None:
        self._open.pop().__exit__(*exception)


@contextlib.contextmanager
def _opening() -> Iterator[None]:
    outer = top_pair()
    assert outer is not None
    pack, give = outer
    with saved_tensors_hooks(pack, lambda holder: _opened(give(holder))):
        yield


def _opened(given: Any) -> Tensor:
    tensor: Tensor = unpack(given.packed) if isinstance(given, Coded) else given
    return tensor


def contexts_again(
    model: nn.Module | None, settings: Settings, controller: Controller, steps: Steps, sites: Sites, rules: Rules
) -> ContextsOf | None:
    """What checkpointed blocks run in, if anything is to be compressed when they run again.

    Raises:
        ValueError: If nothing is to be checkpointed.
    """
    if not settings.compress_again:
        return None
    if settings.checkpoint is False:
        raise ValueError("compress_again=True is for checkpointed blocks. Pass checkpoint=True or patterns too.")
    return Again(model, settings, controller, steps, sites, rules).contexts
