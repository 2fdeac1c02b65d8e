"""Tensors that are made again from others that are held, instead of being held themselves.

* ``rules``: which ops can be run again, and how. To add an op of torch, write its name in ``rules._KINDS``.
  ``gathers``: those that take elements from other places. ``powers``: which are curves. ``arguments``: what an op is
  run again with.
* ``registry``: ``gact.register_rebuild``, with which users add an op of their own; ``curves`` sees whether it is one.
* ``observer``, ``recipes``: watch those ops run and note how their results were made.
* ``derived``, ``sources``, ``made``: what autograd holds then, and how it is rebuilt.
* ``shrunk``: results that rounding may drown where they are made again.
* ``curvature``, ``shifted``, ``squared``: what keeps a function of rounded values right on average.
* ``casts``: copies that autocast makes. ``attended``: the output of fused attention, made of what its node holds.
"""

from .registry import register_rebuild

__all__ = ["register_rebuild"]
