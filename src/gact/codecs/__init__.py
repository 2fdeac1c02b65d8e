"""Codes for saved tensors, one file per code.

A code holds a dense region of memory and gives it back; ``base.Code`` is what all of them offer.

* ``groups``: values, rounded to a few bits in groups with a minimum and a scale each, some groups held exactly aside.
* ``transformed``: the same of what an exact transformation makes of a region (``transforms``: rows scaled;
  ``normalised`` and ``columns``; ``probabilities``; ``slopes``; ``clamped``; ``bent``; ``boxes``). ``forms`` chooses
  one, ``boxed`` whether and which boxes; ``choice`` remembers it for the next step.
* ``masks``: one exact bit; ``winners``: one that tells who won a comparison. ``integers``: as many bits as they take.
  ``sparse``: one bit and the values that are not zero.
  ``exact``: the region itself. ``blank``: its size.
* ``fused``: decoding and what follows it in one pass, with ``lines`` (a scale and shift for each channel).
* ``statistics``, ``channels``, ``chunks``: of norms, of channels, and parts of a region that are coded one by one.
  ``deviations``: how far each element is off to expect.
* ``sums``: rows that add to one when they are decoded.
* ``layout``: which region a tensor covers, and its view of it. ``keys``: of the random numbers.

To add a code of values, write a ``transforms.Transform`` and a form that makes it where it suits a region, and enter
the form in ``registry.CODECS``; users do so with ``gact.register_codec``. ``tests/codecs/edge_cases.py`` lists cases
that every one must pass. To add an exact code, write a ``base.Code`` and have ``packing/lossless.py`` choose it for a
kind of need.
"""

from .registry import CODECS, register_codec
from .transforms import Transform

__all__ = ["CODECS", "Transform", "register_codec"]
