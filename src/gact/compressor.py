"""The compressor: a context in which the tensors that autograd saves for backward are held in a few bits."""

from __future__ import annotations

import copy
import dataclasses
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .autograd.hooks import Hooks, transform_is_active
from .autograd.inner import InnerPasses
from .autograd.modules import unfollow
from .autograd.opening import Opened, gravest, take_off
from .checkpoint.checkpointing import ContextsOf, checkpointing
from .checkpoint.recompute import Again
from .checks import (
    check_bits,
    check_budgets,
    check_choice,
    check_count,
    check_count_or_none,
    check_group_size,
    check_memory,
    check_names,
    check_positive,
    check_seed,
)
from .levels import arguments_of
from .memory.serving import Serving
from .notices import ASIDE, Notices
from .operators import prepare
from .packing.consumers import Consumers, Sites
from .packing.offload import open_offload
from .packing.packer import Packer
from .packing.rules import Rule, Rules
from .precision.aside import preserved_state
from .precision.comparison import Comparison
from .precision.controller import Controller
from .precision.findings import Totals
from .precision.measurement import Measured
from .precision.objective import OBJECTIVES
from .records import Settings
from .remat.observer import Observer
from .remat.recipes import Recipes
from .report import Report, build_report
from .saved.held import HeldRegions
from .saved.parameters import Parameters
from .saved.steps import Steps
from .saved.unpacking import unpack
from .store.choose import check_offload

_STATE_VERSION = 4


class _Thread(threading.local):
    """How deep a thread has entered, and what belongs to its outermost level."""

    depth = 0
    packer: Packer | None = None

    def __init__(self) -> None:
        self.opened = Opened()


class Compressor:
    """Holds the tensors that autograd saves for backward in a few bits each.

    The model is not changed. Use it as a context around the forward pass, once a step or once for a whole training::

        compressor = gact.Compressor(model, bits=4)
        with compressor:
            loss = criterion(model(inputs), labels)
        compressor.backward(loss)

    Each saved tensor keeps what its consumer's backward reads. Values are quantized in groups with dithered
    rounding, so that what backward reads has the right expectation (GACT, Liu et al., ICML 2022); signs, masks and
    integers take the few bits they need, exactly; what a cheap op made of tensors that are held is made again;
    weights, buffers, statistics and tensors under ``min_bytes`` are left alone and come back bit for bit. No global
    random state is touched.

    Args:
        model: The network whose parameters are to be recognised and whose module paths the report names. Without it,
            parameters are known from the autograd graph alone, and frozen weights are taken for activations.
        bits: Average width of a code, from 1 to 8. With ``adaptive=False`` every tensor gets this width, which must
            then be whole.
        adaptive: Choose each site's width from its measured sensitivity, so that the gradient's noise is least at an
            average of ``bits``. Needs ``backward`` of this object; without it every tensor gets the whole part of
            ``bits``.
        probe_interval: Steps between two measurements of the sensitivities. Each takes 7 to 32 backward passes, which
            depends on how many kinds and shapes of tensors there are and not on the depth. None measures once, in the
            second step, and then only when ``measure_next`` asks for it; in between widths stay.
        group_size: Elements that share a minimum and a scale: a power of two from 32 to 1024.
        min_bytes: Tensors smaller than this stay as they are: they hold the loss, the head and statistics, and almost
            no bytes. 0 compresses all.
        rules: What to do with some saved tensors, by module, op, dtype, rank, size or predicate.
        derive: Rebuild what a cheap op made of tensors that are held already instead of storing it.
        offload: Where packed data waits for backward: None, the device it was made on; ``"cpu"``, pinned host memory;
            ``"disk:/scratch"``, a file in that directory, or ``"disk"`` in the directory for temporary files. See also
            ``Rule(offload=...)``.
        checkpoint: Run blocks under ``torch.utils.checkpoint``, so that only their inputs are held (compressed), and
            backward runs them again. True for the repeated blocks of the model, or patterns of module paths.
        compress_again: Compress what those blocks save when they run again, too: memory of one block less, time and
            noise of every block more. Not in steps that measure sensitivities.
        seed: Key of the rounding; equal seeds give equal codes.
        ratio: Compression ratio that the widths are to reach, instead of an average width.
        memory: Bytes that may be held between forward and backward, a number or a text such as ``"2 GiB"``, instead of
            an average width.
        max_noise: Greatest variance that compression may add to the gradient, as a share of the gradient's variance
            from batch to batch. The widths are then the least that meet it, whatever the budget; the report says if
            they exceed it.
        estimator: ``"grouped"`` measures many sites in one backward pass; ``"exhaustive"`` is Algorithm 1 of the paper,
            one pass for each site, to compare with.
        objective: What the widths make least: ``"gradient"``, the noise of the whole gradient, for gradient descent;
            ``"update"``, half of it and half of the noise in each parameter's own gradient, for Adam and other
            optimizers that scale each parameter by itself.
        enabled: False makes a compressor that does nothing, for comparisons.

    Raises:
        TypeError: If ``model`` is no module.
        ValueError: If a number is out of range.
        StoreError: If the directory of ``offload`` cannot be used.
    """

    def __init__(
        self,
        model: torch.nn.Module | None = None,
        *,
        bits: float = 4.0,
        adaptive: bool = True,
        probe_interval: int | None = 1000,
        group_size: int = 256,
        min_bytes: int = 65536,
        rules: Iterable[Rule] = (),
        derive: bool = True,
        offload: str | None = None,
        checkpoint: bool | Iterable[str] = False,
        compress_again: bool = False,
        seed: int = 0,
        ratio: float | None = None,
        memory: int | str | None = None,
        max_noise: float | None = None,
        estimator: str = "grouped",
        objective: str = "gradient",
        enabled: bool = True,
    ) -> None:
        if model is not None and not isinstance(model, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module or None, got {type(model).__name__}.")
        self._model = model
        self._settings = Settings(
            bits=check_bits(bits, whole=not adaptive),
            adaptive=bool(adaptive),
            probe_interval=check_count_or_none("probe_interval", probe_interval, 1),
            group_size=check_group_size(group_size),
            min_bytes=check_count("min_bytes", min_bytes, 0),
            derive=bool(derive),
            offload=check_offload(offload),
            checkpoint=check_names("checkpoint", checkpoint),
            seed=check_seed(seed),
            ratio=check_positive("ratio", ratio),
            memory=check_memory(memory),
            max_noise=check_positive("max_noise", max_noise),
            estimator=check_choice("estimator", estimator, ("grouped", "exhaustive")),
            objective=check_choice("objective", objective, OBJECTIVES),
            enabled=bool(enabled),
            compress_again=bool(compress_again),
        )
        check_budgets(self._settings.adaptive, ratio=ratio, memory=memory, max_noise=max_noise)
        self._rules = Rules(rules)
        self._serving = Serving(model)
        self._offload = open_offload(self._settings, self._rules)
        self._sites = Sites(model)
        self._controller = Controller(self._settings, self._sites.site)
        self._steps = Steps(self._controller)
        self._checkpointing = checkpointing(model, self._settings.checkpoint, self._again())
        self._held = HeldRegions()
        self._thread = _Thread()
        self._notices = Notices()

    @classmethod
    def from_level(cls, model: torch.nn.Module | None, level: str, **options: Any) -> Compressor:
        """A compressor of one of the paper's levels.

        Args:
            model: The network.
            level: ``"L0"`` plain training; ``"L1"`` 4 bits on average, by measured sensitivity; ``"L2"`` with codes
                moved to host memory, or to a disk for a model on the CPU; ``"CB1"`` L1 with the repeated blocks
                checkpointed; ``"CB2"`` CB1 with attention that keeps no matrix of probabilities (transformers models
                are switched to it).
            **options: Further arguments of ``Compressor``, which go before the level's.

        Returns:
            The compressor; that of L0 does nothing.

        Raises:
            ValueError: If it is no level, or there are no repeated blocks to be checkpointed.
        """
        return cls(model, **{**arguments_of(level, model), **options})

    def __getstate__(self) -> dict[str, Any]:
        """What a copy is made of: the model, the settings and the state; what is held now belongs to the original."""
        return {"model": self._model, "settings": self._settings, "rules": self._rules.all, "state": self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes a compressor of the same settings and state that holds nothing yet."""
        settings = dataclasses.asdict(state["settings"])
        self.__init__(state["model"], rules=state["rules"], **settings)  # type: ignore[misc]
        self.load_state_dict(state["state"])

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in dataclasses.asdict(self._settings).items())
        return f"Compressor({values})"

    def __enter__(self) -> Compressor:
        """Starts compressing what this thread saves; entering again inside changes nothing."""
        thread = self._thread
        depth = thread.depth
        try:
            if not depth and self._settings.enabled:
                if transform_is_active():
                    self._notices.give(ASIDE)
                else:
                    self._open(thread)
            thread.depth = depth + 1
            return self
        except BaseException as error:
            raise gravest([error, *self._leave(thread, depth)])  # noqa: B904 - mostly this very error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """Stops compressing; what was saved inside stays valid until backward has used it."""
        thread = self._thread
        depth = thread.depth - 1
        packer = thread.packer
        try:
            if depth < 0:
                raise RuntimeError(
                    "gact.Compressor was left on a thread that had not entered it. Use it in a with statement."
                )
            errors = self._leave(thread, depth)
        except BaseException as interrupt:
            errors = [interrupt, *self._leave(thread, max(depth, 0))]
        if errors:
            worst = gravest(errors if error is None else [error, *errors])
            if worst is not error:
                raise worst
        if kind is None and packer is not None and not depth:
            self._tell(packer)

    def _leave(self, thread: _Thread, depth: int) -> list[BaseException]:
        """Sets how deep a thread is in, and closes everything at 0. May be run again after an interrupt."""
        errors = [] if depth else thread.opened.close()
        if not depth:
            thread.packer = None
        thread.depth = depth
        return errors

    def _tell(self, packer: Packer) -> None:
        """Warns of what a context should have done and has not."""
        if self._steps.inner.is_suspected:
            return  # the step keeps what it saves, to see what its input's gradient is for
        if not packer.compressed and not self._steps.ledger.offloaded_bytes:
            self._notices.nothing(packer.saves, self._steps.ledger, self._settings)
        elif self._offload is not None and not self._steps.ledger.offloaded_bytes:
            self._notices.give(
                f"offload={self._settings.offload!r} has moved nothing: host memory is for tensors of another device, "
                "and a rule with offload=True must match some. report() names what is held."
            )
        for rule in self._rules.unmatched() if packer.saves else ():
            self._notices.give(f"{rule} matched no saved tensor. report() names the modules and ops that save.")

    def _again(self) -> ContextsOf | None:
        """What checkpointed blocks run in, if anything is to be compressed then."""
        if not self._settings.compress_again:
            return None
        if self._settings.checkpoint is False:
            raise ValueError("compress_again=True is for checkpointed blocks. Pass checkpoint=True or patterns too.")
        return Again(self._model, self._settings, self._controller, self._steps, self._sites, self._rules).contexts

    def _open(self, thread: _Thread) -> None:
        prepare()
        opened, context = thread.opened, object()
        consumers = Consumers(self._sites)
        parameters, recipes = Parameters(self._model), Recipes(self._steps)
        packer = Packer(
            self._settings,
            self._controller,
            self._steps,
            self._held,
            recipes,
            parameters,
            consumers,
            self._rules,
            self._offload,
        )
        observer = Observer(recipes, self._held, self._settings.min_bytes, consumers.run)
        inner = self._steps.inner
        hooks = Hooks(packer.pack, unpack, lambda: self._notices.give(ASIDE))
        consumers.serve(packer.waiting, packer.boundaries, packer.probabilities, inner, hooks.in_charge)
        opened.add(consumers.release)
        opened.add(packer.close)
        opened.add(hooks.pop)
        hooks.push()
        opened.add(lambda: inner.leave(packer))
        inner.enter(packer)
        opened.add(lambda: unfollow(consumers))
        opened.add(lambda: take_off(consumers))
        consumers.__enter__()
        if self._settings.derive:
            consumers.observe(observer.run)
        consumers.watch(hooks, self._notices.foreign)
        if self._checkpointing is not None:
            opened.add(partial(self._checkpointing.close, context))
            self._checkpointing.open(context)
        opened.add(lambda: self._serving.end(context, entered=thread.depth > 0))
        self._serving.begin(context)
        thread.packer = packer

    def backward(self, loss: Tensor, gradient: Tensor | None = None, **options: Any) -> None:
        """Runs ``loss.backward()``, after measuring sensitivities when that is due.

        A measurement runs backward some more times on the same graph, whose tensors are held in finer codes in that
        step. It changes no gradient, no buffer and no random state. Hooks on tensors and modules see its passes;
        ``gact.is_measuring()`` tells them.

        Args:
            loss: Tensor to differentiate; a scalar unless ``gradient`` is given.
            gradient: Gradient with respect to ``loss``, of its shape.
            **options: ``retain_graph``, ``create_graph`` and ``inputs`` of ``torch.Tensor.backward``.
        """
        controller = self._controller
        if self._settings.enabled and not controller.is_used:
            controller.use(self._model)
            if controller.failure and self._settings.adaptive:
                self._notices.unmeasured(controller.failure)
        snapshot = controller.snapshot
        measured = self._controller.measured()
        if measured is not None and not options.get("create_graph"):
            self._measure(measured, loss, gradient)
        if snapshot is None or controller.snapshot is not snapshot:
            loss.backward(gradient, **options)
            return
        with snapshot.next_gradient(loss):
            loss.backward(gradient, **options)
        controller.learn_variance(snapshot)

    def _measure(self, measured: Measured, loss: Tensor, gradient: Tensor | None) -> None:
        if self._controller.failure:
            return
        totals = Totals(measured.ledger.plain_bytes, measured.ledger.kept_bytes)
        with preserved_state(self._model, loss.device), self._steps.inner.closed():
            self._controller.measure(measured.measurement, measured.number, totals, loss, gradient)
        if self._controller.failure:
            self._notices.unmeasured(self._controller.failure)

    def measure_next(self) -> None:
        """Has the next step measure sensitivities, whatever ``probe_interval`` says.

        Widths are chosen anew in the ``backward`` of that step; if it does not come to that, later steps try. The step
        may be one of its own on a part of a batch, which takes that much less time and memory; the widths are then
        fitted to the budget again in the first step that keeps more. In distributed training all ranks must ask.

        Raises:
            ValueError: If sensitivities are not to be measured, or cannot be.
        """
        if not self._settings.adaptive:
            raise ValueError(
                "measure_next() needs measured sensitivities, got adaptive=False. Leave out one of the two."
            )
        self._controller.request(self._model)

    def predicted_against_measured(self, loss_fn: Callable[[], Tensor], rounds: int = 4) -> list[Comparison]:
        """Checks the estimates: for each site, the noise that a measurement predicts beside the noise measured.

        Takes ``rounds`` backward passes for each site, on one graph. Nothing of this compressor, its model's buffers
        and gradients or any random state is changed, except that forward draws and counts as it always does.

        Args:
            loss_fn: Runs forward and returns a scalar loss.
            rounds: Roundings that are averaged.

        Returns:
            One comparison for each site whose width can be chosen, and one for all together, whose site is None;
            ``gact.precision.comparison`` has a table and a picture of them.

        Raises:
            ValueError: If ``rounds`` is below 1, or the loss reads no compressed tensor whose width can be chosen.
        """
        check_count("rounds", rounds, 1)
        twin = copy.copy(self)
        twin._controller.request(self._model)
        with twin:
            loss = loss_fn()
        measured = twin._controller.measured()
        found: list[Comparison] = []
        if measured is not None:
            with preserved_state(self._model, loss.device):
                totals = Totals(measured.ledger.plain_bytes, measured.ledger.kept_bytes)
                found = measured.measurement.compare(loss, totals, rounds)
        if len(found) < 2:
            raise ValueError(
                "loss_fn gave a loss that reads no compressed tensor whose width can be chosen. Small tensors are left "
                f"alone (min_bytes={self._settings.min_bytes}); report() names the reasons."
            )
        return found

    def report(self) -> Report:
        """What the last step kept, in which code, what it saved, and what was left alone and why.

        The last step is everything saved since the tensors of the step before were all released.
        """
        return build_report(self._steps.ledger, self._controller)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to round exactly as one that never stopped: plain numbers, texts and lists."""
        settings = self._settings
        return {
            "version": _STATE_VERSION,
            "bits": settings.bits,
            "seed": settings.seed,
            "steps": self._steps.count,
            "precision": self._controller.state(),
            "inner": self._steps.inner.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up the state of another compressor.

        Args:
            state: What ``state_dict`` returned.

        Raises:
            ValueError: If keys are missing or unknown, or the state is of another version. Nothing is changed then.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a mapping, got {type(state).__name__}. Pass what state_dict() returned.")
        expected = {"version", "bits", "seed", "steps", "precision", "inner"}
        if set(state) != expected:
            raise ValueError(
                f"state must have the keys {sorted(expected)}, got {sorted(state)}. Pass what state_dict() returned."
            )
        if state["version"] != _STATE_VERSION:
            raise ValueError(f"state has version {state['version']!r}; this release reads version {_STATE_VERSION}.")
        bits = check_bits(state["bits"], whole=not self._settings.adaptive)
        seed, steps = check_seed(state["seed"]), check_count("steps", state["steps"], 0)
        inner = InnerPasses.checked(state["inner"], self._sites.site)
        self._controller.load(state["precision"])
        self._steps.inner.load(*inner)
        self._settings = self._controller.settings = dataclasses.replace(self._settings, bits=bits, seed=seed)
        self._steps.count = steps
