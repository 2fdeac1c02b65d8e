"""One line for trainers of other libraries.

* ``transformers`` (and TRL), ``lightning``: a callback each. Neither library is a dependency: import the module of the
  one that is there.
* ``holder``: what the callbacks have in common.

To add an integration, write a module of the library's name whose callback opens a ``Compressor`` around the forward
pass of a training step, with ``holder``. Nothing else in the package imports it.
"""
