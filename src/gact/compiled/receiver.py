"""Holds what compiled code saves, in the ways in which everything else is held."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..autograd.inner import in_backward
from ..autograd.internals import DisableTorchFunction, is_at_hand
from ..autograd.nodes import saving_number
from ..codecs.forms import log_probabilities
from ..codecs.sums import Rows, rows_along
from ..operators.aten import MAGNITUDES, ROWS
from ..operators.losses import LOG_PROBABILITIES
from ..operators.magnitudes import of_even_rows, of_one_magnitude
from ..operators.need import VALUE, Need
from ..packing.consumers import Consumers
from ..packing.lossless import lossless
from ..packing.packer import Packer
from ..records import Decision, Site
from ..saved.held import WIDEST
from ..saved.identity import locate
from ..saved.kept import Kept
from ..saved.ledger import extent_of
from ..saved.parameters import Parameters
from ..saved.save import Save
from ..saved.steps import Step
from ..saved.unpacking import unpack
from . import handles
from .probabilities import LOGARITHM

_LARGE = "scores are large"
_ITSELF = 1.0
_NEXT_TO_NOTHING = 2.0**-16
_numbers = itertools.count()


class Value:
    """A value that compiled code has saved.

    Args:
        save: What gives it back.
    """

    __slots__ = ("_save",)

    def __init__(self, save: Save | Kept) -> None:
        self._save = save

    @property
    def step(self) -> Step | None:
        """The step that has saved it."""
        return self._save.step

    def restore(self) -> Tensor:
        """The value, in memory that nobody else has: compiled code may write to it."""
        save = self._save
        tensor = unpack(save)
        is_itself = isinstance(save, Kept) or isinstance(save.result, Kept)
        return tensor.clone() if is_itself else tensor


def step_of(held: object) -> Step | None:
    """The step of what autograd holds for compiled code; None for everything else.

    Args:
        held: What a slot of a node holds.
    """
    owned = handles.owned(held)
    if isinstance(owned, Value):
        return owned.step
    return owned if isinstance(owned, Step) else None


class Receiver:
    """Holds what compiled code saves on one thread while its context is open.

    Args:
        packer: Packs what code saves that is not compiled.
        consumers: Tells which module is running.
        parameters: Tells weights from activations.
        bits: Average width of a code.
    """

    def __init__(self, packer: Packer, consumers: Consumers, parameters: Parameters, bits: float) -> None:
        self._packer, self._consumers, self._parameters = packer, consumers, parameters
        self._bits = int(bits)
        self._sites: dict[tuple[str, str], Site] = {}

    def pack(self, x: Tensor, site: str, need: str, plain: float, shared: bool, score: Tensor | None) -> Value:
        """Holds a value; see ``handles.pack``."""
        with DisableTorchFunction():
            step = self._packer.current()
            self._packer.saves += 1
            if shared and self._parameters.owns(x):
                step.ledger.parameter_saves += 1
                return Value(Kept(x, step))
            return Value(self._hold(x, self._site(site), need, plain, shared, score, step))

    def _hold(
        self, x: Tensor, site: Site, need: str, plain: float, shared: bool, score: Tensor | None, step: Step
    ) -> Save:
        need, _, adding = need.partition(f" {handles.ADDS} ")
        place = locate(x)
        assert place is not None, "compiled code packs dense tensors alone"
        number = next(_numbers)
        is_data = shared and x.is_leaf and not x.requires_grad
        if not shared:
            # Compiled code writes to memory again without counting versions, so nobody else has this value.
            place = place._replace(identity=(("compiled", number), *place.identity[1:]))
        save = Save(x, place, saving_number(), step, self._packer.waiting)
        save.site, save.is_data = site, is_data
        save.extent = extent_of(x) if shared and plain else (-1 - number, int(plain * x.nbytes))
        save.doubled = in_backward() and step.inner.is_reading()
        save.is_part = save.is_internal = not shared
        holding = self._packer.holding
        if x.nbytes < self._packer.small.bytes:
            holding.leave(save, "small")
        elif score is not None and x.is_cpu and not float(score) <= _ITSELF:
            holding.leave(save, _LARGE)
        elif need.startswith(LOGARITHM):
            holding.hold(save, LOG_PROBABILITIES, log_probabilities(int(need.split()[1])))
        elif (found := _looked_at(need, x)).kind == "exact":
            holding.leave(save, found.why)
        else:
            is_looked_at = is_data or need.startswith(handles.COUNTED)
            found = lossless(place.region, is_looked_at) or _need(need, is_data, self._bits)
            holding.hold(save, replace(found, rows=_rows(adding, x)) if adding and found.kind == "value" else found)
        return save

    def note(self, kept: Sequence[Tensor], sites: str, parameters: int) -> Step:
        """Counts what is saved as it is; see ``handles.note``."""
        with DisableTorchFunction():
            step = self._packer.current()
            step.ledger.parameter_saves += parameters
            self._packer.saves += len(kept)
            for tensor, line in zip(kept, sites.splitlines(), strict=True):
                site, reason, share = line.rsplit("|", 2)
                if self._parameters.owns(tensor):
                    step.ledger.parameter_saves += 1
                else:
                    own, place = extent_of(tensor), self._site(site)
                    # What plain code does not save itself counts for what it stands for.
                    plain = (-1 - next(_numbers), int(float(share) * tensor.nbytes)) if share else own
                    step.ledger.keep(place, Decision.keep(reason), own, tensor.untyped_storage(), plain)
            return step

    def _site(self, text: str) -> Site:
        """The site that a graph names, below the module that is running."""
        path = self._consumers.path()
        site = self._sites.get((path, text))
        if site is None:
            module, op, call, slot = text.split("|")
            module = f"{path}.{module}" if path and module else path or module
            site = self._sites[path, text] = self._consumers.sites.site(module, op, int(call), int(slot))
        return site


def _looked_at(text: str, x: Tensor) -> Need:
    """The need of a value whose magnitudes tell whether it may have a code."""
    if text.endswith(MAGNITUDES):
        return of_one_magnitude(None, x)
    return of_even_rows(x) if text.endswith(f" {ROWS}") else VALUE


def _rows(text: str, x: Tensor) -> Rows | None:
    """How rows that add to one lie in memory; None if it is not known that they do."""
    dim, is_sure = map(int, text.split())
    if not is_sure:
        if not is_at_hand(x):
            return None
        rest = x.sum(dim, dtype=torch.promote_types(x.dtype, torch.float32)).sub_(1).abs_().amax()
        if not float(rest) <= max(torch.finfo(x.dtype).eps, _NEXT_TO_NOTHING):
            return None
    return rows_along(x, dim)


def _need(text: str, is_data: bool, usual: int) -> Need:
    text = text.removesuffix(f" {MAGNITUDES}").removesuffix(f" {ROWS}")
    word, _, shared = text.partition(handles.TURN)
    kind, *bits = word.split()
    assert kind in ("value", handles.COUNTED), "what is exact has a code without loss"
    need = replace(VALUE, min_bits=int(bits[0]) if bits else 1)
    if shared:
        turn, times = shared.split()
        need = replace(need, turn=float(turn), prior_bits=min(int(times) * usual, WIDEST))
    return replace(need, prior_bits=WIDEST) if is_data else need
