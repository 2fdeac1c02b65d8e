"""The way of one saved tensor: who saves it, what must survive of it, is that held already, how to hold it."""

from __future__ import annotations

import weakref
from typing import cast

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from ..autograd.inner import in_backward
from ..autograd.nodes import is_wrapped, saving_number
from ..codecs import keys as streams
from ..codecs.blank import Blank
from ..codecs.exact import Exact
from ..codecs.forms import Form, quantized
from ..codecs.integers import Integers, extremes
from ..codecs.masks import Mask
from ..codecs.transforms import Transform
from ..operators.forms import LOGARITHMS, OWN, form_of
from ..operators.losses import LOG_PROBABILITIES, Notes
from ..operators.need import VALUE, Need, exact
from ..precision.controller import Controller
from ..precision.measurement import finer
from ..records import Decision, Settings, Site
from ..remat import casts
from ..remat.derived import Derived
from ..remat.recipes import Recipes
from ..saved.base import Held
from ..saved.boundaries import Boundaries
from ..saved.encoded import Encoded
from ..saved.held import WIDEST, HeldRegions
from ..saved.identity import Identity, locate
from ..saved.kept import Copied, Kept
from ..saved.ledger import extent_of
from ..saved.packed import Packed
from ..saved.parameters import Parameters
from ..saved.probabilities import Probabilities
from ..saved.save import Save
from ..saved.steps import Step, Steps
from ..saved.waiting import MANY, Told, Waiting
from .consumers import CHECKPOINT, COMPILED, Consumers
from .offload import ExactCode, Movable, Offload
from .policy import BOOL, lossless, need, refusal, ruled, stored_bytes
from .rules import Rules

_SMALL = Decision.keep("small")
_BESIDE = Decision.keep("kept by another save")
_COMPILED = Need("unknown", why="compiled")
_ROUTES = exact("input of a checkpointed block that decides something")
_TABLE = exact("input of a checkpoint")
_WEIGHED = exact("weighed by probabilities")


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

    Attributes:
        saves: Tensors that were saved.
        compressed: Of those, tensors that are not held as they were.
        waiting: Saves of which no node has told yet.
        boundaries: Inputs of checkpointed blocks that may still be running.
        probabilities: Results of log-softmax of which it is not known yet what weighs them.
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
        self.waiting = Waiting(self.settle, self.keep, self._assume)
        self.boundaries = Boundaries(self._settle_boundary)
        self.probabilities = Probabilities(self._settle_probabilities)

    def pack(self, tensor: Tensor) -> Save | Kept | Copied:
        """What autograd gets to hold instead of a tensor."""
        step = self._steps.current()
        if step.number != self._step:
            self._step = step.number
            self.probabilities.close()
            self._consumers.begin_step()
            self._held.begin_step(step.number)
            if self._offload is not None:
                self._offload.store.begin_step()
        consumers = self._consumers
        site = consumers.save()
        self.saves += 1
        if consumers.function is not None:
            return self._pack(tensor, site, step)
        # Outside of an op our own function mode is active and would see every look at the tensor.
        with torch._C.DisableTorchFunction():
            return self._pack(tensor, site, step)

    def _pack(self, tensor: Tensor, site: Site | None, step: Step) -> Save | Kept | Copied:
        waiting, boundaries = self.waiting, self.boundaries
        if boundaries.saves and not boundaries.belongs(saving_number()):
            boundaries.close()
        if waiting.saves and (self._consumers.function is None or len(waiting.saves) >= MANY):
            waiting.tell(tensor)
        refused = refusal(tensor)
        if refused:
            size = stored_bytes(tensor)
            step.ledger.record(site or self._unnamed(), Decision.keep(refused), size, size)
            return Kept(tensor, step)
        if self._parameters.owns(tensor):
            return self._leave_parameter(tensor, step)
        if tensor.requires_grad and tensor.is_leaf and self._parameters.knows_model:
            step.inner.meet_input(tensor)
        if tensor.nbytes < self._min_bytes or not tensor.numel():
            if tensor._is_view():
                return self._leave_at_once(tensor, site, step, "small")
            step.ledger.keep(site or self._unnamed(), _SMALL, extent_of(tensor), tensor.untyped_storage())
            return Kept(tensor, step)
        return self._arrive(tensor, site, step)

    def _unnamed(self) -> Site:
        """The site of a save that is left alone before its node is known."""
        consumers = self._consumers
        return consumers.site(consumers.frame(), "unknown", 0, 0)

    def _leave_parameter(self, tensor: Tensor, step: Step) -> Kept:
        step.ledger.parameter_saves += 1
        return Kept(tensor, step)

    def _leave_at_once(self, tensor: Tensor, site: Site | None, step: Step, reason: str) -> Kept | Copied:
        """Holds a tensor exactly that needs no node for that: itself, or a copy of a small part of a large storage."""
        site, decision = site or self._unnamed(), Decision.keep(reason)
        extent, storage = extent_of(tensor), tensor.untyped_storage()
        if _is_part(tensor, self._min_bytes):
            if self._parameters.reason(tensor, self._consumers.arguments()) == "parameter":
                return self._leave_parameter(tensor, step)
            copied = Copied(tensor, step)
            step.ledger.record(site, decision, step.ledger.plain(extent, storage), copied.nbytes)
            return copied
        step.ledger.keep(site, decision, extent, storage)
        return Kept(tensor, step)

    def _arrive(self, tensor: Tensor, site: Site | None, step: Step) -> Save | Kept | Copied:
        """Has a tensor wait that may be compressed, or holds it exactly if its kind or its owner tells."""
        consumers = self._consumers
        reason = self._parameters.reason(tensor, consumers.arguments())
        if reason == "parameter":
            return self._leave_parameter(tensor, step)
        if reason or tensor.is_neg():
            return self._leave_at_once(tensor, site, step, reason or "negated view")
        if is_wrapped(tensor) or tensor._is_zerotensor():
            return self._leave_at_once(tensor, site, step, "inside a transform")
        is_data = tensor.is_leaf
        # An output that held its own node would never be freed.
        alone = tensor if is_data else tensor.detach()
        place = locate(alone)
        if place is None:
            return self._leave_at_once(tensor, site, step, "overlapping elements")
        if place.region.nbytes < self._min_bytes:
            return self._leave_at_once(tensor, site, step, "small")
        save = Save(alone, place, saving_number(), step, self.waiting)
        save.site, save.extent, save.is_data = site, extent_of(tensor), is_data
        save.doubled = in_backward() and step.inner.is_reading()
        save.is_part = tensor._is_view() and _is_part(tensor, self._min_bytes)
        if tensor.dtype in casts.LOW:
            save.source = casts.source_of(consumers.function, tensor, consumers.arguments())
        if site is None:
            save.frame = consumers.frame()
        elif site.op == COMPILED:
            self._hold(save, site, lossless(place.region, is_data) or _COMPILED)
            return save
        elif site.op == CHECKPOINT:
            save.asks = tensor.requires_grad
            self.boundaries.add(save, consumers.has_run)
            return save
        self.waiting.add(save)
        return save

    def settle(self, found: list[Told]) -> None:
        """Holds what was saved as its nodes need it."""
        if self._consumers.function is not None:
            self._settle(found)
            return
        with torch._C.DisableTorchFunction():
            self._settle(found)

    def _settle(self, found: list[Told]) -> None:
        calls: dict[Node, tuple[str, int]] = {}
        for _, save, node, slot, place in found:
            region = save.region
            if region is None:
                continue  # a statistic that was read for the code of another
            site = save.site
            if site is None:
                if node not in calls:
                    calls[node] = self._consumers.call(save.frame, node)
                site = save.site = self._consumers.site(save.frame, *calls[node], place)
            needed = need(node, slot, region, save.is_data)
            # A custom function's backward might write to what it gets.
            save.shares = not isinstance(node, BackwardCFunction)
            form = form_of(needed.form, node) if needed.form else None
            if needed.form == LOGARITHMS and form is not None:
                self.probabilities.add(save, form, cast(Notes, node.metadata))
            else:
                self._hold(save, site, needed, form)

    def _settle_probabilities(self, save: Save, form: Form, weighed: bool) -> None:
        """Holds a result of log-softmax."""
        assert save.site is not None
        with torch._C.DisableTorchFunction():
            self._hold(save, save.site, _WEIGHED if weighed else LOG_PROBABILITIES, form)

    def _settle_boundary(self, save: Save, decided: bool) -> None:
        """Holds an input of a checkpointed block that has run."""
        self._assume(save, _ROUTES if decided else VALUE if save.asks else _TABLE)

    def _assume(self, save: Save, needed: Need) -> None:
        """Holds a save that no node tells of, for a need that is known otherwise."""
        region, site = save.region, save.site
        assert region is not None
        assert site is not None
        with torch._C.DisableTorchFunction():
            self._hold(save, site, lossless(region, save.is_data) or needed)

    def keep(self, save: Save, reason: str) -> None:
        """Holds a save exactly of which no node has told."""
        with torch._C.DisableTorchFunction():
            if save.site is None:
                save.site = self._consumers.site(save.frame, "unknown", 0, 0)
            self._leave(save, save.site, reason)

    def close(self) -> None:
        """Settles all that waits: the context is left."""
        self.boundaries.end()
        self.probabilities.end()
        self.waiting.close()
        self._recipes.clear()  # autograd holds the hooks of a graph, and so this object, as long as the graph

    def _hold(self, save: Save, site: Site, needed: Need, make: Form | None = None) -> None:
        """Holds a save: shared with what is held already, in a code, or exactly."""
        step = save.step
        if needed.kind == "exact":
            return self._leave(save, site, needed.why)
        tensor = save.tensor
        assert tensor is not None
        rule = self._rules.of(site, tensor) if self._rules else None
        if rule is not None:
            if rule.keep:
                return self._leave(save, site, "rule")
            needed = ruled(needed, rule)
        if needed.kind == "unknown":
            return self._leave(save, site, needed.why)
        if needed.kind == "value":
            if site in step.inner.sites:
                return self._leave(save, site, "read by a backward pass of forward")
            if save.doubled:
                return self._leave(save, site, "saved by a backward pass of forward")
            if step.inner.is_suspected:
                return self._leave(save, site, "an input needs a gradient; this step shows what for")
        if save.was_changed:
            return self._leave(save, site, "changed in place")
        region = save.region
        assert region is not None
        transform = make(region, self._settings.group_size) if make is not None else None
        form = needed.form if transform is not None else ""
        if not form and needed.kind == "value" and self._held.has(save.identity, LOGARITHMS):
            # What is steep enough to be coded as its exponential is too steep for its own rounding.
            return self._leave(save, site, "log-probabilities")
        if needed.kind == "value":
            held = self._value(save, needed, form)
        else:
            held = self._held.exact(save.identity, needed.mask or needed.kind)
        if held is not None:
            return self._share(held, save, site)
        encoded = self._encode(region, site, step, needed, transform)
        if isinstance(encoded, str) or encoded.code.nbytes >= region.nbytes:
            return self._leave(save, site, encoded if isinstance(encoded, str) else "code is no smaller")
        self._add(encoded, needed, save, site, form)

    def _leave(self, save: Save, site: Site, reason: str) -> None:
        """Holds a save exactly: its tensor, or a copy where that is a small part of a large storage."""
        tensor, step, decision = save.tensor, save.step, Decision.keep(reason)
        assert tensor is not None
        storage = tensor.untyped_storage()
        if save.is_part:
            copied = Copied(tensor, step)
            step.ledger.record(site, decision, step.ledger.plain(save.extent, storage), copied.nbytes)
            save.settle(copied)
            return
        if self._offload is not None:
            moved = self._move(self._offload, save, site, decision)
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
                save.step.ledger.release(encoded.owner, decision, _BESIDE, freed)
        kept = Encoded(Exact(region))
        held.keep(save.identity, kept)
        return kept

    def _move(self, offload: Offload, save: Save, site: Site, decision: Decision) -> Packed | None:
        """Holds a tensor exactly in the store; None if it is to stay."""
        tensor, step = save.tensor, save.step
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

    def _value(self, save: Save, needed: Need, form: str) -> Held | None:
        """What gives a region's values with the width that is needed: codes, a recipe, or the cast of what is held."""
        held = self._held.value(save.identity, needed.least_bits, form)
        if held is None and self._settings.derive and form not in OWN:
            held = self._derive(save.identity, needed) or self._cast(save, needed)
        return held

    def _cast(self, save: Save, needed: Need) -> Held | None:
        source, tensor = save.source, save.tensor
        if source is None or tensor is None:
            return None
        cast = casts.identity_of_cast(source, tensor.dtype)
        held = self._held.value(cast, needed.least_bits) or casts.derive(source, tensor, self._held, self._recipes)
        if held is None or held.bits < needed.least_bits:
            self._held.alias(save.identity, cast, source.region)
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

    def _share(self, held: Held, save: Save, site: Site) -> None:
        ledger, tensor = save.step.ledger, save.tensor
        assert tensor is not None
        extra = held.charge() if isinstance(held, Derived) else 0
        plain = ledger.plain(save.extent, tensor.untyped_storage())
        decision = held.decision
        ledger.record(site, _BESIDE if decision.codec == "keep" else decision, plain, extra, merged=True)
        self.compressed += 1
        save.settle(self._packed(held, save, site))

    def _packed(self, held: Held, save: Save, site: Site) -> Packed:
        step = save.step
        if step.measurement is not None:
            step.measurement.read_by(held, save.number)
            return Packed(held, save.layout, step)
        return Packed(held, save.layout, step, save.shares)

    def _add(self, encoded: Encoded, needed: Need, save: Save, site: Site, form: str) -> None:
        """Takes a new code for the region of a save."""
        tensor, ledger = save.tensor, save.step.ledger
        assert tensor is not None
        if self._offload is not None and encoded.code.nbytes:
            encoded.code = self._offload.code(cast(Movable, encoded.code), site, tensor)
        code = encoded.code
        if needed.kind == "value":
            self._held.add_value(save.identity, encoded, form)
            encoded.owner = site
        else:
            self._held.add_exact(save.identity, needed.mask or needed.kind, encoded)
            if needed.kind == "mask":
                self._recipes.last_mask = weakref.ref(encoded)
        plain = ledger.plain(save.extent, tensor.untyped_storage())
        ledger.record(site, encoded.decision, plain, code.nbytes, offloaded_bytes=code.offloaded_bytes)
        self.compressed += 1
        save.settle(self._packed(encoded, save, site))

    def _encode(
        self, region: Tensor, site: Site, step: Step, needed: Need, transform: Transform | None
    ) -> Encoded | str:
        """A region in a code, or the reason why it has none."""
        on_cpu = region.device.type == "cpu"
        if needed.kind == "shape":
            return Encoded(Blank(region))
        if needed.kind == "mask":
            return Encoded(Mask(region, needed.mask or BOOL))
        if needed.kind == "integers":
            if not on_cpu:
                return "integer"  # its range cannot be read without waiting for the device
            return Encoded(Integers(region, *extremes(region)))
        return self._quantize(region, site, step, needed, transform)

    def _quantize(
        self, region: Tensor, site: Site, step: Step, needed: Need, transform: Transform | None
    ) -> Encoded | str:
        """A region in groups of the width that its site has, or in finer ones where its noise is to be measured."""
        settings, measurement = self._settings, step.measurement
        bits = self._controller.width(site, needed)
        measured = measurement is not None and needed.least_bits < min(needed.most_bits, WIDEST)
        seed = streams.key(settings.seed, step.number, site.key, step.ledger.count(site))
        code = quantized(region, finer(bits) if measured else bits, settings.group_size, seed, transform)
        if region.device.type == "cpu" and code.is_poisoned():
            return "not finite"
        if measurement is not None and measured:
            return measurement.hold(code, region, site, bits, needed)
        if needed.least_bits < needed.most_bits:
            self._controller.saw(site, region.numel(), code)
        return Encoded(code)


def _is_part(tensor: Tensor, min_bytes: int) -> bool:
    """Whether keeping a tensor would keep a storage that is much larger."""
    return tensor._is_view() and tensor.untyped_storage().nbytes() > max(min_bytes, 4 * tensor.nbytes)
