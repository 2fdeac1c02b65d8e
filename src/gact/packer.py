"""The way of one saved tensor: who saves it, is it held already, which code, encode."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from . import streams
from .codecs.groups import Groups
from .consumers import Consumers
from .layout import region_of
from .packed import Copied, Encoded, Kept, Packed
from .parameters import Parameters
from .policy import decide, refusal
from .records import Decision, Settings, Site
from .steps import Step, Steps

Held = WeakValueDictionary[tuple[Any, ...], Encoded]


class Packer:
    """Packs what one thread saves while its context is open.

    Args:
        settings: Widths, group size, least size, seed.
        steps: Where saves are counted.
        held: Regions that are held already, by identity: storage, offset, extent, dtype and version.
        parameters: Tells weights from activations.
        consumers: Tells who is saving.
    """

    def __init__(
        self, settings: Settings, steps: Steps, held: Held, parameters: Parameters, consumers: Consumers
    ) -> None:
        self.saves = 0
        self.compressed = 0
        self._settings = settings
        self._steps = steps
        self._held = held
        self._parameters = parameters
        self._consumers = consumers
        self._decision = decide(settings)

    def pack(self, tensor: Tensor) -> Kept | Copied | Packed:
        """What autograd gets to hold instead of a tensor."""
        site = self._consumers.save()
        step = self._steps.current()
        self.saves += 1
        with torch._C.DisableTorchFunction():
            refused = refusal(tensor)
            if refused:
                return self._leave(tensor, site, step, refused)
            if self._parameters.owns(tensor):
                return self._leave_parameter(tensor, step)
            if tensor.nbytes < self._settings.min_bytes or not tensor.numel():
                return self._leave(tensor, site, step, "small")
            return self._compress(tensor, site, step)

    def _leave_parameter(self, tensor: Tensor, step: Step) -> Kept:
        step.ledger.parameter_saves += 1
        return Kept(tensor if tensor.is_leaf else tensor.detach(), step)

    def _leave(self, tensor: Tensor, site: Site, step: Step, reason: str) -> Kept | Copied:
        """Holds a tensor exactly: itself, or a copy where it is a small part of a large storage."""
        decision = Decision.keep(reason)
        if tensor.layout is not torch.strided or type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.is_nested:
            # Has no storage of its own to count.
            step.ledger.record(site, decision, 0, 0)
            return Kept(tensor if tensor.is_leaf else tensor.detach(), step)
        plain = step.ledger.plain(tensor)
        if tensor._is_view() and tensor.untyped_storage().nbytes() > max(self._settings.min_bytes, 4 * tensor.nbytes):
            if self._parameters.reason(tensor, self._consumers.arguments()):
                return self._leave_parameter(tensor, step)
            step.ledger.record(site, decision, plain, tensor.nbytes)
            return Copied(tensor, step)
        step.ledger.record(site, decision, plain, plain, merged=not plain)
        return Kept(tensor if tensor.is_leaf else tensor.detach(), step)

    def _compress(self, tensor: Tensor, site: Site, step: Step) -> Kept | Copied | Packed:
        if self._parameters.reason(tensor, self._consumers.arguments()):
            return self._leave_parameter(tensor, step)
        located = region_of(tensor)
        if located is None:
            return self._leave(tensor, site, step, "overlapping elements")
        region, layout = located
        if region.nbytes < self._settings.min_bytes:
            return self._leave(tensor, site, step, "small")
        storage = tensor.untyped_storage()
        extent = (layout.size, layout.stride) if layout.copied else region.numel()
        identity = (storage._cdata, tensor.storage_offset(), extent, tensor.dtype, tensor._version)
        encoded = self._held.get(identity)
        if encoded is not None:
            step.ledger.record(site, self._decision, step.ledger.plain(tensor), 0, merged=True)
            self.compressed += 1
            return Packed(encoded, layout, step)
        code = self._encode(region, site, step)
        if code.nbytes >= region.nbytes:
            return self._leave(tensor, site, step, "code is no smaller")
        if region.device.type == "cpu" and code.is_poisoned():
            return self._leave(tensor, site, step, "not finite")
        encoded = self._held[identity] = Encoded(code, StorageWeakRef(storage))
        step.ledger.record(site, self._decision, step.ledger.plain(tensor), code.nbytes)
        self.compressed += 1
        return Packed(encoded, layout, step)

    def _encode(self, region: Tensor, site: Site, step: Step) -> Groups:
        settings = self._settings
        seed = streams.key(settings.seed, step.number, site.key, step.ledger.count(site))
        return Groups(region, self._decision.bits, settings.group_size, seed)
