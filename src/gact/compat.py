"""The calls of the published package, so that a loop written for it runs with another import.

::

    from gact import compat as gact
    from gact.compat import Controller

    gact.set_optimization_level("L2")
    controller = Controller(model)
    controller.install_hook()
    ...
    controller.iterate(backprop)
    controller.uninstall_hook()

NOTE: What the closure is for
The published ``iterate`` runs the closure three times for each saved tensor whenever it adapts, and otherwise not at
all: a loop runs its own forward and backward besides, or has them in the closure alone. Here sensitivities are
measured in the backward passes that the loop runs anyway. So ``iterate`` runs the closure once, if nothing has run
backward on the thread since it was last called, and otherwise not.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch

from .autograd.passes import Pass, unwatch, watch
from .checks import check_count
from .compressor import Compressor
from .levels import offload_of
from .packing.rules import Rule

LEVELS: dict[str, dict[str, Any]] = {
    "L0": {"enabled": False},
    "L1": {"bits": 4, "adaptive": False},
    "L1.1": {"bits": 8, "adaptive": False},
    "L1.2": {"bits": 2, "adaptive": False},
    "L2": {"bits": 4},
    "L2.1": {"bits": 3},
    "L2.2": {"bits": 2},
    "L3": {"bits": 4},
    "swap": {"adaptive": False, "rules": [Rule(keep=True)]},
    "L4bit-swap": {"bits": 4, "adaptive": False},
}
"""What the published package's levels mean as arguments of ``Compressor``. The paper's names are others."""
_OFFLOADING = ("L3", "swap", "L4bit-swap")


class _Chosen:
    """What the next controllers get."""

    level = "L2"
    interval = 1000


_chosen = _Chosen()


def set_optimization_level(level: str) -> None:
    """Chooses what controllers made from now on do.

    Args:
        level: ``"L0"`` nothing; ``"L1"``, ``"L1.1"``, ``"L1.2"`` 4, 8 and 2 bits everywhere; ``"L2"``, ``"L2.1"``,
            ``"L2.2"`` 4, 3 and 2 bits on average, by measured sensitivity. What is held leaves the memory of the device
            with ``"L3"`` (4 bits on average), ``"L4bit-swap"`` (4 bits everywhere) and ``"swap"`` (as it is).

    Raises:
        ValueError: If it is no level.
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}.")
    _chosen.level = level


def set_adapt_interval(steps: int) -> None:
    """Chooses how many steps lie between two measurements, for controllers made from now on.

    Args:
        steps: At least 1.

    Raises:
        ValueError: If it is no such number.
    """
    _chosen.interval = check_count("adapt_interval", steps, 1)


class Controller:
    """Compresses what the thread saves while its hook is installed.

    Args:
        model: The network.
        **options: Further arguments of ``gact.Compressor``, which the published package does not have.

    Attributes:
        compressor: What does the work; its ``report()`` tells what was kept.
    """

    def __init__(self, model: torch.nn.Module, **options: Any) -> None:
        settings: dict[str, Any] = {"probe_interval": _chosen.interval, **LEVELS[_chosen.level]}
        if _chosen.level in _OFFLOADING:
            settings["offload"] = offload_of(model)
        settings |= options
        self.compressor = Compressor(model, **settings)
        self._count: _Count | None = None

    def install_hook(self) -> None:
        """Starts compressing on this thread.

        Raises:
            RuntimeError: If the hook is installed already, or other saved-tensor hooks are.
        """
        if self._count is not None:
            raise RuntimeError("the hook is installed already. Call uninstall_hook() first.")
        self.compressor.__enter__()
        self._count = _Count()
        watch(self._count, self._count)

    def uninstall_hook(self) -> None:
        """Stops compressing; without an installed hook it does nothing."""
        if self._count is not None:
            unwatch(self._count)
            self._count = None
            self.compressor.__exit__(None, None, None)

    def iterate(self, backprop: Callable[[], Any]) -> None:
        """Ends an iteration.

        Args:
            backprop: Runs forward and ``loss.backward()``; called once if no backward pass has been run since the last
                call, and otherwise not.
        """
        if self._count is None or not self._count.passes:
            backprop()
        if self._count is not None:
            self._count.passes = 0


class _Count:
    """Counts the backward passes of one thread."""

    def __init__(self) -> None:
        self.passes = 0
        self._thread = threading.get_ident()

    @contextlib.contextmanager
    def around(self, begun: Pass) -> Iterator[None]:
        """Counts one."""
        self.passes += threading.get_ident() == self._thread
        yield
