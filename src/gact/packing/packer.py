"""The way of one saved tensor: who saves it, what must survive of it, is that held already, how to hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from ..autograd.inner import in_backward
from ..autograd.internals import DisableTorchFunction, is_wrapped
from ..autograd.nodes import saving_number
from ..codecs.base import Code
from ..operators.forms import ATTENTION, LOGARITHMS, form_of
from ..operators.losses import Notes
from ..operators.need import VALUE, Need, exact
from ..records import Decision, Settings, Site
from ..remat import casts
from ..remat.attended import attended
from ..remat.recipes import Recipes
from ..saved.boundaries import Boundaries
from ..saved.held import HeldRegions
from ..saved.identity import locate
from ..saved.kept import Copied, Kept, is_part
from ..saved.ledger import extent_of
from ..saved.made import Made
from ..saved.parameters import COPY, Parameters
from ..saved.parts import parts_of
from ..saved.probabilities import Probabilities
from ..saved.save import Save
from ..saved.sharded import Sharded, local_of, whole_of
from ..saved.small import SMALL
from ..saved.steps import Step, Steps
from ..saved.waiting import MANY, Told, Waiting
from .callers import CHECKPOINT, COMPILED
from .comparing import codes_of, compares
from .consumers import Consumers
from .holding import Holding
from .lossless import lossless
from .offload import Offload
from .policy import Widths, need, refusal
from .rules import Rules
from .steep import Steep

_SMALL = Decision.keep(SMALL)
_COMPILED = Need("unknown", why="compiled")
_ROUTES = exact("input of a checkpointed block that decides something")
_TABLE = exact("input of a checkpoint")
_OF_THE_WHOLE = exact("a part of what is coded as a whole")


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
        holding: Holds them.
        waiting: Saves of which no node has told yet.
        boundaries: Inputs of checkpointed blocks that may still be running.
        probabilities: Results of log-softmax that wait for what weighs them.
        made: Storages that this forward pass has made without a gradient.
        steep: Has exact what a steep function further on reads.
    """

    def __init__(
        self,
        settings: Settings,
        controller: Widths,
        steps: Steps,
        held: HeldRegions,
        recipes: Recipes,
        parameters: Parameters,
        consumers: Consumers,
        rules: Rules,
        offload: Offload | None = None,
    ) -> None:
        self.saves = 0
        self.holding = Holding(settings, controller, held, recipes, rules, offload)
        self.small = steps.small
        self._steps = steps
        self._held = held
        self._recipes = recipes
        self._parameters = parameters
        self._consumers = consumers
        self._offload = offload
        self._step = 0
        self.waiting = Waiting(self.settle, self.keep, self._assume)
        self.boundaries = Boundaries(self._settle_boundary, self._count_unseen)
        self.probabilities = Probabilities(self.holding.hold)
        self.steep = Steep(self.holding, consumers.sites)
        self.made = Made(lambda: steps.ledger)

    def pack(self, tensor: Tensor) -> Save | Sharded | Kept | Copied:
        """What autograd gets to hold instead of a tensor."""
        step = self.current()
        consumers = self._consumers
        site = consumers.save()
        self.saves += 1
        if consumers.function is not None:
            return self._pack(tensor, site, step)
        # Outside of an op our own function mode is active and would see every look at the tensor.
        with DisableTorchFunction():
            return self._pack(tensor, site, step)

    def current(self) -> Step:
        """The step that a save of now belongs to."""
        step = self._steps.current()
        if step.number != self._step:
            self._step = step.number
            self.end_forward()
            self._consumers.begin_step()
            self.small.begin_step()
            self._held.begin_step(step.number)
            if self._offload is not None:
                self._offload.store.begin_step()
        return step

    def end_forward(self) -> None:
        """Settles what waits for more ops of the forward pass, and lets go of what is held on to for them."""
        self.probabilities.close()
        self.steep.close()

    def _pack(self, tensor: Tensor, site: Site | None, step: Step) -> Save | Sharded | Kept | Copied:
        waiting, boundaries = self.waiting, self.boundaries
        if boundaries.is_open and not boundaries.belongs(saving_number()):
            boundaries.close()
        if waiting.saves and (self._consumers.function is None or len(waiting.saves) >= MANY):
            waiting.tell(tensor)
        if refused := refusal(tensor):
            parts = parts_of(tensor)
            if (parts and all(map(self._parameters.owns, parts))) or self._parameters.leads_to(tensor):
                return self._leave_parameter(tensor, step)
            local = local_of(tensor)
            if local is not None and not refusal(local):
                return whole_of(self._pack(local, site, step), tensor, step)
            step.ledger.keep_parts(site or self._unnamed(), Decision.keep(refused), parts, self.made)
            return Kept(tensor, step)
        if self._parameters.owns(tensor):
            return self._leave_parameter(tensor, step)
        if tensor.requires_grad and tensor.is_leaf:
            if not tensor.numel() and site is not None and site.op == CHECKPOINT:
                self._consumers.frame().calls[CHECKPOINT] -= 1  # a leaf that checkpoint makes before torch 2.13
                return Kept(tensor, step)
            if self._parameters.knows_model and tensor.numel():
                step.inner.meet_input(tensor)
        if tensor.nbytes < self.small.bytes or not tensor.numel():
            small = self.small
            small.kept += tensor.nbytes
            if small.kept >= small.limit:
                small.look(step.ledger)
            if tensor._is_view():
                return self._leave_at_once(tensor, site, step, SMALL)
            step.ledger.keep(site or self._unnamed(), _SMALL, extent_of(tensor, self.made), tensor.untyped_storage())
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
        extent, storage = extent_of(tensor, self.made), tensor.untyped_storage()
        if reason != COPY and is_part(tensor, self.small.bytes):
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
            if not self._parameters.is_copy(tensor):
                return self._leave_parameter(tensor, step)
            reason = COPY
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
        if place.region.nbytes < self.small.bytes:
            return self._leave_at_once(tensor, site, step, SMALL)
        save = Save(alone, place, saving_number(), step, self.waiting)
        save.site, save.extent, save.is_data = site, extent_of(tensor, self.made), is_data
        save.doubled = in_backward() and step.inner.is_reading()
        save.is_part = tensor._is_view() and is_part(tensor, self.small.bytes)
        if tensor.dtype in casts.LOW:
            save.source = casts.source_of(consumers.function, tensor, consumers.arguments())
        if site is None:
            save.frame = consumers.frame()
        elif site.op == COMPILED:
            self.holding.hold(save, lossless(place.region, is_data) or _COMPILED)
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
        with DisableTorchFunction():
            self._settle(found)

    def _settle(self, found: list[Told]) -> None:
        calls: dict[Node, tuple[str, int]] = {}
        codes: dict[Node, Mapping[str, Code]] = {}
        for _, save, node, slot, place in found:
            region = save.region
            if region is None:
                continue  # a statistic that was read for the code of another
            if save.site is None:
                if node not in calls:
                    calls[node] = self._consumers.call(save.frame, node)
                save.site = self._consumers.site(save.frame, *calls[node], place)
            if compares(node):
                if node not in codes:
                    waiting = {told.slot: told.save for told in found if told.node is node}
                    codes[node] = {} if self.holding.rules_keep(waiting.values()) else codes_of(node, waiting)
                if slot in codes[node]:
                    self.holding.take(save, codes[node][slot])
                    continue
            needed = need(node, slot, region, save.is_data)
            # A custom function's backward might write to what it gets.
            save.shares = not isinstance(node, BackwardCFunction)
            if save.is_local and needed.form:
                needed = _OF_THE_WHOLE
            if needed.form == ATTENTION:
                save.again = attended(node, region)
            form = form_of(needed.form, node) if needed.form not in ("", ATTENTION) else None
            if needed.form == LOGARITHMS and form is not None:
                self.probabilities.add(save, form, cast(Notes, node.metadata))
            else:
                self.holding.hold(save, self.steep.needed(save, node, slot, needed), form)

    def _settle_boundary(self, save: Save, decided: bool) -> None:
        """Holds an input of a checkpointed block that has run."""
        self._assume(save, _ROUTES if decided else VALUE if save.asks else _TABLE)

    def _count_unseen(self, tensors: list[Tensor], site: Site, decision: Decision) -> None:
        """Counts what a checkpoint keeps and no hook was shown."""
        with DisableTorchFunction():
            parts = [part for each in tensors for part in parts_of(each) if not self._parameters.owns(part)]
            if parts:
                self.saves += 1
                self._steps.ledger.keep_parts(site, decision, parts, self.made)

    def _assume(self, save: Save, needed: Need) -> None:
        """Holds a save that no node tells of, for a need that is known otherwise."""
        region = save.region
        assert region is not None
        with DisableTorchFunction():
            self.holding.hold(save, lossless(region, save.is_data) or needed)

    def keep(self, save: Save, reason: str) -> None:
        """Holds a save exactly of which no node has told."""
        with DisableTorchFunction():
            save.site = save.site or self._consumers.site(save.frame, "unknown", 0, 0)
            self.holding.leave(save, reason)

    def close(self) -> None:
        """Settles all that waits: the context is left."""
        self.boundaries.end()
        self.probabilities.end()
        self.steep.close()
        self.waiting.close()
        self._recipes.clear()  # autograd holds the hooks of a graph, and so this object, as long as the graph
