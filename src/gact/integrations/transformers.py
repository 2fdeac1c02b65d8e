"""Compressed activations for ``transformers.Trainer``, ``Seq2SeqTrainer`` and TRL's trainers.

::

    trainer = Trainer(model, args, train_dataset=data, callbacks=[ActivationCompressionCallback(bits=4)])

NOTE: Where the context is opened
Around ``compute_loss`` in training: it is forward and loss, and nothing else. Evaluation calls it too, without
gradients, and gets it as it is. Callbacks are not told of it, and not given the trainer either, so the trainer is
looked for among those who call ``on_train_begin``, and its ``compute_loss`` and ``log`` are replaced on that one object
until training has ended.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FrameType, NoneType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from ..compressor import Compressor
from ..errors import GactError
from .holder import Holder, compressing, mark, put_in, take_out


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
        compressor = self._holder.take(model)
        trainer = _trainer_of(self)
        put_in(trainer, "compute_loss", compressing(trainer.compute_loss, compressor, model))
        put_in(trainer, "log", _logging(trainer.log, self._holder))
        self._trainer = trainer

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Leaves the trainer as it was."""
        self._leave()

    def _leave(self) -> None:
        trainer, self._trainer = self._trainer, None
        for place in ("compute_loss", "log") if trainer is not None else ():
            take_out(trainer, place)

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

    @functools.wraps(plain)
    def log(logs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        figures = holder.metrics() if "loss" in logs else {}
        return plain({**logs, **figures}, *args, **kwargs)

    return mark(log)


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
