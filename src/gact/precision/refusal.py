"""Where backward cannot be run once more for a measurement, because more hangs on it than gradients.

NOTE: Sharded parameters
``fully_shard`` and ``FullyShardedDataParallel`` gather parameters before and free and reduce them after the backward
of each block, in hooks that count on one backward pass for each forward. A further pass runs more collectives, and with
the older class the gradients of the step's own pass never reach the parameters, without an error.
"""

from __future__ import annotations

import sys

from torch import nn

from ..errors import GactError
from .graph import Roots, nodes_of


class RefusedError(GactError, ValueError):
    """A measurement is refused; the message is the reason."""


_PACKAGE = "torch.distributed.fsdp"
_CLASSES = {"FSDPModule": "fully_shard", "FullyShardedDataParallel": "FullyShardedDataParallel"}
"""Classes of modules that shard, and the name under which users know them."""
_SHARDED = "RegisterPostBackwardFunctionBackward"
_REENTRANT = "CheckpointFunctionBackward"
_REASON = "{} shards the parameters, and its hooks allow for one backward pass only."


def refused_by_model(model: nn.Module | None) -> str:
    """Why a network's backward cannot be run twice; empty if nothing is known against it.

    Args:
        model: The network, if it is known.
    """
    package = sys.modules.get(_PACKAGE)  # a class of a package that nobody has imported has no objects
    modules = [] if model is None else list(model.modules())
    for name, known_as in _CLASSES.items():
        sharding = getattr(package, name, None)
        if sharding is not None and any(isinstance(module, sharding) for module in modules):
            return _REASON.format(known_as)
    return ""


def check_graph(roots: Roots) -> None:
    """Looks at the graph behind roots.

    Raises:
        RefusedError: If its backward cannot be run twice.
    """
    sharded = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)
    for node in nodes_of(roots):
        if node.name() == _SHARDED:
            raise RefusedError(_REASON.format(_CLASSES["FSDPModule"]))
        if node.name() == _REENTRANT:
            raise RefusedError(
                "checkpoint with use_reentrant=True allows for no pass but loss.backward(). Pass use_reentrant=False."
            )
        if sharded is not None and isinstance(getattr(node, "variable", None), sharded):
            raise RefusedError("the backward of DTensor parameters communicates, in each pass on all ranks.")
        if getattr(getattr(node, "variable", None), "_is_flat_param", False):
            raise RefusedError(_REASON.format(_CLASSES["FullyShardedDataParallel"]))
