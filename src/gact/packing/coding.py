"""How a region is coded: without loss, or in groups of the width that its site has."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

from torch import Tensor

from ..codecs import keys as streams
from ..codecs.choice import Choice
from ..codecs.forms import Bending, Form, quantized
from ..codecs.transforms import Transform
from ..operators.need import Need
from ..precision.measurement import finer
from ..records import Settings
from ..saved.coarse import fit
from ..saved.encoded import Encoded
from ..saved.held import WIDEST
from ..saved.saturated import set_saturated_aside
from ..saved.save import Save
from .lossless import without_loss
from .outweighed import enough
from .policy import Widths


def choice_of(save: Save, region: Tensor, needed: Need) -> Choice:
    """What was chosen for the region that the site of a save had in the step before, or is to be chosen.

    Args:
        save: The save.
        region: Its region.
        needed: What must survive of it.
    """
    step, site = save.step, save.place
    if needed.kind != "value":
        return Choice()
    return step.choices.of(site, step.ledger.count(site), step.number, region, needed.form)


class Coding:
    """Codes regions, in one context.

    Args:
        settings: Group size and seed.
        controller: Chooses widths.
    """

    def __init__(self, settings: Settings, controller: Widths) -> None:
        self._settings = settings
        self._controller = controller

    def transform(self, region: Tensor, make: Form, choice: Choice) -> Transform | None:
        """The transform that a node calls for.

        Args:
            region: The region.
            make: Makes it.
            choice: What was chosen for the region before, or is to be chosen.
        """
        size = self._settings.group_size
        return make(region, size, choice) if isinstance(make, Bending) else make(region, size)

    def encode(
        self, region: Tensor, save: Save, needed: Need, transform: Transform | None, choice: Choice
    ) -> Encoded | str:
        """A region in a code, or the reason why it has none.

        Args:
            region: The region.
            save: Its save.
            needed: What must survive.
            transform: What was made for it.
            choice: As for ``transform``.
        """
        encoded = without_loss(region, needed)
        return self._quantize(region, save, needed, transform, choice) if encoded is None else encoded

    def _quantize(
        self, region: Tensor, save: Save, needed: Need, transform: Transform | None, choice: Choice
    ) -> Encoded | str:
        """A region in groups of the width that its site has, or in finer ones where its noise is to be measured."""
        site, step, settings = save.place, save.step, self._settings
        # A measurement rounds codes anew while another thread may read its own.
        measurement = step.measurement if step.thread == threading.get_ident() else None
        seed = streams.key(settings.seed, step.number, site.key, step.ledger.count(site))
        plain = save.middle is not None
        size = settings.group_size
        coded = partial(quantized, region, group_size=size, seed=seed, transform=transform, plain=plain, choice=choice)
        needed, bits = enough(needed, self._controller.width(site, needed), region, coded)
        measured = measurement is not None and needed.min_bits < min(needed.max_bits, WIDEST)
        code = coded(finer(bits) if measured else bits)
        if region.is_cpu and code.is_poisoned():
            return "not finite"
        least = fit(code, region, needed, bits)
        if least > bits:
            needed = replace(needed, min_bits=least)
            return "values too far apart" if least > WIDEST else self._quantize(region, save, needed, transform, choice)
        if plain:
            set_saturated_aside(code, region, needed.form, bits)
        if measurement is not None and measured:
            return measurement.hold(code, region, site, bits, needed)
        if needed.min_bits < needed.max_bits:
            self._controller.saw(site, region.numel(), code)
        return Encoded(code, needed.rows)
