"""Compiled training: the graphs that ``torch.compile`` makes of a step are edited so that they hold codes.

``install`` puts the edit in place of a function of torch that runs after a graph was divided into forward and backward.
``written`` spells fused operators of backward out, ``joint`` writes what backward computes of saved values alone beside
the forward graph, of which ``bends`` tells where backward is not linear and ``states`` what are states of random number
generators, ``readings`` what is read of them, ``formulas`` which of it torch multiplies and takes off again, ``choice``
makes the ``plan`` of what is held and how, by the ``lines`` between values, ``probabilities`` of what losses read,
``norms`` of statistics, ``signs`` of what is one of three numbers, and ``steep``, ``divided`` and ``decays`` of what a
steep function, a division or another exponential reads further on, ``sums`` tells what adds to one when it is decoded,
``shared`` has one value held for several that are functions of it, whose bends ``turns`` tells, ``bytes`` sees that no
more is held than torch saved, ``rebuild`` changes the two graphs, ``accounts`` tells what plain code would save,
``places`` names the places in the network, and ``values`` tells what is known of a tensor by then. The edited graphs
call the operators of ``handles``, which at run time go to the ``receiver`` of the thread: the same ways of holding,
widths, rules and report as outside of compiled code. See ``docs/compiled.md``.
"""

from .install import is_possible, pair
from .receiver import Receiver, step_of

__all__ = ["Receiver", "is_possible", "pair", "step_of"]
