"""Names of the places in the network that compiled code saves at, from the metadata of its graph."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from typing import Any

import torch.nn.functional as F
from torch import fx

from ..operators.aten import name_of
from .values import is_symbol

_ROOT = re.compile(r"^L\[[^\]]*\](\._modules)?\.?")
_STEPS = re.compile(r"\._modules\['([^']*)'\]|\['?([^'\]]*)'?\]|\.([^.\[]+)")


_DIMENSIONS = re.compile(r"(?<=norm)\dd$")
_FUNCTIONS = {name.replace("_", ""): name for name in dir(F) if name.islower() and not name.startswith("_")}
"""Functions by the name of the module that calls them, in lower case."""


class Places:
    """The sites of one graph; each call gives another."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[str, str]] = Counter()

    def of(self, node: fx.Node) -> str:
        """Module, op, call and slot of a node, divided by ``|``; the module is that below the compiled one."""
        module, op = _module(node), _op(node)
        call = self._calls[module, op]
        self._calls[module, op] += 1
        return f"{module}|{op}|{call}|0"


def _module(node: fx.Node) -> str:
    """Path of the innermost module, below the module that was compiled."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack") or {}
    entry = next(reversed(stack.values()), None) if stack else None
    path = entry[0] if isinstance(entry, tuple) and isinstance(entry[0], str) else ""
    rest = _ROOT.sub(".", path) if path.startswith("L[") else f".{path}"
    return ".".join(next(filter(None, found)) for found in _STEPS.findall(rest) if any(found))


def _op(node: fx.Node) -> str:
    """Name of the function of torch that a node comes from, or of its operator."""
    if node.op == "placeholder":
        return "input"
    stack = node.meta.get("source_fn_stack") or node.meta.get("fwd_source_fn_stack") or ()
    function = stack[-1][1] if stack else None
    name = getattr(function, "__name__", function if isinstance(function, str) else "")
    if inspect.isclass(function):
        name = _FUNCTIONS.get(_DIMENSIONS.sub("", name.lower()), name)
    return str(name).partition(".")[0] or name_of(node.target) or ("number" if is_symbol(node) else str(node.target))
