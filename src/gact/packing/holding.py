"""How a save is held: shared with what is held already, rebuilt, as a cast, in a code, elsewhere, or as it is."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial
from typing import cast

from ..codecs.base import Code
from ..codecs.exact import Exact
from ..codecs.forms import Form, quantized
from ..codecs.transforms import Transform
from ..operators.forms import LOGARITHMS, MIDDLES, OWN, kind_of
from ..operators.need import Need
from ..records import Decision, Settings
from ..remat import casts
from ..remat.derived import Derived
from ..remat.recipes import Recipes
from ..remat.squared import Squared
from ..saved.base import Held
from ..saved.encoded import Encoded
from ..saved.held import HeldRegions
from ..saved.kept import Copied, Kept
from ..saved.packed import Packed
from ..saved.save import Save
from ..saved.straight import straightened
from .casting import outside_of_autocast
from .coding import Coding, choice_of
from .drowned import is_drowned
from .offload import ExactCode, Movable, Offload
from .outweighed import serves
from .policy import Widths, least_bits, ruled
from .rules import Rules

BESIDE = Decision.keep("kept by another save")


class Holding:
    """The ways to hold a save, of one context.

    Args:
        settings: Group size, seed, whether to rebuild.
        controller: Chooses widths.
        held: Regions that are held already.
        recipes: How tensors were made that can be rebuilt.
        rules: What the user wants for some tensors.
        offload: Moves what is packed elsewhere; None if it stays.

    Attributes:
        compressed: Saves that are not held as they were.
    """

    def __init__(
        self,
        settings: Settings,
        controller: Widths,
        held: HeldRegions,
        recipes: Recipes,
        rules: Rules,
        offload: Offload | None,
    ) -> None:
        self.compressed = 0
        self._settings = settings
        self._controller = controller
        self._coding = Coding(settings, controller)
        self._held = held
        self._recipes = recipes
        self._rules = rules
        self._offload = offload

    @outside_of_autocast
    def hold(self, save: Save, needed: Need, make: Form | None = None) -> None:
        """Holds a save in the first way that serves: as what is held already, rebuilt, cast, in a code, or exactly.

        Args:
            save: The save, whose site is known.
            needed: What must survive of it.
            make: Makes the transform that its node calls for.
        """
        step, site = save.step, save.place
        if needed.kind == "exact":
            return self.leave(save, needed.why)
        rule = self._rules.of(site, save.tensor) if self._rules and save.tensor is not None else None
        if rule is not None:
            if rule.keep:
                return self.leave(save, "rule")
            needed = ruled(needed, rule)
        if needed.kind == "unknown":
            return self.leave(save, needed.why)
        if needed.kind == "value":
            if site in step.inner.sites:
                return self.leave(save, "read by a backward pass of forward")
            if save.doubled:
                return self.leave(save, "saved by a backward pass of forward")
            if step.inner.is_suspected:
                return self.leave(save, "an input needs a gradient; this step shows what for")
        if save.was_changed:
            return self.leave(save, "changed in place")
        region = save.region
        assert region is not None
        if save.again is not None and save.again.bits >= needed.min_bits:
            self._held.add_value(save.identity, save.again)
            return self._share(save.again, save)
        choice = choice_of(save, region, needed)
        transform = None if make is None else self._coding.transform(region, make, choice)
        form = kind_of(needed.form, transform)
        save.middle = None if form else MIDDLES.get(needed.form)
        if not form and needed.kind == "value" and self._held.has(save.identity, LOGARITHMS):
            # What is steep enough to be coded as its exponential is too steep for its own rounding.
            return self.leave(save, "log-probabilities")
        if needed.kind == "value":
            held = self._value(save, needed, form, transform)
        else:
            held = self._held.exact(save.identity, needed.mask or needed.kind)
        if held is not None:
            return self._share(held, save)
        encoded = self._coding.encode(region, save, needed, transform, choice)
        if isinstance(encoded, str) or encoded.code.nbytes >= region.nbytes:
            return self.leave(save, encoded if isinstance(encoded, str) else "code is no smaller")
        self._add(encoded, needed, save, form)

    def leave(self, save: Save, reason: str) -> None:
        """Holds a save exactly: its tensor, or a copy where that is a small part of a large storage."""
        tensor, step, site, decision = save.tensor, save.step, save.place, Decision.keep(reason)
        assert tensor is not None
        storage = tensor.untyped_storage()
        if save.is_part:
            copied = Copied(tensor, step, watched=not save.is_internal)
            step.ledger.record(site, decision, step.ledger.plain(save.extent, storage), copied.nbytes)
            save.settle(copied)
            return
        if self._offload is not None:
            moved = self._move(self._offload, save, decision)
            if moved is not None:
                save.settle(moved)
                return
        step.ledger.keep(site, decision, save.extent, storage)
        region = None if save.was_changed else self._keep_region(save)
        save.settle(Kept(tensor, step, region, save.identity[-1]))

    def _keep_region(self, save: Save) -> Encoded | None:
        """Has others share a region that is kept as it is, those too that hold a code of it already."""
        region = save.region
        if region is None or save.layout.copied or not region.is_floating_point():
            return None
        held = self._held
        for encoded in held.codes(save.identity):
            if not encoded.code.offloaded_bytes and encoded.owner is not None:
                decision, freed = encoded.decision, encoded.give_way(region)
                save.step.ledger.release(encoded.owner, decision, BESIDE, freed)
        kept = Encoded(Exact(region))
        held.keep(save.identity, kept)
        return kept

    def _move(self, offload: Offload, save: Save, decision: Decision) -> Packed | None:
        """Holds a tensor exactly in the store; None if it is to stay."""
        tensor, step, site = save.tensor, save.step, save.place
        assert tensor is not None
        place = None if save.is_data else offload.kept(tensor, site)
        if place is None:
            return None
        plain = step.ledger.plain(save.extent, tensor.untyped_storage())
        held = self._held.exact(place.identity, "moved")
        if held is not None:
            step.ledger.record(site, decision, plain, 0, merged=True)
            return Packed(held, place.layout, step)
        code = ExactCode(place.region, offload.store)
        held = Encoded(code)
        self._held.add_exact(place.identity, "moved", held)
        step.ledger.record(site, decision, plain, code.nbytes, offloaded_bytes=code.offloaded_bytes)
        return Packed(held, place.layout, step)

    def _value(self, save: Save, needed: Need, form: str, transform: Transform | None) -> Held | None:
        """What gives a region's values with the width that is needed: codes, a recipe, or the cast of what is held."""
        held = self._held.value(save.identity, needed.min_bits, form)
        if held is None and self._settings.derive and (form not in OWN or form in MIDDLES):
            held = self._derive(save, needed, transform) or (None if form else self._cast(save, needed))
        held = held or straightened(self._held, save, save.step.ledger, form, transform, needed.min_bits)
        return held if held is not None and serves(held, needed, save.region, save.step.ledger) else None

    def _cast(self, save: Save, needed: Need) -> Held | None:
        source, tensor = save.source, save.tensor
        if source is None or tensor is None:
            return None
        cast = casts.identity_of_cast(source, tensor.dtype)
        held = self._held.value(cast, needed.min_bits) or casts.derive(source, tensor, self._held, self._recipes)
        if held is None or held.bits < needed.min_bits:
            self._held.alias(save.identity, cast, source.region)
            return None
        self._held.add_value(cast, held)
        return held

    def _derive(self, save: Save, needed: Need, transform: Transform | None) -> Held | None:
        """A recipe for a region whose sources are held, remembered so that others who save the region share it."""
        recipe, region = self._recipes.find(save.identity, later=True), save.region
        derived = recipe.resolve() if recipe is not None else None
        if recipe is None or derived is None or derived.bits < least_bits(needed):
            return None
        normalised = needed.form == "normalised" and (transform is not None or derived.bits < needed.prior_bits)
        if region is not None and (recipe.is_doubtful or normalised):
            bits, under = self._controller.width(save.place, needed), transform if normalised else None
            size = self._settings.group_size
            own = partial(quantized, region, group_size=size, seed=0, transform=None) if recipe.is_uneven else None
            if is_drowned(derived, region, bits, size, under, own):
                return None
        self._held.add_value(save.identity, derived)
        return derived

    def _share(self, held: Held, save: Save) -> None:
        ledger, tensor = save.step.ledger, save.tensor
        assert tensor is not None
        extra = held.charge() if isinstance(held, Derived) else 0
        plain = ledger.plain(save.extent, tensor.untyped_storage())
        decision = held.decision
        ledger.record(save.place, BESIDE if decision.codec == "keep" else decision, plain, extra, merged=True)
        self.compressed += 1
        save.settle(self._packed(held, save))

    def _packed(self, held: Held, save: Save) -> Packed:
        step = save.step
        if step.measurement is not None:
            step.measurement.read_by(held, save.number)
            return Packed(held, save.layout, step)
        if save.middle is not None and isinstance(held, Encoded) and held.is_narrow:
            return Packed(Squared(held, save.middle), save.layout, step)
        return Packed(held, save.layout, step, save.shares)

    def _add(self, encoded: Encoded, needed: Need, save: Save, form: str) -> None:
        """Takes a new code for the region of a save, which others may share once it is where it stays."""
        self._place(encoded, save)
        if needed.kind == "value":
            self._held.add_value(save.identity, encoded, form)
            encoded.owner = save.place
        else:
            self._held.add_exact(save.identity, needed.mask or needed.kind, encoded)
            if needed.kind == "mask":
                self._recipes.last_mask = weakref.ref(encoded)
            elif needed.kind == "sparse":
                self._held.add_value(save.identity, encoded)
        self._record(encoded, save)

    def take(self, save: Save, code: Code) -> None:
        """Holds a save in a code that gives nobody else what he needs of the region."""
        encoded = Encoded(code)
        self._place(encoded, save)
        self._record(encoded, save)

    def rules_keep(self, saves: Iterable[Save]) -> bool:
        """Whether the user's rules keep one of some saves exactly."""
        return bool(self._rules) and any(self._rules.keep(each.site, each.tensor) for each in saves)

    def _place(self, encoded: Encoded, save: Save) -> None:
        """Puts a new code into the store, if it is to go there."""
        if self._offload is not None and encoded.code.nbytes and save.tensor is not None:
            encoded.code = self._offload.code(cast(Movable, encoded.code), save.place, save.tensor)

    def _record(self, encoded: Encoded, save: Save) -> None:
        tensor, ledger, site, code = save.tensor, save.step.ledger, save.place, encoded.code
        assert tensor is not None
        plain = ledger.plain(save.extent, tensor.untyped_storage())
        ledger.record(site, encoded.decision, plain, code.nbytes, offloaded_bytes=code.offloaded_bytes)
        self.compressed += 1
        save.settle(self._packed(encoded, save))
