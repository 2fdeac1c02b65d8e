"""The way of one saved tensor: who saves it, what must survive of it, is that held already, how to hold it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch._C._autograd import _get_sequence_nr as next_sequence_number

from . import casts, streams
from .codecs.groups import Groups
from .codecs.integers import Integers, extremes
from .codecs.masks import Mask
from .consumers import CHECKPOINT, COMPILED, UNKNOWN, Consumers
from .derived import Derived
from .held import WIDEST, HeldRegions
from .identity import Identity, locate
from .layout import Layout
from .needs import Need
from .offload import ExactCode, Movable, Offload
from .packed import Copied, Encoded, Held, Kept, Packed
from .parameters import Parameters
from .policy import BOOL, need, refusal, ruled, stored_bytes
from .precision.controller import Controller
from .precision.measurement import finer
from .recipes import Recipes
from .records import Decision, Settings, Site
from .rules import Rules
from .steps import Step, Steps

Result = Kept | Copied | Packed
_SMALL = Decision.keep("small")
_FUNCTIONS = {CHECKPOINT, COMPILED, UNKNOWN}


class Packer:
    """Packs what one thread saves while its context is open.

    Args:
        settings: Group size, least size, seed.
        controller: Chooses widths.
        steps: Where saves are counted.
        held: Regions that are held already.
        recipes: How tensors were made that can be rebuilt.
        parameters: Tells weights from activations.
        consumers: Tells who is saving.
        rules: What the user wants for some tensors.
        offload: Moves what is packed elsewhere; None if it stays.
    """

    def __init__(
        self,
        settings: Settings,
        controller: Controller,
        steps: Steps,
        held: HeldRegions,
        recipes: Recipes,
        parameters: Parameters,
        consumers: Consumers,
        rules: Rules,
        offload: Offload | None = None,
    ) -> None:
        self.saves = 0
        self.compressed = 0
        self._settings = settings
        self._controller = controller
        self._min_bytes = settings.min_bytes
        self._steps = steps
        self._held = held
        self._recipes = recipes
        self._parameters = parameters
        self._consumers = consumers
        self._rules = rules
        self._offload = offload
        self._step = 0

    def pack(self, tensor: Tensor) -> Result:
        """What autograd gets to hold instead of a tensor."""
        step = self._steps.current()
        if step.number != self._step:
            self._step = step.number
            self._consumers.begin_step()
            self._held.begin_step(step.number)
            if self._offload is not None:
                self._offload.store.begin_step()
        site = self._consumers.save()
        self.saves += 1
        if _is_saved_by_op(site):
            return self._pack(tensor, site, step)
        # Outside of an op our own function mode is active and would see every look at the tensor.
        with torch._C.DisableTorchFunction():
            return self._pack(tensor, site, step)

    def _pack(self, tensor: Tensor, site: Site, step: Step) -> Result:
        refused = refusal(tensor)
        if refused:
            return self._leave_foreign(tensor, site, step, refused)
        if self._parameters.owns(tensor):
            return self._leave_parameter(tensor, step)
        if tensor.nbytes >= self._min_bytes and tensor.numel():
            return self._compress(tensor, site, step)
        if tensor._is_view():
            return self._leave(tensor, site, step, "small")
        step.ledger.keep(site, _SMALL, tensor)
        return Kept(tensor, step)

    def _leave_foreign(self, tensor: Tensor, site: Site, step: Step, reason: str) -> Kept:
        """Holds a tensor whose storage is not to be touched."""
        size = stored_bytes(tensor)
        step.ledger.record(site, Decision.keep(reason), size, size)
        return Kept(tensor, step)

    def _leave_parameter(self, tensor: Tensor, step: Step) -> Kept:
        step.ledger.parameter_saves += 1
        return Kept(tensor, step)

    def _leave(self, tensor: Tensor, site: Site, step: Step, reason: str) -> Result:
        """Holds a tensor exactly: itself, or a copy where it is a small part of a large storage."""
        ledger, decision = step.ledger, Decision.keep(reason)
        if tensor._is_view() and tensor.untyped_storage().nbytes() > max(self._min_bytes, 4 * tensor.nbytes):
            owner = self._parameters.reason(tensor, self._consumers.arguments())
            if owner == "parameter":
                return self._leave_parameter(tensor, step)
            copied = Copied(tensor, step)
            ledger.record(site, decision, ledger.plain(tensor), copied.nbytes)
            return copied
        if self._offload is not None and reason != "leaf":
            moved = self._move(self._offload, tensor, site, step, decision)
            if moved is not None:
                return moved
        ledger.keep(site, decision, tensor)
        return Kept(tensor, step)

    def _move(self, offload: Offload, tensor: Tensor, site: Site, step: Step, decision: Decision) -> Packed | None:
        """Holds a tensor exactly in the store; None if it is to stay."""
        place = offload.kept(tensor, site)
        if place is None:
            return None
        plain = step.ledger.plain(tensor)
        held = self._held.exact(place.identity, "moved")
        if held is not None:
            step.ledger.record(site, decision, plain, 0, merged=True)
            return Packed(held, place.layout, step)
        code = ExactCode(place.region, offload.store)
        held = Encoded(code)
        self._held.add_exact(place.identity, "moved", held)
        step.ledger.record(site, decision, plain, code.nbytes, offloaded_bytes=code.offloaded_bytes)
        return Packed(held, place.layout, step)

    def _compress(self, tensor: Tensor, site: Site, step: Step) -> Result:
        reason = self._parameters.reason(tensor, self._consumers.arguments())
        if reason == "parameter":
            return self._leave_parameter(tensor, step)
        if reason or tensor.is_neg():
            return self._leave(tensor, site, step, reason or "negated view")
        place = locate(tensor)
        if place is None:
            return self._leave(tensor, site, step, "overlapping elements")
        identity, region, layout = place
        if region.nbytes < self._min_bytes:
            return self._leave(tensor, site, step, "small")
        needed = need(site.op, tensor, self._consumers.arguments(), self._consumers.composite)
        if needed.kind == "exact":
            return self._leave(tensor, site, step, needed.why)
        rule = self._rules.of(site, tensor) if self._rules else None
        if rule is not None:
            if rule.keep:
                return self._leave(tensor, site, step, "rule")
            needed = ruled(needed, rule)
        if needed.kind == "unknown":
            return self._leave(tensor, site, step, needed.why)
        if needed.kind == "value":
            held = self._value(identity, tensor, site, needed)
        else:
            held = self._held.exact(identity, needed.mask or needed.kind)
        if held is not None:
            return self._share(held, layout, tensor, site, step)
        encoded = self._encode(region, site, step, needed)
        if isinstance(encoded, str) or encoded.code.nbytes >= region.nbytes:
            return self._leave(tensor, site, step, encoded if isinstance(encoded, str) else "code is no smaller")
        return self._hold(encoded, identity, needed, tensor, layout, site, step)

    def _value(self, identity: Identity, tensor: Tensor, site: Site, needed: Need) -> Held | None:
        """What gives a region's values with the width that is needed: codes, a recipe, or the cast of what is held."""
        held = self._held.value(identity, needed.least_bits)
        if held is None and self._settings.derive:
            held = self._derive(identity, needed) or self._cast(identity, tensor, site, needed)
        return held

    def _cast(self, identity: Identity, tensor: Tensor, site: Site, needed: Need) -> Held | None:
        source = casts.source_of(site.op, tensor, self._consumers.arguments())
        if source is None:
            return None
        cast = casts.identity_of_cast(source, tensor.dtype)
        held = self._held.value(cast, needed.least_bits) or casts.derive(source, tensor, self._held, self._recipes)
        if held is None or held.bits < needed.least_bits:
            self._held.alias(identity, cast)
            return None
        self._held.add_value(cast, held)
        return held

    def _derive(self, identity: Identity, needed: Need) -> Held | None:
        """A recipe for a region whose sources are held, remembered so that others who save the region share it."""
        recipe = self._recipes.find(identity)
        derived = recipe.resolve() if recipe is not None else None
        if derived is None or derived.bits < needed.least_bits:
            return None
        self._held.add_value(identity, derived)
        return derived

    def _share(self, held: Held, layout: Layout, tensor: Tensor, site: Site, step: Step) -> Packed:
        extra = held.charge() if isinstance(held, Derived) else 0
        step.ledger.record(site, held.decision, step.ledger.plain(tensor), extra, merged=True)
        self.compressed += 1
        return self._packed(held, layout, site, step)

    def _packed(self, held: Held, layout: Layout, site: Site, step: Step) -> Packed:
        if step.measurement is not None:
            step.measurement.read_by(held, next_sequence_number() - 1)
            return Packed(held, layout, step)
        # A custom function's backward might write to what it gets.
        return Packed(held, layout, step, shares=_is_saved_by_op(site))

    def _hold(
        self, encoded: Encoded, identity: Identity, needed: Need, tensor: Tensor, layout: Layout, site: Site, step: Step
    ) -> Packed:
        if self._offload is not None:
            encoded.code = self._offload.code(cast(Movable, encoded.code), site, tensor)
        code = encoded.code
        if needed.kind == "value":
            self._held.add_value(identity, encoded)
        else:
            self._held.add_exact(identity, needed.mask or needed.kind, encoded)
        step.ledger.record(
            site, encoded.decision, step.ledger.plain(tensor), code.nbytes, offloaded_bytes=code.offloaded_bytes
        )
        self.compressed += 1
        return self._packed(encoded, layout, site, step)

    def _encode(self, region: Tensor, site: Site, step: Step, needed: Need) -> Encoded | str:
        """A region in a code, or the reason why it has none."""
        on_cpu = region.device.type == "cpu"
        if needed.kind == "mask":
            return Encoded(Mask(region, needed.mask or BOOL))
        if needed.kind == "integers":
            if not on_cpu:
                return "integer"  # its range cannot be read without waiting for the device
            return Encoded(Integers(region, *extremes(region)))
        return self._quantize(region, site, step, needed)

    def _quantize(self, region: Tensor, site: Site, step: Step, needed: Need) -> Encoded | str:
        """A region in groups of the width that its site has, or in finer ones where its noise is to be measured."""
        settings, measurement = self._settings, step.measurement
        bits = self._controller.width(site, needed)
        measured = measurement is not None and needed.least_bits < min(needed.most_bits, WIDEST)
        seed = streams.key(settings.seed, step.number, site.key, step.ledger.count(site))
        code = Groups(region, finer(bits) if measured else bits, settings.group_size, seed)
        if region.device.type == "cpu" and code.is_poisoned():
            return "not finite"
        if measurement is not None and measured:
            return measurement.hold(code, region, site, bits, needed)
        if needed.least_bits < needed.most_bits:
            self._controller.saw(site, region.numel(), code)
        return Encoded(code)


def _is_saved_by_op(site: Site) -> bool:
    """Whether one of torch's ops saves, and no custom function."""
    return site.op not in _FUNCTIONS
