"""Who is saving: the op, the slot and the module path behind a call of the pack hook.

NOTE: How the consumer is known
What backward needs of a save is told by its node alone (``autograd/nodes.py``). A name for people comes from what runs:
while a context is open a ``TorchFunctionMode`` notes the op, and ``autograd/modules.py`` tells which modules run.
Saves outside of any op (custom Functions, TorchScript, C++, double backward) are named after their node,
but for those of ``torch.utils.checkpoint`` and ``torch.compile``, which are known by who runs them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from ..autograd.compiling import never_compiled
from ..autograd.hooks import Hooks
from ..autograd.inner import InnerPasses
from ..autograd.internals import trace_of_now
from ..autograd.modules import follow, unfollow
from ..autograd.nodes import op_of
from ..operators.dividing import LOOKED_AFTER
from ..operators.overwriting import OVERWRITING, hides_its_node
from ..records import Arguments, Site
from ..remat.rules import DERIVABLE
from ..saved.boundaries import DECIDING, LEAVING, Boundaries
from ..saved.made import Made
from ..saved.probabilities import ENDING
from ..saved.waiting import Waiting
from .callers import Packs, function_of, is_of_schedule
from .rerun import prepare_checkpoint
from .sites import Frame, Sites
from .steep import Steep

_NO_KEYWORDS: Mapping[str, Any] = {}
_NONE: Arguments = ((), _NO_KEYWORDS)
_GRADIENT = torch.autograd.grad
_NODE = Tensor.grad_fn.__get__  # type: ignore[union-attr]  # before torch 2.13 checkpoint looks, before its block runs
_ASKING = frozenset({Tensor.requires_grad_, Tensor.requires_grad.__set__})  # type: ignore[attr-defined]
_SPECIAL = DECIDING | LEAVING | ENDING | _ASKING | {_GRADIENT}


class Consumers(TorchFunctionMode):
    """Follows one thread's forward pass and tells which site a save belongs to.

    Use as a context manager; outside of it nothing is followed and nothing costs anything.

    Args:
        sites: Where sites and module paths come from.

    Attributes:
        function: The op that is running; None outside of any.
        sites: Where sites come from.
        has_run: Whether the checkpointed block whose input was saved last had run already.
    """

    def __init__(self, sites: Sites) -> None:
        super().__init__()
        self.sites = sites
        self._thread = threading.get_ident()
        self._frames = [Frame(None, "")]
        self._op: str | None = None
        self.function: Callable[..., Any] | None = None
        self.has_run = False
        self._arguments: Arguments = _NONE
        self._observe: Callable[..., Any] | None = None
        self._name = ""
        self._call = 0
        self._slot = 0
        self._hooks: Hooks | None = None
        self._tell: Callable[[str], None] | None = None
        self._waiting: Waiting | None = None
        self._boundaries: Boundaries | None = None
        self._end_forward: Callable[[], None] = lambda: None
        self._inner: InnerPasses | None = None
        self._made: Made | None = None
        self._steep: Steep | None = None
        self._in_charge: Callable[[], bool] = lambda: True

    def __enter__(self) -> Consumers:
        try:
            follow(self)
            never_compiled(type(self).__torch_function__)
            super().__enter__()  # type: ignore[no-untyped-call]
        except BaseException:
            unfollow(self)
            raise
        return self

    def __exit__(self, *exception: Any) -> None:
        try:
            super().__exit__(*exception)  # type: ignore[no-untyped-call]
        finally:
            unfollow(self)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs one op with its name noted; ops nested in it belong to the outer one."""
        if torch.compiler.is_compiling() or self._op is not None or trace_of_now() is not None:
            # Of what is traced nothing is held after an op, or what holds it would become part of the trace.
            return func(*args, **(kwargs or {}))
        # An op that saved something has shown that our hooks are in charge.
        if not self._slot and self._hooks is not None and not self._hooks.in_charge():
            self._look_at_hooks(self._hooks)
        kwargs = kwargs or _NO_KEYWORDS
        if func in _SPECIAL:
            if func is _GRADIENT:
                return self._differentiate(func, args, kwargs)
            if func in ENDING:
                self._end_forward()
            elif func in _ASKING:
                self._note_input(args)
            else:
                self._note_decision(func, args, kwargs)
        boundaries = self._boundaries
        if boundaries is not None and boundaries.is_open and func != _NODE and self._in_charge():
            boundaries.close()
        self._op = func.__name__
        self.function = func
        self._arguments = (args, kwargs)
        self._slot = 0
        try:
            if self._observe is not None and func in DERIVABLE:
                return self._observe(func, args, kwargs)
            return self.run(func, args, kwargs)
        finally:
            self._op = self.function = None
            self._arguments = _NONE

    def run(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Runs an op and has what it saved told by its node."""
        result = func(*args, **kwargs)
        if self._made is not None:
            self._made.note(result, args)
        waiting = self._waiting
        if waiting is not None and waiting.saves:
            waiting.tell(result)
            if waiting.saves and func in OVERWRITING and hides_its_node(result):
                waiting.assume(OVERWRITING[func], self._op_at)
        if func in LOOKED_AFTER and self._steep is not None:
            self._steep.meet(func, result)
        return result

    def _op_at(self, site: Site | None) -> bool:
        """Whether the op that is running saves at a site."""
        return site is not None and (site.op, site.call) == (self._name, self._call)

    def _note_input(self, args: tuple[Any, ...]) -> None:
        """Notes that a module has a tensor ask for a gradient."""
        if len(self._frames) > 1 and self._inner is not None and args:
            self._inner.make_input(args[0])

    def _note_decision(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Notes a decision inside a checkpointed block, which runs without gradients or under hooks of its own."""
        boundaries = self._boundaries
        if boundaries is None or (torch.is_grad_enabled() and self._in_charge()):
            return
        boundaries.note(func, args, kwargs)

    def _differentiate(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Runs ``torch.autograd.grad`` inside of forward. What its own nodes save is theirs and no op's.

        Pipeline schedules run the training's own backward passes with it, which are no part of forward.
        """
        inner = self._inner
        if inner is None or is_of_schedule():
            return func(*args, **kwargs)
        inner.begin_gradient()
        try:
            return self.run(func, args, kwargs)
        finally:
            inner.end_gradient()

    def watch(self, hooks: Hooks, tell: Callable[[str], None]) -> None:
        """Reports, once, that an op runs under saved-tensor hooks that are not ours.

        Args:
            hooks: Our pair.
            tell: Called with the name of the other.
        """
        self._hooks, self._tell = hooks, tell

    def _look_at_hooks(self, hooks: Hooks) -> None:
        name = hooks.foreign()
        if name and self._tell is not None:
            self._hooks = None
            self._tell(name)
        elif not name and self._boundaries is not None:
            self._boundaries.meet(self._site_of)

    def _site_of(self, op: str) -> Site:
        """The site of the next call of one of torch's own Functions in the running module."""
        frame = self.frame()
        call = frame.calls[op] = frame.calls.get(op, -1) + 1
        return self.sites.site(frame.path, op, call, 0)

    def serve(self, packs: Packs, inner: InnerPasses, in_charge: Callable[[], bool]) -> None:
        """Sets the objects that are told what runs.

        Args:
            packs: What waits for ops to show something.
            inner: Backward passes that forward runs.
            in_charge: Whether autograd would call our hooks now.
        """
        self._waiting, self._boundaries, self._end_forward = packs.waiting, packs.boundaries, packs.end_forward
        self._made, self._steep, self._inner, self._in_charge = packs.made, packs.steep, inner, in_charge

    def release(self) -> None:
        """Lets go of all that was to be told: two objects that hold each other stay for long."""
        self._waiting = self._boundaries = self._made = self._steep = None
        self._inner = self._observe = self._hooks = self._tell = None
        self._in_charge, self._end_forward = lambda: True, lambda: None

    def observe(self, run: Callable[..., Any]) -> None:
        """Has an observer run the ops whose results can be rebuilt."""
        self._observe = run

    def begin_step(self) -> None:
        """Starts to count the calls outside of any module afresh."""
        self._frames[0].calls.clear()

    def module_begins(self, module: torch.nn.Module) -> None:
        """Makes a module the running one."""
        self._frames.append(Frame(module, self.sites.path(module)))

    def module_ends(self, module: torch.nn.Module) -> None:
        """Makes the module around it the running one again."""
        # A forward that raised may have left the frames of its children behind: unwind to the module that ends.
        for depth in range(len(self._frames) - 1, 0, -1):
            if self._frames[depth].module is module:
                del self._frames[depth:]
                return

    def arguments(self) -> Arguments:
        """Positional and keyword arguments of the op that is running."""
        return self._arguments

    def frame(self) -> Frame:
        """The module that is running now."""
        return self._frames[-1] if threading.get_ident() == self._thread else self._frames[0]

    def path(self) -> str:
        """Path of the innermost running module that is the user's, not a graph that stands for it."""
        if threading.get_ident() != self._thread:
            return ""
        return next(each.path for each in reversed(self._frames) if not isinstance(each.module, torch.fx.GraphModule))

    def save(self) -> Site | None:
        """The site of the save that is happening now, counted; None if only its node can tell."""
        if threading.get_ident() != self._thread:
            return None  # a double backward on a device's thread
        frame = self._frames[-1]
        if self._op is None:
            op, self.has_run = function_of(sys._getframe(2), self._prepare)
            return None if op is None else self._site_of(op)
        if self._slot == 0:
            self._name = name = self._op.partition(".")[0]  # overloads go by the op's name
            self._call = frame.calls[name] = frame.calls.get(name, -1) + 1
        slot = self._slot
        self._slot = slot + 1
        return self.sites.site(frame.path, self._name, self._call, slot)

    def _prepare(self, frame: FrameType, has_run: bool) -> None:
        """Prepares a checkpointed block that will run, or notes what the checkpoint of one that has run keeps."""
        if self._boundaries is None:
            return
        if has_run:
            self._boundaries.meet_run(frame.f_locals, self._site_of)
        else:
            prepare_checkpoint(frame, Consumers, partial(_quiet, self.sites), self._boundaries.teller())

    def call(self, frame: Frame, node: Node) -> tuple[str, int]:
        """Name and number of a call that only its node has told; counts it."""
        op = op_of(node)
        call = frame.calls[op] = frame.calls.get(op, -1) + 1
        return op, call

    def site(self, frame: Frame, op: str, call: int, slot: int) -> Site:
        """The site of a slot of such a call."""
        return self.sites.site(frame.path, op, call, slot)


def _quiet(sites: Sites) -> Consumers:
    """One that follows nothing, beside which Dynamo compiles as beside one that does."""
    quiet = Consumers(sites)
    quiet._op = "nobody's, which is running all the time"
    return quiet
