"""The compressor: a context in which the tensors that autograd saves for backward are held in a few bits."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from .autograd.replicas import Replicas
from .checkpoint.checkpointing import checkpointing
from .checkpoint.recompute import contexts_again
from .checks import (
    check_count,
)
from .context import Context, Parts
from .levels import arguments_of
from .measuring import Measuring
from .memory.serving import Serving
from .notices import Notices
from .packing.offload import open_offload
from .packing.rules import Rule, Rules
from .packing.sites import Sites
from .precision.aside import preserved_state
from .precision.comparison import Comparison
from .precision.controller import Controller
from .precision.graph import Roots
from .report import Report, build_report, metrics, status
from .saved.late import MadeLate
from .saved.small import Small
from .saved.steps import Steps
from .settings import checked, load_state, state_of


class Compressor(MadeLate, Context):
    """Holds the tensors that autograd saves for backward in a few bits each.

    The model is not changed. Use it as a context around the forward pass, once a step or once for a whole training::

        compressor = gact.Compressor(model, bits=4)
        with compressor:
            loss = criterion(model(inputs), labels)
        loss.backward()

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
            average of ``bits``. False gives every tensor the whole part of ``bits``.
        probe_interval: Steps between two measurements of the sensitivities. Each takes 7 to 32 backward passes, which
            depends on how many kinds and shapes of tensors there are and not on the depth. None measures once, in the
            second step, and then only when ``measure_next`` asks for it; in between widths stay.
        group_size: Elements that share a minimum and a scale: a power of two from 32 to 1024.
        min_bytes: Tensors smaller than this stay as they are: they are many and almost no bytes. None takes 64 KiB, and
            4 KiB from the moment that small tensors turn out to be most of what a step keeps. 0 compresses all.
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
        process_group: Ranks that agree on when to measure and on widths. None for those of
            ``DistributedDataParallel``, and without it for each rank by itself; a group is for gradients that are
            averaged by hand. A copy of the compressor has none.

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
        min_bytes: int | None = None,
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
        process_group: Any = None,
    ) -> None:
        asked = dict(locals())  # the arguments by name, before there is any other local
        if model is not None and not isinstance(model, torch.nn.Module):
            raise TypeError(f"model must be a torch.nn.Module or None, got {type(model).__name__}.")
        self._model = model
        self._settings = checked(asked)
        self._rules, self._sites, self._notices = Rules(rules), Sites(model), Notices()
        self._controller = Controller(self._settings, self._sites.site, Replicas(model, process_group), model)
        self._measuring = Measuring(model, self._controller, self._notices)
        self._steps = Steps(self._measuring, Small(self._settings.min_bytes))
        again = contexts_again(model, self._settings, self._controller, self._steps, self._sites, self._rules)
        super().__init__(
            Parts(
                model,
                self._controller,
                self._steps,
                self._sites,
                self._rules,
                open_offload(self._settings, self._rules),
                checkpointing(model, self._settings.checkpoint, again),
                Serving(model),
                self._notices,
            )
        )

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

    def _make(self, state: dict[str, Any]) -> None:
        """Makes a compressor of the same settings and state that holds nothing yet."""
        settings = dataclasses.asdict(state["settings"])
        self.__init__(state["model"], rules=state["rules"], **settings)  # type: ignore[misc]
        self.load_state_dict(state["state"])

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in dataclasses.asdict(self._settings).items())
        return f"Compressor({values})"

    def backward(self, loss: Tensor, gradient: Tensor | None = None, **options: Any) -> None:
        """Runs ``loss.backward()``. To call that by itself does the same: it measures sensitivities too.

        A measurement runs backward some more times on the same graph, whose tensors are held in finer codes in that
        step. It changes no gradient, no buffer and no random state. Hooks on tensors and modules see its passes;
        ``gact.is_measuring()`` tells them.

        Args:
            loss: Tensor to differentiate; a scalar unless ``gradient`` is given.
            gradient: Gradient with respect to ``loss``, of its shape.
            **options: ``retain_graph``, ``create_graph`` and ``inputs`` of ``torch.Tensor.backward``.
        """
        loss.backward(gradient, **options)

    def measure_next(self) -> None:
        """Has the next step measure sensitivities, whatever ``probe_interval`` says.

        Widths are chosen anew in the ``backward`` of that step; if it does not come to that, later steps try. The step
        may be one of its own on a part of a batch, which takes that much less time and memory; the widths are then
        fitted to the budget again in the first step that keeps more. In distributed training one rank may ask for all:
        they measure together once all have seen it, usually in the step after the next.

        Raises:
            ValueError: If sensitivities are not to be measured, or cannot be.
        """
        if not self._settings.adaptive:
            raise ValueError("measure_next() needs measured sensitivities, got adaptive=False. Leave out one of them.")
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
        twin._controller.replicas.leave()
        twin._controller.request(self._model)
        with twin:
            loss = loss_fn()
        measured = twin._controller.measured()
        with twin._measuring.alone(), preserved_state(self._model, Roots.alone(loss)) as put_back:
            found = [] if measured is None else measured.measurement.compare(loss, measured.totals, rounds, put_back)
        if len(found) < 2:
            raise ValueError(
                "loss_fn gave a loss that reads no compressed tensor whose width can be chosen. Small tensors are left "
                f"alone (under {self._steps.small.bytes} bytes); report() names the reasons."
            )
        return found

    def report(self) -> Report:
        """What the last step kept, in which code, what it saved, and what was left alone and why.

        The last step is all that was saved since the tensors of the step before were released.
        """
        return build_report(self._steps.ledger, self._controller, self._model)

    def metrics(self) -> dict[str, float]:
        """The figures of the last step by name, as loggers take them; empty before the first.

        Returns:
            ``gact/kept_gib``, ``gact/ratio``, ``gact/coverage`` in percent, ``gact/bits`` (average width of the codes),
            and once they are known ``gact/noise`` and ``gact/noise_ratio``.
        """
        return metrics(self.report())

    def status(self) -> str:
        """The same in one line, for a progress bar."""
        return status(self.report())

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to round exactly as one that never stopped: plain numbers, texts and lists."""
        self._measuring.end_step(self._steps.ledger)
        return state_of(self._settings, self._controller, self._steps)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up the state of another compressor, its seed and what it knows.

        Budgets (``bits``, ``ratio``, ``memory``, ``max_noise``, ``adaptive``) are those of this one: where they differ
        from what was asked for before, widths are chosen anew at once from what is known.

        Args:
            state: What ``state_dict`` returned.

        Raises:
            ValueError: If keys are missing or unknown, or the state is of another version. Nothing is changed then.
        """
        self._settings = load_state(state, self._controller, self._steps, self._sites.site)
