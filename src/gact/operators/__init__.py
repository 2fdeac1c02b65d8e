"""What the backward of each operator reads of what it saved.

``table`` has an entry for each slot of each node of autograd's graph: a ``need.Need``, or a function that chooses one
by what stands on the node. Entries stand in the file of their subject (``linear``, ``pointwise``, ``norms``,
``losses``, ``attention``, ``reductions``, ``places``, ``double``); what is in none of them stays exact. To add an op,
write its node and slot there, as torch's ``derivatives.yaml`` has them, and run ``python benchmarks/needs_table.py``.
Users state needs of their own with ``registry.register_need``.

``comparisons``: nodes that compare what they saved, and what can stand in for it. ``bounds``, ``bounded``: on which
side a bound itself lies; torch is asked. ``forms``: the form in which a value is coded. ``magnitudes``, ``floats``:
numbers whose small ones a common step would drown. ``overwriting``: ops that overwrite a view, whose nodes are hidden.
``aten``: the same needs by aten operator, for compiled code. ``steep``: what must be exact because of a function
further on. ``dividing``: what divides, and what lies behind it through sums. ``multiplying``: what a node multiplies
the gradient by. ``decays``: products with exponentials that others undo. ``twice``: factors that one path of
backward reads twice. ``exponentials``: those that are normalised in the exponent.
``shares``: what is divided by its own sum.
"""

from .bounds import prepare
from .need import SHAPE, VALUE, WIDE, Need, exact
from .registry import register_need
from .table import NEEDS, need_of

__all__ = ["NEEDS", "Need", "SHAPE", "VALUE", "WIDE", "exact", "need_of", "prepare", "register_need"]
