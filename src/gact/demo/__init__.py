"""The demonstration behind ``gact demo``: real data, two small networks, each trained plainly and at 8, 4 and 2 bits.

* ``run``: the whole. ``digits``, ``networks``: data and networks. ``training``, ``live``: trains and measures.
* ``results``: what came out; ``table`` and ``picture`` show it.

Needs scikit-learn for the data and matplotlib for the picture (the extra ``demo``); both are imported where used.
"""

from .results import NetworkResult, Settings, WayResult
from .run import run

__all__ = ["NetworkResult", "Settings", "WayResult", "run"]
