"""The pair of saved-tensor hooks that all compressors push: one for the whole process.

NOTE: Why one pair
Under ``torch.compile`` Dynamo makes the identity of a pair of ``GraphModule`` hooks a condition of what it compiled, so
that code compiled inside of a context never runs outside of it, nor the other way round. A pair for each compressor
or width would mean a compilation for each. So the pair is constant, and which packer it calls is the thread's.

Compiled code calls neither hook: torch switches hooks off around it, and ``gact.compiled`` edits its graphs instead.
Torch reads the graph of the pair when it compiles under it, which is when the edit is put in place; as a part of the
key of torch's cache of compiled code, its text has to tell one version of the edit from another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import fx

from .compiling import never_compiled

Hook = Callable[[Any], Any]


class _Here(threading.local):
    pack: Hook | None = None


_HERE = _Here()


def _pack(self: fx.GraphModule, tensor: Any) -> Any:
    pack = _HERE.pack
    assert pack is not None, "the pair of hooks is active on a thread that has no packer"
    return pack(tensor)


def serve(pack: Hook | None) -> None:
    """Has the pair call a packer on this thread.

    Args:
        pack: The pack hook; None for none.
    """
    _HERE.pack = pack


def make(unpack: Hook, version: str, about_to_compile: Callable[[], None]) -> tuple[fx.GraphModule, fx.GraphModule]:
    """The pair.

    Args:
        unpack: The unpack hook of every compressor.
        version: Tells one version of the edit from another; letters, digits and underscores.
        about_to_compile: Called whenever torch reads the graph of the pack hook.
    """
    return (
        _module(f"gact_pack_{version}", _pack, about_to_compile),
        _module(f"gact_unpack_{version}", lambda self, saved: unpack(saved), lambda: None),
    )


def _module(name: str, call: Callable[[fx.GraphModule, Any], Any], read: Callable[[], None]) -> fx.GraphModule:
    """A module whose graph does nothing and whose call is ours."""
    graph = fx.Graph()
    graph.output(graph.placeholder(name))
    module = fx.GraphModule({}, graph)
    of_graph: Any = fx.GraphModule.graph

    def graph_of(self: fx.GraphModule) -> fx.Graph:
        read()
        found: fx.Graph = of_graph.fget(self)
        return found

    kind: Any = type(module)  # a class of this one object
    kind.__call__ = call
    kind.graph = property(graph_of, of_graph.fset)
    kind.__module__, kind.__qualname__ = "gact", "Compressor"
    never_compiled(call, graph_of)
    return module
