"""How much memory a step really takes, what takes it at the peak, and an allocator that gives memory back.

* ``profile``, ``report``: ``gact.profile_step``, and what it gives. ``figures``: the same as data and text.
* ``pages``: profiles of several ways in one chart and table. ``plot``: the chart with matplotlib.
* ``live``: counts the bytes of tensors that are alive. ``resident``: the memory of the process as the system counts it.
* ``allocator``, ``serving``: memory of large CPU tensors, and the training steps that have it.
"""

from .profile import profile_step
from .report import Holder, MemoryProfile, Sample

__all__ = ["Holder", "MemoryProfile", "Sample", "profile_step"]
