"""Compressed activations for Lightning's ``Trainer`` and ``Fabric``.

::

    trainer = Trainer(callbacks=[ActivationCompression(bits=4)])
    fabric = Fabric(callbacks=[ActivationCompression(bits=4)])

NOTE: Where the context is opened
Around ``training_step``, which is replaced on that one module while it is fitted. With ``Fabric``, around the forward
of a module that was set up, where it trains; a loss that is computed outside of it is not compressed then. A loop of
your own has it all in ``with gact.Compressor(model):``.
"""

from __future__ import annotations

from typing import Any

from ..compressor import Compressor
from .holder import Holder, StandIn, take_out

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ModuleNotFoundError as missing:
    if not (missing.name or "").startswith("lightning"):
        raise
    from pytorch_lightning import Callback, LightningModule, Trainer

_STEP, _FORWARD = "training_step", "forward"


class ActivationCompression(Callback):  # type: ignore[misc]
    """Holds the activations of a training in a few bits; pass it in ``callbacks=[...]``.

    Its state is saved in Lightning's checkpoints and taken up with ``ckpt_path``. Its figures are logged by the module
    as ``gact/...`` with every ``log_every_n_steps``. With ``ddp_spawn`` the compressor is in the processes that train.

    Args:
        bits: Average width of a code, from 1 to 8.
        **options: Further arguments of ``gact.Compressor``.

    Raises:
        TypeError: If ``model`` is among them.
        ValueError: If an argument is out of range.
    """

    def __init__(self, bits: float = 4.0, **options: Any) -> None:
        super().__init__()
        self._holder = Holder({"bits": bits, **options})

    @property
    def compressor(self) -> Compressor:
        """The compressor, once training has begun; that of the last model afterwards."""
        return self._holder.compressor

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins to compress."""
        take_out(pl_module, _STEP)
        self._holder.take(pl_module)
        StandIn(pl_module, _STEP, self._holder.compressing())

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leaves the module as it was."""
        take_out(pl_module, _STEP)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves the module as it was."""
        take_out(pl_module, _STEP)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Logs the figures of the step, where Lightning hands what is logged on to its loggers."""
        if trainer._logger_connector.should_update_logs:
            pl_module.log_dict(self._holder.metrics(), on_step=True, on_epoch=False)

    def state_dict(self) -> dict[str, Any]:
        """What Lightning saves in a checkpoint."""
        return {"compressor": self._holder.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Sets the state that was saved."""
        self._holder.load(state_dict["compressor"])

    def on_after_setup(self, fabric: Any, module: Any) -> None:
        """Compresses what a module that ``Fabric`` has set up saves in its forward, where it trains."""
        take_out(module, _FORWARD)
        self._holder.take(getattr(module, "module", module))
        StandIn(module, _FORWARD, self._holder.compressing(module))
