"""Puts the edit of compiled graphs in place of a function of torch, where torch has it in the shape that is known."""

from __future__ import annotations

import copy
import re
import warnings
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import fx

from ..autograd import pair as pairs
from ..autograd.internals import backward_donates, graph_compiler, top_hooks
from ..errors import GactWarning
from ..operators import aten
from ..saved.unpacking import unpack
from . import handles  # noqa: F401 - registers the operators
from .bytes import bounded
from .choice import Choice
from .joint import Joint
from .rebuild import Rebuild
from .shared import Sharing
from .values import is_symbol, tensor_of
from .written import write_out

_NAME = "maybe_inline_graph_saved_tensors_hooks"
_SHAPE = ("fw_module", "bw_module", "num_inner_fwd_outputs", "inner_meta", "aot_config", "static_input_indices")
"""The function that torch runs between the division of a graph and its compilation, and its arguments."""

MODULE = "_functorch/_aot_autograd/graph_compile.py"
_failures: set[str] = set()


@cache
def is_possible() -> bool:
    """Whether compiled graphs can be edited in this torch; warns once if they cannot."""
    # The module takes seconds to import, and most programs compile nothing: its text tells.
    source = Path(torch.__file__).parent / MODULE
    found = re.search(rf"^def {_NAME}\(([^)]*)\)", source.read_text() if source.exists() else "", re.MULTILINE)
    shape = tuple(re.findall(r"^\s*(\w+):", found[1], re.MULTILINE)) if found is not None else ()
    if shape == _SHAPE:
        return True
    _warn(
        f"gact cannot edit what torch.compile makes in torch {torch.__version__}: {_NAME} has another shape. Compiled "
        "code runs as it does without gact, and only its masks and integers are coded; all other code is compressed."
    )
    return False


@cache
def pair() -> tuple[Any, Any]:
    """The pair of hooks of this process."""
    return pairs.make(unpack, _version(), _install)


def _version() -> str:
    """Tells one version of the edit from another."""
    digest = blake2b(digest_size=8)
    for path in (*sorted(Path(__file__).parent.glob("*.py")), Path(aten.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _install() -> None:
    """Puts the edit in place."""
    module = graph_compiler()
    original = getattr(module, _NAME)

    def edit_or_inline(
        fw_module: fx.GraphModule,
        bw_module: fx.GraphModule,
        num_inner_fwd_outputs: int,
        inner_meta: Any,
        aot_config: Any,
        static_input_indices: list[int],
    ) -> None:
        hooks = top_hooks(True)
        if not hooks or hooks[0] is not pair()[0]:
            original(fw_module, bw_module, num_inner_fwd_outputs, inner_meta, aot_config, static_input_indices)
            return
        try:
            constant = set(static_input_indices) - _mutated(inner_meta)
            edited = edit(fw_module.graph, bw_module.graph, num_inner_fwd_outputs, sorted(constant))
        except Exception as error:  # whatever a graph has that nobody thought of: it runs as torch made it
            _warn(f"gact left a compiled function as it is, whose graph it could not edit ({error!r}).")
            return
        if edited is not None:
            fw_module.graph, bw_module.graph = edited
        if not backward_donates():
            _tell_apart(bw_module)

    setattr(module, _NAME, edit_or_inline)


def _tell_apart(backward: fx.GraphModule) -> None:
    """Gives a backward that may run again another text than one that may not.

    Inductor keeps compiled code on disk by the text of its graph and not by ``donated_buffer``: it would give code
    that writes to the memory of what was saved, and every gradient after the first pass would be wrong.
    """
    first = next((node for node in backward.graph.nodes if node.op == "call_function"), None)
    if first is not None:
        first.name = f"{first.name}_may_run_again"
        backward.recompile()


def _mutated(meta: Any) -> set[int]:
    """Positions of inputs that forward writes to: buffers that backward would find changed."""
    return {place for place, each in enumerate(meta.input_info) if each.mutates_data}


def edit(forward: fx.Graph, backward: fx.Graph, outputs: int, static: list[int]) -> tuple[fx.Graph, fx.Graph] | None:
    """Graphs that hold codes, made of copies; None if nothing is to be held in one.

    Args:
        forward: Graph of forward.
        backward: Graph of backward.
        outputs: How many results of forward are not saved for backward.
        static: Positions of those inputs of forward that are parameters or buffers and that it does not write to.

    Raises:
        TypeError: If something is saved that is neither a plain tensor nor a number.
    """
    forward, backward = copy.deepcopy(forward), copy.deepcopy(backward)
    write_out(backward)
    joint = Joint(forward, backward, outputs, static)
    for node in joint.saved:
        if tensor_of(node) is None and not is_symbol(node):
            raise TypeError(f"{node.name} is saved, of which torch says {type(node.meta.get('val')).__name__}")
    choice = Choice(joint)
    return (forward, backward) if Rebuild(joint, bounded(choice, Sharing(choice).run())).run() else None


def _warn(message: str) -> None:
    if message not in _failures:
        _failures.add(message)
        warnings.warn(message, GactWarning, stacklevel=2)
