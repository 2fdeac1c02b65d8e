"""What a compressor warns of, each thing once."""

from __future__ import annotations

import os
import sys
import warnings
from types import FrameType

from .errors import GactWarning
from .records import Settings
from .saved.ledger import Ledger

_PACKAGE = os.path.join(os.path.dirname(__file__), "")
ASIDE = "gact stands aside inside torch.func transforms, which refuse saved-tensor hooks: nothing is compressed there."


class Notices:
    """Warnings that have been given are not given again."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def give(self, message: str) -> None:
        """Warns, unless it was done before; the warning points at the line of the user that led here."""
        if message in self._given:
            return
        self._given.add(message)
        frame: FrameType | None = sys._getframe()
        level = 1
        while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
            frame, level = frame.f_back, level + 1
        warnings.warn(message, GactWarning, stacklevel=level)

    def foreign(self, name: str) -> None:
        """Hooks of others hide what is saved from ours."""
        self.give(
            f"gact does not see what is saved inside the inner saved-tensor hooks {name}: autograd calls only the "
            "innermost pair. Leave that context to have these tensors compressed."
        )

    def nothing(self, saves: int, ledger: Ledger, settings: Settings) -> None:
        """A context has compressed nothing."""
        if not saves:
            self.give(
                "gact compressed nothing: autograd saved no tensor inside the context. Was forward run inside it, with "
                "gradients enabled?"
            )
            return
        reasons = sorted({tally.decision.reason for tally in ledger.tallies.values()}) or ["parameter"]
        self.give(
            f"gact compressed nothing: all {saves} saved tensors were left alone ({', '.join(reasons)}). Small means "
            f"under min_bytes={settings.min_bytes}; report() names each of them."
        )

    def unmeasured(self, failure: str) -> None:
        """Measuring was given up."""
        self.give(
            f"gact could not measure sensitivities, so widths stay as they are: {failure} A measurement runs backward "
            "several times on one graph. Pass adaptive=False to do without."
        )
