"""States of random number generators, which forward saves so that backward draws the same numbers again.

Under a checkpoint torch has forward save the state before each random operator. Such a state has one name in forward
and another in backward; the first of one belongs to the first of the other. An edit passes them on as they are.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import fx

STATE = "random state"
"""Why a state is kept as it is."""


def states_of(saved: Sequence[fx.Node], inputs: Sequence[fx.Node]) -> dict[fx.Node, fx.Node]:
    """The inputs of backward by which states come, by the node of forward that gives the state.

    Args:
        saved: What forward saves for backward.
        inputs: Inputs of backward.

    Raises:
        ValueError: If it cannot be told which input of backward a saved value is.
    """
    names = {node.name for node in inputs}
    unnamed = [node for node in saved if node.name not in names]
    states = [node for node in inputs if any(_draws(user) and user.args[0] is node for user in node.users)]
    if len(unnamed) != len(states) or not all(map(_is_state, unnamed)):
        raise ValueError(f"backward has no inputs for {', '.join(node.name for node in unnamed)}")
    for node in unnamed:
        drawn = [each for each in node.args[0].users if each is not node]  # type: ignore[union-attr]
        node.meta = {**(drawn[0].meta if drawn else {}), "val": node.meta["val"]}
    return dict(zip(unnamed, states, strict=True))


def _draws(node: fx.Node) -> bool:
    return node.target is torch.ops.higher_order.run_with_rng_state


def _is_state(node: fx.Node) -> bool:
    source = node.args[0] if node.target is operator.getitem else None
    is_drawn = isinstance(source, fx.Node) and source.target is torch.ops.higher_order.run_and_save_rng_state
    return is_drawn and node.args[1:] == (0,)
