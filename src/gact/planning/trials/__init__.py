"""The largest batch that really trains within a limit of memory, found by trying."""

from .search import MaxBatch, MaxBatchError, max_batch

__all__ = ["MaxBatch", "MaxBatchError", "max_batch"]
