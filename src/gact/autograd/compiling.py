"""Our hooks beside ``torch.compile``, which compiles every Python function that runs while compiled code does.

NOTE: What happens to a compiled module
While Dynamo traces, our function mode and module hooks pass everything on (``torch.compiler.is_compiling()``), so that
they leave no trace in the graph. What they call when compiled code runs, after a graph break or in the pack hook, must
run as it is. What the compiled function saves comes to the pack hook from outside of any op (``packing/consumers.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    from torch._C._dynamo.eval_frame import _FrameAction, _FrameExecStrategy, set_code_exec_strategy
except ImportError:  # a torch in which this has another name compiles what it can of our functions
    set_code_exec_strategy = None  # type: ignore[assignment]


def never_compiled(*functions: Callable[..., Any]) -> None:
    """Has Dynamo run functions of ours, and what they call, as they are.

    Args:
        functions: The functions. They may still be traced as a part of what calls them.
    """
    if set_code_exec_strategy is not None:
        strategy = _FrameExecStrategy(_FrameAction.SKIP, _FrameAction.SKIP)
        for function in functions:
            set_code_exec_strategy(function.__code__, strategy)
