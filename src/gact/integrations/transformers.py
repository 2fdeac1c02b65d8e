"""Compressed activations for ``transformers.Trainer``, ``Seq2SeqTrainer`` and TRL's trainers.

::

    trainer = Trainer(model, args, train_dataset=data, callbacks=[ActivationCompressionCallback(bits=4)])

NOTE: Where the context is opened
Around ``compute_loss`` in training: it is forward and loss, and nothing else. Evaluation calls it too, without
gradients, and gets it as it is. A trainer whose ``training_step`` is of its own and does without ``compute_loss`` has
the context around that, backward and all. Callbacks are not told of either, and not given the trainer, so the trainer
is looked for among those who call ``on_train_begin``, and the method and ``log`` are replaced on that one object until
training has ended.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from types import FrameType, NoneType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from ..compressor import Compressor
from ..errors import GactError, GactWarning
from .holder import Holder, StandIn, take_out

_PLACES = ("compute_loss", "training_step", "log")


class UnsupportedError(GactError, ValueError):
    """Two options that do not go together; the message names both."""


class ActivationCompressionCallback(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Holds the activations of a training in a few bits; pass it in ``callbacks=[...]``.

    Its state is saved with every checkpoint of the trainer (in ``trainer_state.json``) and taken up on
    ``resume_from_checkpoint``. Its figures are among what the trainer logs, as ``gact/...``.

    Args:
        bits: Average width of a code, from 1 to 8.
        **options: Further arguments of ``gact.Compressor``.

    Raises:
        TypeError: If ``model`` is among them.
        ValueError: If an argument is out of range.
    """

    def __init__(self, bits: float = 4.0, **options: Any) -> None:
        self._holder = Holder({"bits": bits, **options})
        self._trainer: Any = None
        self._begun = 0

    @property
    def compressor(self) -> Compressor:
        """The compressor, once training has begun; that of the last model afterwards."""
        return self._holder.compressor

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Refuses what does not go together.

        Raises:
            UnsupportedError: If the arguments ask for it.
        """
        self._check(args)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        """Begins to compress.

        Raises:
            UnsupportedError: If the arguments ask for what does not go together.
        """
        self._check(args)
        states: Any = state.stateful_callbacks  # of a checkpoint that was saved without this callback, it has none
        saved = states.setdefault(type(self).__name__, self.state())
        if state.global_step and isinstance(saved, dict):
            self._holder.load(saved["attributes"]["saved"])
        self._leave()
        trainer = _trainer_of(self)
        _check_alone(trainer)
        take_out(trainer, *_PLACES)  # what another callback has left, whose training raised
        self._holder.take(model)
        if _computes_loss(type(trainer)):
            StandIn(trainer, "compute_loss", self._holder.compressing(model))
        else:  # the model may still evaluate when the step begins
            StandIn(trainer, "training_step", self._holder.compressing())
        StandIn(trainer, "log", functools.partial(_logging, holder=self._holder))
        self._trainer, self._begun = trainer, state.global_step

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Leaves the trainer as it was, and warns if nothing went through what was replaced."""
        trained = self._trainer is not None and state.global_step > self._begun
        self._leave()
        if trained and not self._holder.is_used:
            warnings.warn(
                "gact compressed nothing: no step of this trainer had the model train in compute_loss or "
                "training_step. Use gact.Compressor as a context around what it trains in.",
                GactWarning,
                stacklevel=2,
            )

    def _leave(self) -> None:
        trainer, self._trainer = self._trainer, None
        if trainer is not None:
            take_out(trainer, *_PLACES)

    def state(self) -> dict[str, Any]:
        """What the trainer saves with a checkpoint."""
        return {"args": _plain(self._holder.options), "attributes": {"saved": self._holder.state()}}

    def _check(self, args: TrainingArguments) -> None:
        _check(args)
        options = self._holder.options
        lost = sorted(set(options) - set(_plain(options)))
        if lost and getattr(args, "restore_callback_states_from_checkpoint", False):
            raise UnsupportedError(
                "restore_callback_states_from_checkpoint=True makes callbacks anew from what a checkpoint holds, and "
                f"ActivationCompressionCallback({lost[0]}=...) is nothing that it can hold. Leave out one of them: the "
                "state of the compressor is taken up in any case."
            )

    def __setattr__(self, name: str, value: Any) -> None:
        """Takes up a saved state where the trainer restores callbacks by their attributes."""
        if name == "saved":
            self._holder.load(value)
        else:
            super().__setattr__(name, value)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that a checkpoint can hold."""
    return {name: value for name, value in options.items() if isinstance(value, (str, int, float, bool, NoneType))}


def _logging(plain: Callable[..., Any], holder: Holder) -> Callable[..., Any]:
    """A trainer's ``log``, with our figures beside the loss."""

    def log(logs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        figures = holder.metrics() if "loss" in logs else {}
        return plain({**logs, **figures}, *args, **kwargs)

    return log


def _computes_loss(kind: type) -> bool:
    """Whether the training step of a class of trainers has ``compute_loss`` called, itself or by the next class's."""
    for each in kind.__mro__:
        step = vars(each).get("training_step")
        names = getattr(inspect.unwrap(step), "__code__", None) if step is not None else None
        called = () if names is None else names.co_names
        if "compute_loss" in called:
            return True
        if step is not None and "training_step" not in called:
            return False
    return True


def _check_alone(trainer: Any) -> None:
    """Raises for a trainer with two of these callbacks."""
    if sum(isinstance(each, ActivationCompressionCallback) for each in trainer.callback_handler.callbacks) > 1:
        raise UnsupportedError(
            "a trainer with two ActivationCompressionCallback is not supported: autograd asks only one of them. Leave "
            "out one of them."
        )


def _trainer_of(callback: TrainerCallback) -> Any:
    """The trainer that is calling a callback.

    Raises:
        RuntimeError: If nobody is.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        trainer = frame.f_locals.get("self")
        handler = getattr(trainer, "callback_handler", None)
        if handler is not None and any(each is callback for each in handler.callbacks):
            return trainer
        frame = frame.f_back
    raise RuntimeError("on_train_begin was called by no trainer that has this callback. Pass it in callbacks=[...].")


def _check(args: TrainingArguments) -> None:
    """Raises for arguments that do not go together with compressed activations."""
    offload = (getattr(args, "activation_checkpointing_kwargs", None) or {}).get("offload")
    refused = {
        "activation_offloading=True": getattr(args, "activation_offloading", False),
        "activation_checkpointing_kwargs={'offload': ...}": offload,
    }
    for option, given in refused.items():
        if given:
            raise UnsupportedError(
                f"{option} and ActivationCompressionCallback both hold what autograd saves, and autograd asks only one "
                "of them. Leave out one; ActivationCompressionCallback(offload='cpu') moves the codes."
            )
    if getattr(args, "deepspeed", None):
        raise UnsupportedError(
            "deepspeed and ActivationCompressionCallback are not supported together: DeepSpeed's engine owns backward. "
            "Leave out one of them, or use fsdp."
        )
    if args.n_gpu > 1:
        raise UnsupportedError(
            f"DataParallel on {args.n_gpu} devices and ActivationCompressionCallback are not supported together: its "
            "replicas run on other threads, where nothing is compressed. Start the script with torchrun."
        )
