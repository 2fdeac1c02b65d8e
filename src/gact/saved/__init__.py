"""What autograd holds instead of a tensor, and what a step counts.

* ``save``: one saved tensor, from the hook on. ``waiting``, ``boundaries``, ``probabilities``: where it waits until it
  is known what backward reads of it.
* ``kept``, ``encoded``, ``packed``: the tensor itself or a copy; a region as codes; one tensor's view of a region.
* ``identity``, ``held``, ``sharing``: when two tensors are the same, so that nothing is held or decoded twice.
* ``parameters``: tells weights from activations. ``origins``: which rounded codes a tensor comes from.
* ``steps``, ``ledger``: which saves belong together, and their bytes. ``choices``: the forms that their regions had.
* ``small``: below which size tensors stay as they are.
* ``base``: what gives a region back, however it is held. ``parts``: the memory behind a tensor of any kind.
  ``totals``: sums to which what is decoded adds again.
* ``unpacking``: the hook that gives a tensor back. ``sharded``: one that is spread over ranks.
* ``straight``: codes that one function reads become plain where somebody else reads the values too.
* ``carried``: what a checkpoint holds past all hooks. ``made``: what a forward pass has made without a gradient.
* ``coarse``: which width a code must have for a function that turns, and what it holds exactly. ``reaches``: how wide
  its groups are then. ``saturated``: which groups of a tanh it holds exactly. ``filled``: numbers that stand for masks.
* ``late``: a compressor that is copied with its model is made when it is used.
"""
