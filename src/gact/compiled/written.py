"""Spells fused operators of backward out in simpler ones, where the compiler has not done so by itself."""

from __future__ import annotations

from typing import Any

from torch import fx

from ..autograd.internals import decompositions, graph_of
from ..operators.aten import DECOMPOSED, name_of


def write_out(graph: fx.Graph) -> None:
    """Replaces fused operators in a graph of backward.

    Args:
        graph: The graph.
    """
    for node in list(graph.nodes):
        if node.op == "call_function" and name_of(node.target) in DECOMPOSED:
            decomposition = decompositions().get(node.target)
            if decomposition is not None:
                _replace(graph, node, decomposition)


def _replace(graph: fx.Graph, node: fx.Node, decomposition: Any) -> None:
    inputs = node.all_input_nodes
    values = [each.meta["val"] for each in inputs]

    def run(*given: Any) -> Any:
        known = dict(zip(inputs, given, strict=True))
        return decomposition(*fx.map_arg(node.args, known.__getitem__), **fx.map_arg(node.kwargs, known.__getitem__))

    inner = graph_of(run, *values)
    env: dict[fx.Node, Any] = dict(zip(inner.find_nodes(op="placeholder"), inputs, strict=True))
    result: Any = None
    with graph.inserting_before(node):
        for each in inner.nodes:
            if each.op == "output":
                result = fx.map_arg(each.args[0], env.__getitem__)
            elif each.op != "placeholder":
                env[each] = graph.node_copy(each, env.__getitem__)
                env[each].meta.update({name: node.meta[name] for name in ("nn_module_stack",) if name in node.meta})
    if isinstance(result, fx.Node):
        node.replace_all_uses_with(result)
    else:
        for user in list(node.users):  # each takes one of several results
            user.replace_all_uses_with(result[user.args[1]])
            graph.erase_node(user)
    graph.erase_node(node)
