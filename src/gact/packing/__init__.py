"""The way of a saved tensor from the pack hook to what autograd holds.

* ``consumers``, ``sites``: which op of which module is saving, and the names of such places.
* ``callers``: parts of torch that run a custom Function or a backward pass of their own. ``rerun``: checkpointed blocks
  that hold compiled code.
* ``packer``: what must survive of it. ``policy``, ``rules``: what its kind allows, and what the user wants.
* ``lossless``: what is held exactly in fewer bits, whoever reads it.
* ``comparing``: what a node compares, held as who won.
* ``outweighed``: which width a row that a norm reads must have.
* ``drowned``: whether what is made again has far more rounding than a code of its own would.
* ``steep``: what a steep function further on reads gives way to its values.
* ``divided``: how much of what is divided by is rounding of codes behind it.
* ``twice``: how fine codes must be of what is a factor twice.
* ``reading``: what nodes hold in their slots, read in the forward pass.
* ``decays``: exponentials that others undo, and what was multiplied by them. ``masked``: functions of masked values.
* ``casting``: switches autocast off meanwhile.
* ``holding``: the ways to hold it: shared, rebuilt, cast, in a code, elsewhere, or as it is.
* ``coding``: how a region is coded.
* ``offload``: has what is packed lie in a store.
"""
