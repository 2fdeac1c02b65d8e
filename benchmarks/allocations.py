"""Bytes that a step allocates, from torch's own events of its allocator: whoever allocates, compiled code too."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

_FORWARD_DONE = "forward is done"


def step_allocations(forward: Callable[[], Tensor]) -> tuple[int, int]:
    """What one step allocates.

    Args:
        forward: Returns the loss, whose backward pass is then run.

    Returns:
        Bytes that are alive after forward and were not before, and the greatest number of such bytes in the whole step.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loss = forward()
        with record_function(_FORWARD_DONE):
            pass
        loss.backward()
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    done = next(event.start_ns() for event in events if event.name() == _FORWARD_DONE)
    now = held = peak = 0
    for event in sorted((each for each in events if each.name() == "[memory]"), key=lambda each: each.start_ns()):
        now += event.nbytes()
        held = now if event.start_ns() < done else held
        peak = max(peak, now)
    return held, peak
