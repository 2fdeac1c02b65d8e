"""The operators in plain torch: what every other backend must equal bit for bit.

* ``groups``, ``metadata``, ``random``: quantizing and decoding groups, their minimum and scale, and the random numbers.
* ``exact``: masks and integers. ``rebuild``: what is made of decoded elements. ``bits``: how codes are packed.
* ``squares``: codes of which a square is read. ``bends``: elements moved along a hyperbola.
"""
