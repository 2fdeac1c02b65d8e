"""Names of places that save: the module path, the op and the slot."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch

from ..records import Site


class Frame:
    """One running module: its path and how many calls of each op have saved so far."""

    __slots__ = ("calls", "module", "path")

    def __init__(self, module: torch.nn.Module | None, path: str) -> None:
        self.module = module
        self.path = path
        self.calls: dict[str, int] = {}


class Looks:
    """When to look again at what is divided by: seldom, and where it is smaller than ever."""

    __slots__ = ("_count", "_least", "_step")

    def __init__(self) -> None:
        self._count = 0
        self._step = -1
        self._least = math.inf

    def are_due(self, step: int, least: float) -> bool:
        """Whether to look now; the first time, in each power of two of steps, and where the least has halved.

        Args:
            step: The number of the step.
            least: The smallest number that is divided by.
        """
        is_new = step != self._step
        self._step = step
        self._count += is_new
        due = (is_new and self._count & (self._count - 1) == 0) or not 2 * least >= self._least
        self._least = min(self._least, least)
        return due


class Sites:
    """The sites of a model, each made once, and the names of its modules.

    Args:
        model: Its ``named_modules()`` give the module paths; without it class names are used.

    Attributes:
        shown: Sites at which values were saved that need not be exact for their own node.
        steep: Those of them that a steep function further on has read.
        twice: How large the steps may be of what is a factor twice, around a function that turns.
        looks: When it was looked whether what is divided by drowns in their rounding; with whether they are those of
            the division itself.
    """

    def __init__(self, model: torch.nn.Module | None) -> None:
        self.shown: set[Site] = set()
        self.steep: set[Site] = set()
        self.twice: dict[Site, float] = {}
        self.looks: dict[tuple[Site, bool], Looks] = {}
        self._known: dict[tuple[str, str, int, int], Site] = {}
        self._paths: WeakKeyDictionary[torch.nn.Module, str] = WeakKeyDictionary()
        self._model: Callable[[], torch.nn.Module | None] = (lambda: None) if model is None else weakref.ref(model)
        self._read()

    def path(self, module: torch.nn.Module) -> str:
        """Path of a module in the model, or its class name in angle brackets."""
        path = self._paths.get(module)
        if path is None:
            self._read()
            compiled = getattr(module, "_orig_mod", None)  # what torch.compile() was called with
            other = self.path(compiled) if isinstance(compiled, torch.nn.Module) else f"<{type(module).__name__}>"
            path = self._paths.setdefault(module, other)
        return path

    def _read(self) -> None:
        """Reads the paths of all modules, of those too that were added since."""
        model = self._model()
        if model is not None:
            for path, module in model.named_modules():
                self._paths[module] = path

    def site(self, module: str, op: str, call: int, slot: int) -> Site:
        """The site of these four names."""
        key = (module, op, call, slot)
        site = self._known.get(key)
        if site is None:
            site = self._known[key] = Site(module, op, call, slot)
        return site
