"""The largest batch that really trains within a limit of memory, found by trying.

* ``search``, ``guess``: which batch is tried next. ``trial``: what an attempt is to train.
* ``child``: runs one attempt in a process of its own.
"""

from .search import MaxBatch, MaxBatchError, max_batch

__all__ = ["MaxBatch", "MaxBatchError", "max_batch"]
