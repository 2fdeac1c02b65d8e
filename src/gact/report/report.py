"""The report of one step: its figures, and how they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import nn
from torch.nn.parameter import UninitializedParameter

from ..memory import MemoryProfile
from ..precision.controller import Controller
from ..saved.ledger import Ledger
from . import html, table
from .advice import advice_on
from .metrics import status
from .rows import Figures, Row

_WORST = 10


@dataclass(frozen=True, slots=True, repr=False)
class Report(Figures):
    """What the last step kept for backward. Parameters and buffers are not in the figures: they are there anyway.

    Attributes:
        rows: One for each site and what was done there, in order of the forward pass.
        parameter_saves: How often autograd saved a parameter, a buffer or another leaf.
        noise: Predicted gradient noise |g - g0|^2 / |g0|^2 of the widths in use; None before any measurement.
        batch_variance: Variance of the gradient from batch to batch, relative to its squared norm; None if not known.
        passes: Backward passes that measurements have run so far.
        over_budget: Whether the widths take more bytes than was asked for.
        unmeasured: Why sensitivities are not measured (any more); empty if they are.
        parameters: The ten parameters whose own gradients have most predicted noise, the worst first: tuples of name,
            noise |g - g0|^2 / |g0|^2, and share of |g0|^2 in that of all. Empty before any measurement.
        model: Class of the network and number of its parameters; empty if the compressor was given none.
        measured: Whether sensitivities were measured in the step: its codes then have two bits more than in others.
        advice: What is not as a user would want it: tuples of code, text and remedy, see ``Advice``.
    """

    def to_html(self, profiles: Mapping[str, MemoryProfile] | None = None, title: str = "") -> str:
        """The report as one page that needs no network: totals, advice, modules as a tree, all rows as a table.

        Args:
            profiles: What ``gact.profile_step`` gave for a step of each way, by name and plain training first: memory
                over the step is drawn with all of them in one chart. ``gact profile --html`` measures and passes them.
            title: Of the page.
        """
        return html.render(self, profiles, title)

    def compare(self, other: Figures) -> str:
        """What this step and another one kept, kind of site by kind of site, the greatest difference first.

        Args:
            other: The report of the other step, say of other settings.

        Returns:
            A table with the kept bytes of this step, of the other, and how much more the other keeps.
        """
        return table.compare(self, other)

    def __str__(self) -> str:
        return table.render(self)

    def __repr__(self) -> str:
        return f"<gact.Report: {status(self).removeprefix('gact ').removeprefix('gact: ')}>"

    def _repr_html_(self) -> str:
        return html.notebook(self)


def _worst(controller: Controller, model: nn.Module | None) -> tuple[tuple[str, float, float], ...]:
    """The parameters with most noise, by name; one that is not the model's by its shape."""
    worst = controller.worst(_WORST)
    names = {} if model is None or not worst else {id(each): name for name, each in model.named_parameters()}
    return tuple((names.get(id(each), str(list(each.shape))), noise, share) for each, noise, share in worst)


def _described(model: nn.Module) -> str:
    count = sum(each.numel() for each in model.parameters() if not isinstance(each, UninitializedParameter))
    return f"{type(model).__name__}, {count:,} parameters"


def build_report(ledger: Ledger, controller: Controller, model: nn.Module | None = None) -> Report:
    """The report of what a ledger has counted, and of what is known of the widths."""
    rows = tuple(
        Row(
            site.module,
            site.op,
            site.call,
            site.slot,
            tally.decision.codec,
            tally.decision.bits,
            tally.count,
            tally.merged,
            tally.plain_bytes,
            tally.kept_bytes,
            tally.decision.reason,
            tally.offloaded_bytes,
            controller.noise_share(site),
        )
        for (site, _), tally in ledger.tallies.items()
    )
    measured = controller.measured()
    report = Report(
        rows,
        ledger.parameter_saves,
        controller.noise,
        controller.batch_variance,
        controller.passes,
        controller.over_budget,
        controller.failure,
        parameters=_worst(controller, model),
        model="" if model is None else _described(model),
        measured=measured is not None and measured.ledger is ledger,
    )
    return replace(report, advice=advice_on(report, controller, model))
