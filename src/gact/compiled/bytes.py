"""Never more bytes than plain code holds: what torch saved is held where all that is made of it would take more.

Torch saves a value of a few elements where backward reads one of many that is computed of it: differences of all pairs,
a row beside each of a batch. Codes of the many may take more than the few as they are.
"""

from __future__ import annotations

from torch import fx

from .choice import Choice
from .plan import Plan
from .values import hint, is_float, nbytes, numel, tensor_of

WHY = "less than codes of what is made of it"


def bounded(choice: Choice, plan: Plan) -> Plan:
    """A plan that holds no more for any of what torch saved than that takes.

    Args:
        choice: What is held for each reader.
        plan: The plan, which is changed.
    """
    costs = {node: _cost(node, plan) for node in (*plan.packed, *plan.kept)}
    made = [node for node, cost in costs.items() if cost]
    for roots in dict.fromkeys(choice.roots(node) for node in made):
        missing = [each for each in roots if each not in plan.kept and not choice.joint.is_free(each)]
        inside = [
            node for node in made if (node in plan.packed or node in plan.kept) and choice.is_made_of(node, roots)
        ]
        if not missing or not inside or not all(is_float(each) and _is_whole(each) for each in missing):
            continue
        if sum(costs[node] for node in inside) <= sum(map(nbytes, missing)):
            continue
        for node in inside:
            if node not in roots:
                plan.packed.pop(node, None)
                plan.kept.pop(node, None)
        for each in missing:
            plan.packed.pop(each, None)
            choice.keep(each, WHY)
    return plan


def _cost(node: fx.Node, plan: Plan) -> int:
    """Bytes of a value at the greatest width, or as it is; 0 for all but floats."""
    if not is_float(node):
        return 0
    return numel(node) if node in plan.packed else nbytes(node)


def _is_whole(node: fx.Node) -> bool:
    """Whether a tensor is all of its storage, which lives as long."""
    tensor = tensor_of(node)
    return tensor is not None and hint(tensor.untyped_storage().nbytes()) == nbytes(node)
