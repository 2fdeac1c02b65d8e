"""Inputs of checkpointed blocks, which wait until it is seen whether their block decides something.

NOTE: Blocks that route
A checkpointed block runs again in backward, on what is held of its inputs. If it compares numbers, sorts them or takes
the largest (a router, a threshold, a stop), a rounded input may decide otherwise the second time: other experts, other
shapes, an error of checkpoint or a wrong gradient. So the inputs of a block wait until it has run; where it decided
anything on floating-point numbers they stay exact. Masks of ReLU and the like are no decisions: they are made of the
same rounded numbers as all else in the second run.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from ..autograd.internals import cached_by_checkpoint, running_checkpoint
from ..autograd.nodes import saving_number
from ..records import Decision, Site
from .carried import carried_beside, carried_by, tensors_in
from .save import Save

SELECTIVE, CARRIED = "selective_checkpoint", "checkpoint_arguments"
_SELECTED = Decision.keep("kept by selective checkpointing")
_CARRIED = Decision.keep("argument of a checkpoint by no position")
Count = Callable[[list[Tensor], Site, Decision], None]

_NAMES = """
    topk sort argsort msort argmax argmin max min amax amin aminmax median nanmedian mode kthvalue cummax cummin
    gt ge lt le eq ne greater greater_equal less less_equal not_equal __gt__ __ge__ __lt__ __le__ __eq__ __ne__
    isclose allclose equal nonzero argwhere count_nonzero unique unique_consecutive searchsorted bucketize
    histc histogram bincount multinomial bernoulli round floor ceil trunc sign sgn heaviside isnan isinf isfinite
    item tolist __bool__ __int__ __float__ __index__ __contains__ floor_divide logical_and logical_or logical_not
    logical_xor long int short byte bool to_sparse quantile nanquantile
"""
_OWNERS = (Tensor, torch, torch.nn.functional, torch.special)
DECIDING = frozenset(
    getattr(owner, form)
    for name in _NAMES.split()
    for form in (name, f"{name}_")
    for owner in _OWNERS
    if hasattr(owner, form)
)
"""Functions of torch whose result jumps where a number is changed a little."""


LEAVING = frozenset({Tensor.detach, Tensor.detach_, torch.detach, Tensor.data.__get__})  # type: ignore[attr-defined]
"""Functions after which a number that comes from a block's inputs does not need a gradient."""


class Boundaries:
    """The inputs of the checkpointed blocks that one thread runs, and what selective checkpointing keeps in them.

    Args:
        settle: Called with each input when its block has run, and whether the block decided anything.
        count: Called with tensors that are kept past all hooks, the site that they count at, and why they are.

    Attributes:
        saves: Inputs that wait.
        is_open: Whether something waits for the end of a block.
    """

    def __init__(self, settle: Callable[[Save, bool], None], count: Count) -> None:
        self.saves: list[weakref.ref[Save]] = []
        self.is_open = False
        self._settle, self._count = settle, count
        self._caches: list[tuple[Any, Site]] = []
        self._blocks: WeakSet[Any] = WeakSet()
        self._decided = self._left = False
        self._met = -1

    def meet(self, site: Callable[[str], Site]) -> None:
        """Notes what the checkpoint whose block is running keeps past all saved-tensor hooks.

        Args:
            site: Gives the site at which an op of that name counts.
        """
        block = running_checkpoint()
        if block is not None and block not in self._blocks:
            self._blocks.add(block)
            if carried := carried_by(block):
                self._count(carried, site(CARRIED), _CARRIED)
        cache = cached_by_checkpoint()
        if cache is not None and all(cache is not other for other, _ in self._caches):
            self._caches.append((cache, site(SELECTIVE)))
            self.is_open = True

    def meet_run(self, variables: Mapping[str, Any], site: Callable[[str], Site]) -> None:
        """Notes what a reentrant checkpoint whose inputs are saved keeps past all hooks; once for all of them.

        Args:
            variables: Those of the function that runs the checkpoint.
            site: Gives the site at which an op of that name counts.
        """
        number = saving_number()
        if number != self._met:
            self._met = number
            if carried := carried_beside(variables.get("function"), variables.get("args", ())):
                self._count(carried, site(CARRIED), _CARRIED)

    def add(self, save: Save, ran: bool) -> None:
        """Has an input wait.

        Args:
            save: The input.
            ran: Whether its block has run already.
        """
        if not self.saves and not ran:
            self._decided = self._left = False
        self.saves.append(weakref.ref(save))
        self.is_open = True

    def belongs(self, number: int) -> bool:
        """Whether a save of that node is one of the inputs that wait."""
        save = self.saves[-1]() if self.saves else None
        return save is not None and save.number == number

    def note(self, func: Callable[..., Any], args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
        """Notes that a block runs a function of ``DECIDING`` or ``LEAVING``.

        A decision counts if it reads floating-point numbers that may come from the block's inputs: they need a gradient
        then, unless none does or the block has taken some out of its graph.
        """
        if func in LEAVING:
            self._left = True
            return
        some = self._left or not torch.is_grad_enabled()
        self._decided = self._decided or any(
            isinstance(value, Tensor) and value.is_floating_point() and (some or value.requires_grad)
            for value in (*args, *kwargs.values())
        )

    def teller(self) -> Callable[[], None]:
        """A function that notes that the running block decides what is not seen, and that keeps nothing alive."""
        alive = weakref.ref(self)

        def tell() -> None:
            boundaries = alive()
            if boundaries is not None and boundaries.saves:
                boundaries._decided = True

        return tell

    def end(self) -> None:
        """Settles all that wait for the last time, and lets go of who does."""
        self.close()
        self._settle, self._count = _settle_nothing, _count_nothing

    def close(self) -> None:
        """Settles all that wait: their blocks have run."""
        decided, self._decided, self._left, self.is_open = self._decided, False, False, False
        caches, self._caches = self._caches, []
        saves, self.saves = self.saves, []
        for cache, site in caches:
            self._count(list(tensors_in(cache)), site, _SELECTED)
        for each in saves:
            save = each()
            if save is not None and save.result is None:
                self._settle(save, decided)


def _count_nothing(tensors: list[Tensor], site: Site, decision: Decision) -> None:
    """Likewise for who counts."""


def _settle_nothing(save: Save, decided: bool) -> None:
    """In the place of who settles inputs, once none waits any more."""
