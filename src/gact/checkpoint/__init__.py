"""Blocks that keep their inputs and run again in backward.

* ``blocks``: which modules of a model are its repeated blocks.
* ``checkpointing``: has blocks run under ``torch.utils.checkpoint`` while a context is open.
* ``recompute``: compresses what they save when they run again (``compress_again=True``).
"""
