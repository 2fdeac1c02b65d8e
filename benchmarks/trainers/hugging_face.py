"""A run of transformers' ``Trainer`` or one of its kind: its options, its losses, its checkpoint."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from transformers import TrainerCallback, TrainerControl, TrainerState, logging

from gact.integrations.transformers import ActivationCompressionCallback

from .record import BITS, Asked, Trained, trained


class _Stop(TrainerCallback):
    """Saves a checkpoint after some steps and stops there."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Asks the trainer for it."""
        control.should_save = control.should_training_stop = state.global_step >= self._step


def options(asked: Asked, steps: int, **more: Any) -> dict[str, Any]:
    """Arguments of a training.

    Args:
        asked: How to train.
        steps: How many.
        **more: Others.
    """
    return {
        "output_dir": str(asked.folder),
        "max_steps": steps,
        "logging_steps": 1,
        "seed": asked.seed,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        **more,
    }


def run(asked: Asked, trainer: Any, steps: int) -> Trained:
    """Trains, with the callback if it was asked for.

    Args:
        asked: How to train.
        trainer: The trainer, made with ``options``.
        steps: How many steps it makes.
    """
    from transformers.trainer_callback import PrinterCallback

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    trainer.remove_callback(PrinterCallback)
    callback = ActivationCompressionCallback(bits=BITS) if asked.compressed else None
    if callback is not None:
        trainer.add_callback(callback)
    if asked.stop:
        trainer.add_callback(_Stop(steps // 2))
    trainer.train(resume_from_checkpoint=str(asked.folder / f"checkpoint-{steps // 2}") if asked.resume else None)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return trained(losses, trainer.model, None if callback is None else callback.compressor)
