"""What a compressor warns of, each thing once."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from types import FrameType

import torch

from .errors import GactWarning
from .precision.findings import Reach
from .records import Settings, Site
from .saved.ledger import Ledger
from .saved.small import USUAL
from .text import mebibytes

_PASSED_OVER = (
    os.path.join(os.path.dirname(__file__), ""),
    os.path.join(os.path.dirname(torch.__file__), ""),
    contextlib.__file__,
)
"""Files between the user's line and the warning: ours, and of those who call us."""
ASIDE = "gact stands aside inside torch.func transforms, which refuse saved-tensor hooks: nothing is compressed there."

NOT_COMPILED = (
    "gact stands aside under compiled autograd (torch._dynamo.config.compiled_autograd), which takes nothing but "
    "tensors from saved-tensor hooks: nothing is compressed. Leave it off: compiled code is compressed without it."
)


class Notices:
    """Warnings that have been given are not given again."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def give(self, message: str, about: str = "") -> None:
        """Warns, unless it was done before; the warning points at the line of the user that led here.

        Args:
            message: The warning.
            about: What is warned of once, whatever figures the message has; the message itself if it is empty.
        """
        if (about or message) in self._given:
            return
        self._given.add(about or message)
        frame: FrameType | None = sys._getframe()
        level = 1
        while frame is not None and frame.f_code.co_filename.startswith(_PASSED_OVER):
            frame, level = frame.f_back, level + 1
        warnings.warn(message, GactWarning, stacklevel=level)

    def foreign(self, name: str) -> None:
        """Hooks of others hide what is saved from ours."""
        self.give(
            f"gact does not see what is saved inside the inner saved-tensor hooks {name}: autograd calls only the "
            "innermost pair. Leave that context to have these tensors compressed."
        )

    def rounded(self, site: Site) -> None:
        """A steep function reads what was rounded before it was seen."""
        self.give(
            f"gact rounded what {site} saved before it saw that a steep function (a logarithm, a division, a root) "
            "reads it further on: the gradient of this step may be noisy. From the next step on it is exact.",
            about="rounded before a steep function",
        )

    def nothing(self, saves: int, ledger: Ledger, settings: Settings) -> None:
        """A context has compressed nothing."""
        if not saves:
            self.give(
                "gact compressed nothing: autograd saved no tensor inside the context. Was forward run inside it, with "
                "gradients enabled?"
            )
            return
        least = USUAL if settings.min_bytes is None else settings.min_bytes
        reasons = sorted({tally.decision.reason for tally in ledger.tallies.values()}) or ["parameter"]
        self.give(
            f"gact compressed nothing: all {saves} saved tensors were left alone ({', '.join(reasons)}). Small means "
            f"under min_bytes={least}; report() names each of them."
        )

    def unmeasured(self, failure: str, settings: Settings, known: bool) -> None:
        """Measuring was given up.

        Args:
            failure: Why.
            settings: What was asked for.
            known: Whether it had succeeded before.
        """
        asked = _asked(settings)
        widths = "those of the last measurement" if known else f"{int(settings.bits)} bits where nothing else is said"
        self.give(
            f"gact could not measure sensitivities, so widths stay as they are, {widths}{_unmet(asked)}: {failure} A "
            "measurement runs backward several times on one graph. compressor.measure_next() has it tried again; pass "
            f"adaptive=False{' and bits' if asked else ''} to do without."
        )

    def ranks(self, parted: bool, unanswered: bool) -> None:
        """The ranks of a distributed run did not know the same, or have not answered this one."""
        if parted:
            self.give(
                "gact found different widths on the ranks, which have measured anew and now have the same: a state was "
                "loaded, or something else is asked for, on some of them only. Do it on all ranks or on none."
            )
        if unanswered:
            self.give(
                "gact waits in vain for other ranks to take part in a measurement, and leaves widths as they are. Give "
                "every rank a compressor with adaptive=True and steps of its own; training itself goes on."
            )

    def over_budget(self, settings: Settings, reach: Reach) -> None:
        """The widths take more than was asked for."""
        asked = " and ".join(_asked(settings)) or f"bits={settings.bits:g}"
        if reach.by_noise:
            self.give(
                f"gact holds {mebibytes(reach.held)} MiB ({reach.ratio:.3g}x smaller) where {mebibytes(reach.asked)} "
                f"MiB were asked for: max_noise={settings.max_noise:g} needs those widths, and goes before the budget.",
                about="over budget by noise",
            )
            return
        self.give(
            f"gact cannot reach {asked}, {mebibytes(reach.asked)} MiB of {mebibytes(reach.totals.plain)} MiB: the "
            f"narrowest widths come to {mebibytes(reach.held)} MiB, {reach.ratio:.3g}x smaller, because "
            f"{mebibytes(reach.totals.fixed)} MiB are held otherwise than in codes whose width can be chosen. "
            "Gradients are as noisy as they can get; ask for less, or see report() for what is kept and why.",
            about="over budget",
        )

    def noisy(self, noise: float, variance: float | None) -> None:
        """The gradient is predicted to suffer much."""
        beside = f", {noise / variance:.2g} of the variance from batch to batch" if variance else ""
        self.give(
            f"gact predicts gradient noise |g - g0|^2 / |g0|^2 of {noise:.2g} at the widths in use{beside}: training "
            "may suffer. Ask for more bits or bytes, or compare a short run with a plain one.",
            about="noise",
        )


def _asked(settings: Settings) -> list[str]:
    """The budgets that a user has asked for besides an average width."""
    budgets = {"ratio": settings.ratio, "memory": settings.memory, "max_noise": settings.max_noise}
    return [f"{name}={value:g}" for name, value in budgets.items() if value is not None]


def _unmet(asked: list[str]) -> str:
    return f" and {' and '.join(asked)} {'is' if len(asked) == 1 else 'are'} not held to" if asked else ""
