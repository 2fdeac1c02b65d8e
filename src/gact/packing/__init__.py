"""The way of a saved tensor from the pack hook to what autograd holds.

* ``consumers``: which op of which module is saving.
* ``packer``: what it needs, whether that is held already, how to hold it.
* ``policy``, ``rules``: what kinds of tensors may be compressed, and what the user wants.
* ``offload``: has what is packed lie in a store.
"""
